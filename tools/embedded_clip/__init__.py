"""Builds models/reidforge-clip-s, the small CLIP that ships with reidforge, from renders alone."""
