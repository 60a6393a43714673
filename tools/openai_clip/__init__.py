"""OpenAI's CLIP without a model hub: its image tower from a wheel, and a small text tower tuned to it."""
