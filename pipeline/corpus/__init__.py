"""A corpus on disk: its files, the ledger that vouches for them, and readers of these rows."""
