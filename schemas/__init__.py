"""Schemas of every table of a corpus, and the SQL views over them."""
