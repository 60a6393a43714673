"""``catalog.duckdb``: the rows of a corpus in one database, brought up to date from the ledger; and SQL over it."""

from pipeline.audit.catalog.catalog_file import FILE, Refreshed, refresh
from pipeline.audit.catalog.connection import close, connect
from pipeline.audit.catalog.query import sql

__all__ = ["FILE", "Refreshed", "close", "connect", "refresh", "sql"]
