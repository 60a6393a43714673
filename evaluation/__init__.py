"""Evaluation: rendered pedestrians with known attributes, labelled data sets, and scores of captions."""
