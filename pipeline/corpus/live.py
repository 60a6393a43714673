"""Reading a stage's tables: only rows that the ledger vouches for."""

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from schemas.tables import CROPS, DETECTIONS

# Tables that have gained columns since the first version.
_GROWN = {"detections": DETECTIONS, "crops": CROPS}


def live_files(corpus: Corpus, stage: str, folder: str, scope: str = "") -> dict[str, list[str]]:
    """Files of one table, each with the units in it whose rows count.

    Args:
        corpus: The corpus.
        stage: Stage that writes the table.
        folder: The table's folder, as in ``crops`` or ``captions/faithful``.
        scope: Model or variant.

    Returns:
        Unit ids by path, both sorted.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for row in Ledger(corpus, stage).live().to_pylist():
        if row["scope"] == scope and row["path"].startswith(f"{folder}/"):
            found[row["path"]].append(row["unit_id"])
    return {path: sorted(units) for path, units in sorted(found.items())}


def read_live(corpus: Corpus, path: str, units: list[str], columns: list[str] | None = None) -> pa.Table:
    """Rows of one file that belong to the given units; columns that an older version did not write are null."""
    wanted = None if columns is None else [*dict.fromkeys([*columns, "unit_id"])]
    table = _filled(_read(corpus, path, wanted), path.partition("/")[0], wanted)
    rows = table.filter(pc.is_in(table["unit_id"], pa.array(units, pa.string())))
    return rows if columns is None else rows.select(columns)


def _read(corpus: Corpus, path: str, wanted: list[str] | None) -> pa.Table:
    with corpus.open(path) as file:
        source = pq.ParquetFile(file)
        there = source.schema_arrow.names
        return source.read(columns=None if wanted is None else [name for name in wanted if name in there])


def _filled(table: pa.Table, folder: str, wanted: list[str] | None) -> pa.Table:
    schema = _GROWN.get(folder, table.schema)
    for field in schema:
        if field.name not in table.column_names and field.nullable and (wanted is None or field.name in wanted):
            table = table.append_column(field, pa.nulls(len(table), field.type))
    # Whole tables of old and new files are put together, so their columns come in the schema's order.
    return table.select(schema.names) if wanted is None and folder in _GROWN else table


def scan(corpus: Corpus, stage: str, folder: str, columns: list[str], scope: str = "") -> Iterator[pa.Table]:
    """Live rows of a whole table, file by file."""
    for path, units in live_files(corpus, stage, folder, scope).items():
        yield read_live(corpus, path, units, columns)


def stem(path: str) -> str:
    """Name of a file without its folders and its extension."""
    return path.rpartition("/")[2].removesuffix(".parquet")


def derived(corpus: Corpus, stage: str, folder: str, scope: str) -> dict[str, str]:
    """Live files of a stage that makes one file of each file before it: by the stem of that source."""
    files = live_files(corpus, stage, folder, scope)
    return {unit.rpartition("/")[2]: path for path, units in files.items() for unit in units}
