"""One read-only SQL statement over a corpus."""

import json
import re
from collections.abc import Iterator

import duckdb
import pyarrow as pa

from pipeline.audit.catalog.connection import close, connect
from pipeline.audit.catalog.native_tables import native_tables, views_sql
from pipeline.audit.catalog.sql_text import one_line
from pipeline.audit.printing import Format, render
from pipeline.corpus.files import Corpus
from pipeline.errors import UserError


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
    connection = connect(corpus)
    try:
        _lock(connection)
        result = connection.sql(query)
    except duckdb.Error as error:
        close(connection)
        raise _refused(error) from error
    except UserError:
        close(connection)
        raise
    return _pieces(connection, result, fmt)


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Restrict the connection to the catalog, for good; pictures and vectors are read by functions of our own."""
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


def _views() -> str:
    names = sorted({*(native.name for native in native_tables()), *re.findall(r"VIEW (\w+) AS", views_sql())})
    return f"The views are {', '.join(names)}"
