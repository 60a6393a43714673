"""What the ledger says that a catalog does not know yet: new rows, and the units whose rows change by them.

Files of the ledger and of ``layout/`` never change, so their names are enough to see what is new.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.catalog.sql_text import quote
from pipeline.corpus import layout
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import MERGED, current, stage_of
from pipeline.flow.order import TABLES
from schemas.tables import LAYOUT, LEDGER

_UNIT: Final = "stage, scope, unit_id"
_ROW: Final = f"{_UNIT}, finished_at, attempts"

# A merged file repeats rows of others. Comparing all rows takes seconds at a million units, so only then.
_FRESH = "SELECT * FROM rows_to_copy"
_FRESH_ONCE = f"""
SELECT * FROM rows_to_copy ANTI JOIN source.ledger_history USING ({_ROW})
QUALIFY row_number() OVER (PARTITION BY {_ROW}) = 1
"""  # noqa: S608 - constant

_REPEATED = f"""
SELECT 1 FROM (SELECT {_UNIT} FROM fresh UNION ALL SELECT {_UNIT} FROM source.ledger)
GROUP BY ALL HAVING count(*) > 1 LIMIT 1
"""  # noqa: S608 - constant

# As pipeline.corpus.ledger.newest has it: of rows of the same moment, the one with more attempts, then the later one.
_NEWEST = f"""
CREATE OR REPLACE TEMP TABLE newest AS
WITH candidates AS (
    SELECT {_ROW}, rowid AS place, true AS is_new FROM fresh
    UNION ALL
    SELECT {", ".join(f"known.{name.strip()}" for name in _ROW.split(","))}, -1, false
    FROM source.ledger AS known SEMI JOIN fresh USING ({_UNIT})
), chosen AS (
    FROM candidates
    QUALIFY row_number() OVER (PARTITION BY {_UNIT} ORDER BY finished_at DESC, attempts DESC, place DESC) = 1
)
SELECT * FROM fresh WHERE rowid IN (SELECT place FROM chosen WHERE is_new)
"""  # noqa: S608 - constant

_ALL_ARE_NEWEST = "CREATE OR REPLACE TEMP TABLE newest AS FROM fresh"

_LEAVING = f"""
CREATE OR REPLACE TEMP TABLE leaving AS
SELECT DISTINCT pack, table_name, unit_id
FROM (
    SELECT unit_id, unnest(outputs) AS path FROM source.settled SEMI JOIN newest USING ({_UNIT})
    WHERE status IN ('ok', 'empty')
) JOIN source.packs USING (path)
"""  # noqa: S608 - constant

_NAMED = f"""
CREATE OR REPLACE TEMP TABLE named AS
SELECT DISTINCT stage, scope, unit_id, path, split_part(path, '/', 1) AS folder
FROM (
    SELECT {_UNIT}, unnest(outputs) AS path FROM source.settled SEMI JOIN newest USING ({_UNIT})
    WHERE status IN ('ok', 'empty')
)
WHERE path LIKE '%.parquet' AND folder IN ({{folders}})
"""  # noqa: S608 - constant

_PACKS = """
INSERT INTO source.packs
SELECT
    (SELECT coalesce(max(pack), 0) FROM source.packs) + row_number() OVER (ORDER BY folder, path),
    stage, folders.name, scope, path, coalesce(moved.file, path), coalesce(moved.first_row, 0), moved.num_rows
FROM (SELECT path, folder, min(stage) AS stage, min(scope) AS scope FROM named GROUP BY ALL)
    JOIN (VALUES {tables}) AS folders (folder, name) USING (folder)
    ANTI JOIN source.packs USING (path)
    LEFT JOIN source.locations AS moved USING (path)
"""

# Kept for packs that are not known yet, too: the ledger is listed first.
_LOCATIONS = """
CREATE OR REPLACE TEMP TABLE placed AS
SELECT unnest(arg_max(rows_to_copy, placed_at)) FROM rows_to_copy GROUP BY path;
DELETE FROM source.locations USING placed
WHERE locations.path = placed.path AND locations.placed_at <= placed.placed_at;
INSERT INTO source.locations BY NAME FROM placed ANTI JOIN source.locations USING (path);
UPDATE source.packs SET file = moved.file, first_row = moved.first_row, num_rows = moved.num_rows
FROM source.locations AS moved SEMI JOIN placed USING (path) WHERE packs.path = moved.path;
"""

_ARRIVING = """
CREATE OR REPLACE TEMP TABLE arriving AS
SELECT pack, table_name, unit_id FROM named JOIN source.packs USING (path)
"""

_REPLACE = """
DELETE FROM source.ledger USING newest
WHERE ledger.stage = newest.stage AND ledger.scope = newest.scope AND ledger.unit_id = newest.unit_id;
INSERT INTO source.ledger FROM newest;
"""


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file of the ledger: its rows, and the files that it was merged from."""

    rows: pa.Table
    merged: frozenset[str]


def books(corpus: Corpus) -> set[str]:
    """Files that say what counts and where it lies, relative to the corpus."""
    ledger = [corpus.relative(info.path) for info in corpus.files("ledger")]
    moved = [corpus.relative(info.path) for info in corpus.files(layout.FOLDER)]
    return {*filter(stage_of, ledger), *(path for path in moved if path.endswith(".parquet") and "/." not in path)}


def absorb(connection: duckdb.DuckDBPyConnection, corpus: Corpus, paths: set[str]) -> bool:
    """Bring ``source.ledger``, its history and the packs up to date.

    Leaves the temporary tables ``leaving`` and ``arriving`` (pack, table_name, unit_id): rows of units that no longer
    count, and those to read.

    Args:
        connection: The catalog, writable.
        corpus: The corpus.
        paths: Its books, as listed.

    Returns:
        Whether the catalog could be brought up to date; if not, the ledger lacks rows that it once had, and the
        catalog must be built anew.
    """
    known = {path for (path,) in connection.execute("SELECT path FROM source.absorbed").fetchall()}
    new = [_read(corpus, path) for path in sorted(paths - known) if stage_of(path)]
    gone = {path for path in known - paths if stage_of(path)}
    if not gone <= {part for file in new for part in file.merged} and not _still_there(connection, corpus, paths):
        return False
    _move_packs(connection, corpus, sorted(path for path in paths - known if not stage_of(path)))
    fresh = [file for file in new if not file.merged or not file.merged <= known]
    _add_rows(connection, fresh, repeats=any(file.merged and (known or file.merged & paths) for file in fresh))
    _note_absorbed(connection, paths)
    return True


def _note_absorbed(connection: duckdb.DuckDBPyConnection, paths: set[str]) -> None:
    connection.register("rows_to_copy", pa.table([pa.array(sorted(paths), pa.string())], names=["path"]))
    connection.execute("TRUNCATE source.absorbed; INSERT INTO source.absorbed FROM rows_to_copy")
    connection.unregister("rows_to_copy")


def _move_packs(connection: duckdb.DuckDBPyConnection, corpus: Corpus, paths: list[str]) -> None:
    """Note which file holds each pack now; the rows themselves stay as they are."""
    if paths:
        rows = pa.concat_tables([LAYOUT.empty_table(), *(corpus.read_table(path).cast(LAYOUT) for path in paths)])
        connection.register("rows_to_copy", rows)
        connection.execute(_LOCATIONS)
        connection.unregister("rows_to_copy")


def _still_there(connection: duckdb.DuckDBPyConnection, corpus: Corpus, paths: set[str]) -> bool:
    """Whether the ledger has every row that the catalog has; files vanish when they are merged twice in between."""
    rows = _joined([_read(corpus, path).rows for path in paths if stage_of(path)])
    connection.register("everything", rows)
    lost = connection.execute("FROM source.ledger_history EXCEPT FROM everything LIMIT 1").fetchall()
    connection.unregister("everything")
    return not lost


def _add_rows(connection: duckdb.DuckDBPyConnection, files: Sequence[_File], *, repeats: bool) -> None:
    connection.register("rows_to_copy", _joined([file.rows for file in files]))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS {_FRESH_ONCE if repeats else _FRESH}")
    connection.unregister("rows_to_copy")
    connection.execute(_NEWEST if connection.execute(_REPEATED).fetchall() else _ALL_ARE_NEWEST)
    # A unit whose last attempt failed keeps the rows of an earlier one: they leave, and arrive again.
    connection.execute(_LEAVING)
    connection.execute("INSERT INTO source.ledger_history FROM fresh")
    connection.execute(_REPLACE)
    connection.execute(_NAMED.format(folders=", ".join(quote(table.folder) for table in TABLES)))
    pairs = ", ".join(f"({quote(table.folder)}, {quote(table.name)})" for table in TABLES)
    connection.execute(_PACKS.format(tables=pairs))
    connection.execute(_ARRIVING)


def _read(corpus: Corpus, path: str) -> _File:
    with corpus.reading(path):
        file = pq.ParquetFile(pa.BufferReader(corpus.read(path)))
        folder = path.rpartition("/")[0]
        names = json.loads((file.schema_arrow.metadata or {}).get(MERGED, b"[]"))
        return _File(rows=current(file.read()), merged=frozenset(f"{folder}/{name}" for name in names))


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([LEDGER.empty_table(), *tables])
