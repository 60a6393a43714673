"""A synthetic corpus of any size, written through the project's own writers, and what work on it costs."""
