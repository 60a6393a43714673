"""Publish: the manifest of a variant, with bytes, captions, splits and provenance."""
