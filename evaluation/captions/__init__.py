"""Captions and readings against known attributes: labelled sets, scores, and checks on sentences."""
