"""Evaluation of readings and captions: labelled data sets, scores against known attributes, checks on sentences."""
