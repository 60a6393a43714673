"""Reads the tables of a stage: only rows that the ledger vouches for."""

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from schemas.declaration import Table


def live_files(corpus: Corpus, stage: str, table: Table, scope: str = "") -> dict[str, list[str]]:
    """Files of one table, each with the units whose rows in it count.

    Args:
        corpus: The corpus.
        stage: Stage that wrote the rows; another stage's rows of the same table are not listed.
        table: The table.
        scope: Model or variant; empty for tables without a scope.

    Returns:
        Unit ids by path, both sorted.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for row in Ledger(corpus, stage).live().to_pylist():
        if row["scope"] == scope and row["path"].startswith(f"{table.under(scope)}/"):
            found[row["path"]].append(row["unit_id"])
    return {path: sorted(units) for path, units in sorted(found.items())}


def read_live(corpus: Corpus, table: Table, path: str, units: list[str], columns: list[str] | None = None) -> pa.Table:
    """Rows of one file of a table that belong to the given units.

    Args:
        corpus: The corpus.
        table: The table.
        path: The file, below the corpus.
        units: Units whose rows are wanted.
        columns: Columns to read, in this order; None = all, in the order of the schema.

    Returns:
        The rows. Nullable columns that an older version did not write are null.
    """
    wanted = table.schema.names if columns is None else columns
    with corpus.open(path) as file:
        source = pq.ParquetFile(file)
        there = source.schema_arrow.names
        rows = source.read(columns=[name for name in dict.fromkeys([*wanted, "unit_id"]) if name in there])
    rows = rows.filter(pc.is_in(rows["unit_id"], pa.array(units, pa.string())))
    for field in table.schema:
        if field.name in wanted and field.name not in there and field.nullable:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows.select(wanted)


def scan(corpus: Corpus, stage: str, table: Table, columns: list[str], scope: str = "") -> Iterator[pa.Table]:
    """Live rows of a whole table, file by file."""
    for path, units in live_files(corpus, stage, table, scope).items():
        yield read_live(corpus, table, path, units, columns)


def stem(path: str) -> str:
    """Name of a file without its folders and its extension."""
    return path.rpartition("/")[2].removesuffix(".parquet")


def derived(corpus: Corpus, stage: str, table: Table, scope: str) -> dict[str, str]:
    """Live files of a stage that writes one file per source file, by the stem of the source file."""
    files = live_files(corpus, stage, table, scope)
    return {unit.rpartition("/")[2]: path for path, units in files.items() for unit in units}
