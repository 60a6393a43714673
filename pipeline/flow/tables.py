"""Reading a stage's tables: only rows that the ledger vouches for."""

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus import Corpus
from pipeline.ledger import Ledger


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
    """Rows of one file that belong to the given units."""
    wanted = None if columns is None else [*dict.fromkeys([*columns, "unit_id"])]
    table = corpus.read_table(path, columns=wanted)
    rows = table.filter(pc.is_in(table["unit_id"], pa.array(units, pa.string())))
    return rows if columns is None else rows.select(columns)


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
