"""Dedup: crops that look alike are marked, each with the one that stands for it; so are posters and mannequins."""
