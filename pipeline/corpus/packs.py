"""Packs: the rows of a table that one task wrote. Units name a pack for good; compaction moves it to larger files.

A pack's path never changes: it is part of the ledger, of the names of units, and of the digests of their inputs. Where
its rows lie now is a matter of ``layout/``, so that compaction makes nothing stale.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import joined, joined_lists
from pipeline.corpus.layout import Layout
from pipeline.errors import MissingFileError
from schemas.declaration import Table

PACK_FIELDS: "Final[list[pa.Field[Any]]]" = [
    # The pack, relative to the corpus.
    pa.field("path", pa.string()),
    # The file that holds its rows now; the same unless the pack was compacted.
    pa.field("file", pa.string()),
    # First of its rows in that file, and their number; null: the whole file.
    pa.field("first_row", pa.int64()),
    pa.field("num_rows", pa.int64()),
    # Units whose rows count, in ascending order; null: all rows, for readers that choose rows by another key.
    pa.field("live", pa.list_(pa.string())),
]
PACK: Final = pa.schema(PACK_FIELDS)
PACK_STRUCT: Final = pa.struct(PACK_FIELDS)

Pack = dict[str, Any]
"""A row of ``PACK``."""


def read_pack(corpus: Corpus, table: Table, pack: Pack, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a pack that count.

    Args:
        corpus: The corpus.
        table: The table.
        pack: Which rows, and where they lie.
        columns: Columns to read, in this order; None = all, in the order of the schema.

    Returns:
        The rows. Nullable columns that an older version did not write are null.
    """
    return next(read_packs(corpus, table, [pack], columns))


def read_packs(
    corpus: Corpus, table: Table, packs: Iterable[Pack], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """As ``read_pack``, for each of the packs in order; packs that follow each other in a file are read at once."""
    wanted = table.schema.names if columns is None else list(columns)
    for _, group in groupby(packs, key=lambda pack: str(pack["file"])):
        yield from _read_file(corpus, table, list(group), wanted)


def _read_file(corpus: Corpus, table: Table, packs: list[Pack], wanted: list[str]) -> Iterator[pa.Table]:
    try:
        source = corpus.open(packs[0]["file"])
    except MissingFileError:
        # Compaction may have moved them since the caller looked, and removed the file.
        moved = _look_again(corpus, packs)
        if [pack["file"] for pack in moved] == [pack["file"] for pack in packs]:
            raise
        yield from read_packs(corpus, table, moved, wanted)
        return
    with corpus.reading(packs[0]["file"]), source:
        reader = _FileReader(pq.ParquetFile(source), list(dict.fromkeys([*wanted, "unit_id"])))
        for pack in packs:
            yield _counting(reader.rows(pack), table, pack["live"], wanted)


def _look_again(corpus: Corpus, packs: list[Pack]) -> list[Pack]:
    layout = Layout(corpus)
    layout.refresh()
    moved: list[Pack] = layout.locate(pa.table({"path": [pack["path"] for pack in packs]})).to_pylist()
    return [pack | place for pack, place in zip(packs, moved, strict=True)]


class _FileReader:
    """Reads ranges of rows of one file; keeps the row groups of the last range, as the next begins in one of them."""

    def __init__(self, source: pq.ParquetFile, columns: list[str]) -> None:
        self.source = source
        self.columns = [name for name in columns if name in source.schema_arrow.names]
        sizes = [source.metadata.row_group(group).num_rows for group in range(source.metadata.num_row_groups)]
        self.borders = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._held: tuple[tuple[int, ...], pa.Table] | None = None

    def rows(self, pack: Pack) -> pa.Table:
        first = pack["first_row"]
        if first is None:
            return self.source.read(columns=self.columns)
        end = first + pack["num_rows"]
        groups = tuple(
            group for group, (start, stop) in enumerate(pairwise(self.borders)) if start < end and stop > first
        )
        if self._held is None or self._held[0] != groups:
            self._held = groups, self.source.read_row_groups(list(groups), columns=self.columns)
        return self._held[1].slice(first - int(self.borders[groups[0]]) if groups else 0, pack["num_rows"])


def _counting(rows: pa.Table, table: Table, live: list[str] | None, wanted: list[str]) -> pa.Table:
    there = rows.column_names
    if live is not None:
        rows = rows.filter(pc.is_in(rows["unit_id"], pa.array(live, pa.string())))
    for field in table.schema:
        if field.name in wanted and field.name not in there and field.nullable:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows.select(wanted)


def pack_parts(packs: pa.Table) -> "pa.Array[Any]":
    """What decides the rows of packs: the path, and the units whose rows count. For digests of inputs."""
    return joined(":", packs["path"], joined_lists(packs["live"], ","))
