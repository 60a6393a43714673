"""Imports: what others published of their corpora, read so that crops can be cut without a detector."""
