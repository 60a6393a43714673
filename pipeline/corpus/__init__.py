"""A corpus on disk: its files, the ledger that vouches for them, and reading the rows that it vouches for."""
