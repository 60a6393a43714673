"""Imports: published lists of other corpora, from which crops can be cut without a detector."""
