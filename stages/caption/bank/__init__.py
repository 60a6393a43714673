"""The phrase bank: attributes, their phrases and prompts, and the few rules of English that they need."""
