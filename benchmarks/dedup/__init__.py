"""Benchmarks of the search for duplicates."""
