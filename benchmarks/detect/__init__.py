"""Frames per second of the detect stage."""
