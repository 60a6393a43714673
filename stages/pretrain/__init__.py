"""Pre-training of an image and a text tower on the crops and captions of a manifest."""
