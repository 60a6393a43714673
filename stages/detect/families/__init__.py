"""Families of detectors: one package or module each, listed in ``known_families``."""
