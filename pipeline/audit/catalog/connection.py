"""A connection to the catalog of a corpus, for Python."""

import os
import tempfile
from pathlib import Path

import duckdb

from pipeline.audit.catalog.catalog_file import refresh
from pipeline.audit.catalog.parquet_macros import read_by_functions
from pipeline.audit.catalog.sql_text import quote
from pipeline.corpus.files import Corpus


def connect(corpus: Corpus) -> duckdb.DuckDBPyConnection:
    """Open the current state of a corpus in DuckDB; the catalog is brought up to date first.

    The views are those of the declared tables and of ``schemas/views.sql``; a table without rows is empty.

    Raises:
        UserError: A file that the ledger names cannot be read.
    """
    path = refresh(corpus, write_back=False).path
    spill = Path(tempfile.gettempdir()) / f"reidforge-duckdb-{os.getpid()}"
    # DuckDB would download extensions in the middle of a query; those that we need are built in.
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": str(spill),
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"ATTACH {quote(str(path))} AS catalog_file (READ_ONLY)")
    connection.execute("USE catalog_file")
    read_by_functions(connection, corpus)
    return connection


def close(connection: duckdb.DuckDBPyConnection) -> None:
    """Close a connection."""
    connection.close()
