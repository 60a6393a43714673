"""Captions from stored image features: divide into attributes, conquer each by prompts, combine into sentences."""
