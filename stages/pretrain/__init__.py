"""Pre-training on the crops of a manifest: one loop for every method, and the methods."""
