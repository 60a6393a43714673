"""Detect: sampled frames become person boxes, judged by rules, and the crops of those that pass."""
