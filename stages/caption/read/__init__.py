"""Reading attributes: image features are compared with the phrases of a bank."""
