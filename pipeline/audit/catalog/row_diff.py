"""Rows of the native tables: those of units that no longer count go, those of new packs are read from their files."""

import concurrent.futures
from collections.abc import Iterable, Iterator
from typing import Final

import duckdb

from pipeline.audit.catalog.corpus_filesystem import CorpusFileSystem
from pipeline.audit.catalog.native_tables import (
    PACK,
    NativeTable,
    is_shared,
    kept,
    kinds,
    mark_columns,
    marking,
    native_tables,
)
from pipeline.audit.catalog.sql_text import as_pattern, one_line, quote
from pipeline.corpus.files import Corpus
from pipeline.errors import UserError
from schemas.declaration import Mark, Table

# Over an object store, files are fetched whole, this many at a time: few requests, and memory stays bounded.
_FETCHED: Final = 64
_THREADS: Final = 16

_FILES = """
SELECT file FROM arriving JOIN source.packs USING (pack) WHERE arriving.table_name = $name
GROUP BY file ORDER BY min(unit_id), file
"""


def move_rows(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> None:
    """Delete the rows of ``leaving``, read those of ``arriving``, and mark what they mark.

    Raises:
        UserError: A file that the ledger names cannot be read.
    """
    for native in native_tables():
        _note_marked(connection, native, "leaving")
        connection.execute(
            f'DELETE FROM source."{native.name}" AS own USING leaving '  # noqa: S608 - declared
            "WHERE own.pack = leaving.pack AND own.unit_id = leaving.unit_id"
        )
    tables = dict.fromkeys(native.table for native in native_tables())
    for table in tables:
        parts = [native for native in native_tables() if native.table == table]
        for part in parts:
            _mark_again(connection, part)
        _insert(connection, corpus, table, parts)
        for part in parts:
            _note_marked(connection, part, "arriving")


def _insert(connection: duckdb.DuckDBPyConnection, corpus: Corpus, table: Table, parts: list[NativeTable]) -> None:
    files = [file for (file,) in connection.execute(_FILES, {"name": table.name}).fetchall()]
    try:
        for prefix, some in _fetched(connection, corpus, files):
            for native in parts:
                connection.execute(_insert_sql(native, prefix, some))
    except (duckdb.Error, OSError) as error:
        raise UserError(f"corpus {corpus.uri}: {table.name} cannot be read: {one_line(error)}") from error


def _fetched(
    connection: duckdb.DuckDBPyConnection, corpus: Corpus, files: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Files that can be read now, with what precedes their names."""
    if corpus.is_local:
        if files:
            yield f"{corpus.path('')}/", files
        return
    filesystem = CorpusFileSystem(corpus)
    connection.register_filesystem(filesystem)
    moved = {
        file for (file,) in connection.execute("SELECT file FROM source.packs WHERE num_rows IS NOT NULL").fetchall()
    }
    try:
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            for some in (files[start : start + _FETCHED] for start in range(0, len(files), _FETCHED)):
                small = [file for file in some if file not in moved]
                filesystem.hold(dict(zip(small, pool.map(corpus.read, small), strict=True)))
                yield f"{filesystem.protocol}://", some
    finally:
        connection.unregister_filesystem(filesystem.protocol)


def _insert_sql(native: NativeTable, prefix: str, files: Iterable[str]) -> str:
    columns = (*native.columns, *native.marks)
    names = [f'"{name}"' for name in (*(column.name for column in columns), PACK)]
    values = [*(column.value for column in columns), "p.pack"]
    # A unit may have rows in two packs that compaction put into one file.
    counting = f"""
        SELECT p.*, l.* EXCLUDE (unit_id, file)
        FROM ({_scan(native, prefix, files)}) AS p
        JOIN (
            SELECT pack, scope, unit_id, {quote(prefix)} || file AS file, first_row, first_row + num_rows AS end_row
            FROM arriving JOIN source.packs USING (pack) WHERE arriving.table_name = {quote(native.table.name)}
        ) AS l ON p.file = l.file AND p.unit_id = l.unit_id
            AND p.file_row_number >= l.first_row AND (l.end_row IS NULL OR p.file_row_number < l.end_row)
    """  # noqa: S608 - quoted
    part = native.unnested
    if part:
        # Last, as it makes a dozen rows of one.
        counting = (
            f'SELECT * EXCLUDE ("{part.column}"), unnest("{part.column}") AS item, '  # noqa: S608 - declared
            f'generate_subscripts("{part.column}", 1) - 1 AS rank FROM ({counting})'
        )
    return f"""
        INSERT INTO source."{native.name}" ({", ".join(names)})
        SELECT {", ".join(values)} FROM ({counting}) AS p
        {" ".join(_mark_join(source, mark) for source, mark in marking(native.table))}
    """  # noqa: S608 - quoted


def _scan(native: NativeTable, prefix: str, files: Iterable[str]) -> str:
    part = native.unnested
    wanted = {*part.beside, part.column, "unit_id"} if part else {*kept(native.table), "unit_id"}
    # With an explicit schema, columns that an older version did not write are null, and no file is opened to infer it.
    fields = ", ".join(
        f"{quote(name)}: {{name: {quote(name)}, type: {quote(kind)}, default_value: NULL}}"
        for name, kind in kinds(native.table)
        if name in wanted
    )
    paths = ", ".join(quote(_pattern(f"{prefix}{file}")) for file in files)
    return (
        f"FROM read_parquet([{paths}], schema = MAP {{{fields}}}, filename = 'file', file_row_number = true, "
        "hive_partitioning = false)"
    )


def _pattern(path: str) -> str:
    # The file system of a corpus in an object store takes names as they are.
    return path if path.startswith(f"{CorpusFileSystem.protocol}://") else as_pattern(path)


def _mark_join(source: Table, mark: Mark) -> str:
    return f'LEFT JOIN ({_marks_of(source, mark)}) AS "{source.name}" ON "{source.name}".{mark.key} = p.{mark.key}'


def _marks_of(source: Table, mark: Mark) -> str:
    """SELECT of one row per marked key with the columns that the mark adds."""
    values = {name: f'own."{name}"' for name in mark.columns}
    chain = ""
    if mark.chained:
        first = mark.columns[0]
        values[first] = f'coalesce(other."{first}", own."{first}")'
        chain = f'LEFT JOIN source."{source.name}" AS other ON other.{mark.key} = own."{first}"'
    columns = [f'{value} AS "{name}"' for name, value in values.items()]
    columns += [f'true AS "{mark.flag.name}"'] if mark.flag else []
    select = f'SELECT own.{mark.key}, {", ".join(columns)} FROM source."{source.name}" AS own {chain}'  # noqa: S608
    if not is_shared(source):
        return select
    # Two stages may mark the same crop until the later one has run again; one of them counts, always the same.
    least = ", ".join(f'min("{name}") AS "{name}"' for name in mark_columns(mark))
    return f"SELECT {mark.key}, {least} FROM ({select}) GROUP BY {mark.key}"  # noqa: S608 - declared


def _note_marked(connection: duckdb.DuckDBPyConnection, native: NativeTable, which: str) -> None:
    """Add the keys of a table's rows that leave or have arrived to ``marked_<table>``."""
    mark = native.table.mark
    if mark is None:
        return
    name = f'"marked_{native.name}"'
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} (key VARCHAR)")
    connection.execute(
        f"INSERT INTO {name} SELECT own.{mark.key} "  # noqa: S608 - declared
        f'FROM source."{native.name}" AS own SEMI JOIN {which} USING (pack, unit_id)'
    )
    if mark.chained:
        connection.execute(
            f'INSERT INTO {name} SELECT {mark.key} FROM source."{native.name}" '  # noqa: S608 - declared
            f'WHERE "{mark.columns[0]}" IN (SELECT key FROM {name})'
        )


def _mark_again(connection: duckdb.DuckDBPyConnection, native: NativeTable) -> None:
    """Update the marks of the rows that stay, where they changed."""
    for source, mark in marking(native.table):
        columns = mark_columns(mark)
        flag = mark.flag.name if mark.flag else None
        new = {name: f'coalesce(new."{name}", false)' if name == flag else f'new."{name}"' for name in columns}
        assignments = ", ".join(f'"{name}" = {value}' for name, value in new.items())
        differs = " OR ".join(f'own."{name}" IS DISTINCT FROM {value}' for name, value in new.items())
        connection.execute(f"""
            UPDATE source."{native.name}" AS own SET {assignments}
            FROM (
                SELECT keys.key, marks.* EXCLUDE ({mark.key})
                FROM (SELECT DISTINCT key FROM "marked_{source.name}") AS keys
                LEFT JOIN ({_marks_of(source, mark)}) AS marks ON marks.{mark.key} = keys.key
            ) AS new
            WHERE own.{mark.key} = new.key AND ({differs})
        """)  # noqa: S608 - declared
