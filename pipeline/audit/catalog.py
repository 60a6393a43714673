"""A corpus in SQL: DuckDB views over its files, in memory, in a database file, or for one read-only query."""

import functools
import importlib.resources
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

import schemas
from pipeline.audit.printing import Format, render
from pipeline.audit.views import CorpusFileSystem, define_sources, one_line, quote
from pipeline.corpus.files import Corpus
from pipeline.errors import UserError
from pipeline.flow.order import TABLES
from schemas.declaration import SCOPES, Mark, Table
from schemas.tables import LEDGER

FILE: Final = "catalog.duckdb"

# Older DuckDB clients read a catalog of this format too.
_STORAGE: Final = "v1.2.0"


def connect(corpus: Corpus) -> duckdb.DuckDBPyConnection:
    """Open the current state of a corpus in DuckDB, in memory.

    The views are those of the declared tables and of ``schemas/views.sql``; a table without files is an empty view.

    Raises:
        UserError: A file that the ledger names cannot be read.
    """
    connection = _open()
    _define(connection, corpus)
    return connection


def write_catalog(corpus: Corpus) -> str:
    """Write ``catalog.duckdb``: the same views in a file that any DuckDB client opens.

    The file refers to data files by absolute path or URI; rebuild it when the corpus moves or grows.

    Returns:
        Path of the file, relative to the corpus.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        connection = _open()
        try:
            connection.execute(f"ATTACH '{path}' AS catalog_file (STORAGE_VERSION '{_STORAGE}')")
            connection.execute("USE catalog_file")
            _define(connection, corpus)
        finally:
            close(connection)
        corpus.upload(path, FILE)
    return FILE


def close(connection: duckdb.DuckDBPyConnection) -> None:
    """Close a connection and drop its file system, which DuckDB would otherwise keep until the process ends."""
    for name in connection.list_filesystems():
        connection.unregister_filesystem(name)
    connection.close()


def sql(corpus: Corpus, query: str, fmt: Format = "table") -> Iterator[str]:
    """Run one read-only statement.

    Args:
        corpus: The corpus.
        query: SELECT, FROM, WITH, VALUES, TABLE, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN or PIVOT.
        fmt: ``table`` for people; ``csv`` (RFC 4180) or ``json`` (one array of objects) for programs, where bytes
            are base64.

    Returns:
        The output in pieces, to be printed in order.

    Raises:
        UserError: The statement is not read-only, or DuckDB rejects it.
    """
    _require_reading(query)
    connection = _open()
    try:
        _lock(connection, _define(connection, corpus))
        result = connection.sql(query)
    except duckdb.Error as error:
        close(connection)
        raise _refused(error) from error
    except UserError:
        close(connection)
        raise
    return _pieces(connection, result, fmt)


def _open() -> duckdb.DuckDBPyConnection:
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
    return connection


def _define(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> list[str]:
    if not corpus.is_local:
        connection.register_filesystem(CorpusFileSystem(corpus))
    files = define_sources(connection, corpus)
    connection.execute(_views_sql())
    _comment(connection)
    return files


def _comment(connection: duckdb.DuckDBPyConnection) -> None:
    """Give views and columns the declared documentation, where ``schemas/views.sql`` gives no other."""
    bare = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal AND comment IS NULL"
    ).fetchall()
    columns = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'main' AND comment IS NULL"
    ).fetchall()
    rows, docs = {table.name: table.row for table in TABLES}, _documentation()
    statements = [f'COMMENT ON VIEW "{view}" IS {quote(rows[view])}' for (view,) in bare if view in rows]
    statements += [
        f'COMMENT ON COLUMN "{view}"."{column}" IS {quote(docs[view, column])}'
        for view, column in columns
        if (view, column) in docs
    ]
    connection.execute(";".join(statements))


def _documentation() -> dict[tuple[str, str], str]:
    """Documentation by view and column."""
    schemas_by_view = {table.name: table.schema for table in TABLES} | {"ledger": LEDGER, "ledger_history": LEDGER}
    fields = [(view, field) for view, schema in schemas_by_view.items() for field in schema]
    added = [field for table in TABLES if table.mark for field in _fields(table, table.mark)]
    fields += [(table.name, field) for table in TABLES if table.marked for field in added]
    docs = {
        (view, field.name): field.metadata[b"doc"].decode()
        for view, field in reversed(fields)
        if field.metadata and b"doc" in field.metadata
    }
    return docs | {(table.name, table.scope): SCOPES[table.scope] for table in TABLES if table.scope}


def _fields(table: Table, mark: Mark) -> "list[pa.Field[Any]]":
    """What a mark adds to the columns of crops."""
    return [table.schema.field(name) for name in mark.columns] + ([mark.flag] if mark.flag else [])


def _lock(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Restrict the connection to the files of the corpus, for good."""
    connection.execute("SET allowed_paths = $files", {"files": files})
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _require_reading(query: str) -> None:
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise _refused(error) from error
    if len(statements) != 1:
        raise UserError(f"{len(statements)} statements were given; one is run at a time. {_views()}")
    kind = statements[0].type
    # DuckDB runs a PIVOT without explicit columns as several statements.
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI):
        raise UserError(f"{kind.name} is refused: a corpus is read-only here. {_views()}")
    writes = _writes(query)
    if writes:
        raise UserError(f"{' and '.join(writes)} is refused: a corpus is read-only here. {_views()}")


def _writes(query: str) -> list[str]:
    """Verbs of a statement that write; DuckDB also runs them inside WITH and after EXPLAIN ANALYZE."""
    with duckdb.connect() as connection:
        (tree,) = connection.execute("SELECT json_serialize_sql($query)", {"query": query}).fetchall()[0]
    if not json.loads(tree)["error"]:
        return sorted(set(re.findall(r'"type":"([A-Z]+)_QUERY_NODE"', tree)))
    # DuckDB has no tree for these statements, so the text decides, and a harmless mention is refused, too.
    return sorted({word.upper() for word in re.findall("(?i)copy|insert|update|delete|merge|truncate", query)})


def _pieces(connection: duckdb.DuckDBPyConnection, result: duckdb.DuckDBPyRelation, fmt: Format) -> Iterator[str]:
    try:
        yield from render(result, fmt)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise _refused(error) from error
    finally:
        close(connection)


def _refused(error: Exception) -> UserError:
    text = one_line(error)
    return UserError(f"{text}{'' if text.endswith(('?', '!')) else '.'} {_views()}")


@functools.cache
def _views_sql() -> str:
    return importlib.resources.files(schemas).joinpath("views.sql").read_text(encoding="utf-8")


def _views() -> str:
    names = sorted({*(table.name for table in TABLES), *re.findall(r"VIEW (\w+) AS", _views_sql())})
    return f"The views are {', '.join(names)}"
