"""Embed: CLIP image features of every crop, once per crop and region."""
