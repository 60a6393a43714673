"""Compaction: many small files become a few large ones, and nothing else changes.

A run commits small files, so that a kill loses little. Readers, object stores and DuckDB want files of some hundred
megabytes. Compaction copies the rows that count to such files and then records in ``layout/`` where each pack lies; the
ledger does not change, so no unit becomes stale. A kill at any moment leaves at most a file that no record names. Files
that packs have left stay for ``GRACE``, as readers may have opened them.
"""

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.grouping import places_of, whole
from pipeline.corpus.layout import Layout
from pipeline.corpus.packs import Pack, pack_parts, read_packs
from pipeline.corpus.snapshot import Snapshot
from schemas.declaration import Table
from schemas.parquet_layout import BLOB_ROW_GROUP_BYTES, TABLE_OPTIONS, blob_columns

log = logging.getLogger("reidforge")

TARGET_BYTES: Final = 256 << 20
"""Size of the files that compaction writes, about."""

LARGE_BYTES: Final = 128 << 20
"""Files of this size stay as they are."""

GRACE: Final = dt.timedelta(hours=1)
"""How long files stay that packs have left."""

# Files of a similar size that are merged although they do not fill a large one. Each row is copied once per tier, and a
# corpus that grows every week keeps fewer than this many small files per tier.
_SIMILAR: Final = 8
_TIER: Final = 8

# A large file is written again when less than this share of its rows lies in packs that count.
_LEAST_LIVE: Final = 0.7


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Packs that become one file.

    Args:
        table: The table.
        scope: Model or variant.
        packs: Rows of ``PACK``, in the order of their rows in the new file.
        files: Number of files that they lie in now.
        bytes: Size of those files.
    """

    table: Table
    scope: str
    packs: pa.Table
    files: int
    bytes: int

    def __str__(self) -> str:
        scope = f" {self.scope}" if self.scope else ""
        return f"{self.table.name}{scope}: {self.files:,} files, {self.bytes / 1e6:,.1f} MB"


def plan_compaction(snapshot: Snapshot, tables: Sequence[Table]) -> list[Merge]:
    """What compaction would merge.

    Args:
        snapshot: What counts.
        tables: Tables of the corpus; those that are not ``compacted`` are left alone.
    """
    return [
        merge
        for stage in snapshot.stages()
        for scope in sorted(str(scope) for scope in snapshot.live(stage)["scope"].unique().to_pylist())
        for table in tables
        if table.compacted
        for merge in _merges_of(snapshot, stage, table, scope)
    ]


def compact(snapshot: Snapshot, merges: Sequence[Merge], *, grace: dt.timedelta = GRACE) -> Iterator[Merge]:
    """Merge files, and delete those that packs left some time ago.

    Args:
        snapshot: What counts; must not change meanwhile, as one run at a time writes to a corpus.
        merges: From ``plan_compaction``.
        grace: How long files stay that packs have left.

    Yields:
        Merges, each when it is done.
    """
    layout = Layout(snapshot.corpus)
    layout.refresh()
    for merge in merges:
        try:
            layout.append(_write(snapshot.corpus, merge))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            # Features of another length under the same name, for instance.
            log.warning("compact: %d files of %s stay apart: %s", merge.files, merge.table.name, error)
            continue
        yield merge
    snapshot.refresh()
    _delete_left(snapshot, layout, dt.datetime.now(dt.UTC) - grace)


def _merges_of(snapshot: Snapshot, stage: str, table: Table, scope: str) -> Iterator[Merge]:
    packs = snapshot.packs(stage, table, scope)
    if not len(packs):
        return
    sizes = snapshot.sizes([table.folder])
    counts = packs.group_by("file").aggregate([("num_rows", "sum"), ("path", "count")])
    size = sizes["bytes"].take(places_of(counts["file"], sizes, "file"))
    # A file that is missing cannot be merged; ``check`` reports it.
    files = counts.append_column("bytes", size).filter(pc.is_valid(size))
    chosen = [(names, 2) for names in _groups_by_size(files)] + [(names, 1) for names in _sparse(snapshot, files)]
    for names, least in chosen:
        own = packs.filter(pc.is_in(packs["file"], value_set=pa.array(names)))
        yield from _filled(table, scope, own, files, least)


def _groups_by_size(files: pa.Table) -> Iterator[list[str]]:
    """Small files that are merged together: all of them once they fill a large file, or as many of a similar size."""
    small = files.filter(pc.less(files["bytes"], pa.scalar(LARGE_BYTES))).sort_by("bytes")
    sizes = np.maximum(small["bytes"].to_numpy(), 1)
    names: list[Any] = small["file"].to_pylist()
    if len(names) > 1 and sizes.sum() >= LARGE_BYTES:
        yield names
        return
    tiers = np.floor(np.log(sizes) / np.log(_TIER)).astype(int)
    full = [tier for tier in np.unique(tiers) if (tiers == tier).sum() >= _SIMILAR]
    # What is smaller than a full tier goes with it, or it would never be merged.
    if full:
        yield [name for name, tier in zip(names, tiers, strict=True) if tier <= max(full)]


def _sparse(snapshot: Snapshot, files: pa.Table) -> Iterator[list[str]]:
    """Large files most of whose rows do not count any more, each on its own."""
    rows = snapshot.locations().group_by("file").aggregate([("num_rows", "sum")])
    whole_rows = rows["num_rows_sum"].take(places_of(files["file"], rows, "file"))
    share = pc.divide(pc.cast(files["num_rows_sum"], pa.float64()), whole_rows)
    large = pc.greater_equal(files["bytes"], pa.scalar(LARGE_BYTES))
    for name in files["file"].filter(pc.and_(large, pc.less(share, pa.scalar(_LEAST_LIVE)))).to_pylist():
        yield [str(name)]


def _filled(table: Table, scope: str, packs: pa.Table, files: pa.Table, least: int) -> Iterator[Merge]:
    """Packs in the order of their first units, which keeps videos together, in files of the target size.

    A group of packs of fewer than ``least`` files is left as it is.
    """
    ordered = packs.append_column("first", pc.list_element(whole(packs["live"]), 0)).sort_by(
        [("first", "ascending"), ("path", "ascending")]
    )
    places = places_of(ordered["file"], files, "file")
    # The bytes of a file that holds several packs, in equal parts.
    each = files["bytes"].take(places).to_numpy() / files["path_count"].take(places).to_numpy()
    number = (np.cumsum(each) // TARGET_BYTES).astype(int)
    for group in np.unique(number):
        own = ordered.filter(pa.array(number == group)).drop_columns(["first"])
        count = len(own["file"].unique())
        if count >= least:
            yield Merge(table=table, scope=scope, packs=own, files=count, bytes=int(each[number == group].sum()))


def _write(corpus: Corpus, merge: Merge) -> pa.Table:
    """Write the file of a merge. Returns rows for the layout."""
    parts: list[Any] = pack_parts(merge.packs).to_pylist()
    file = f"{merge.table.under(merge.scope)}/merged-{digest(*parts)}.parquet"
    packs: list[Pack] = merge.packs.to_pylist()
    counts = np.array(_write_rows(corpus, merge.table, packs, file), np.int64)
    first = np.cumsum(counts) - counts
    return pa.table(
        {
            "path": merge.packs["path"].combine_chunks(),
            "file": pa.repeat(file, len(packs)),
            "first_row": pa.array(first, pa.int64()),
            "num_rows": pa.array(counts, pa.int64()),
        }
    )


def _write_rows(corpus: Corpus, table: Table, packs: list[Pack], file: str) -> list[int]:
    """Copy the rows of packs to one file, a row group at a time. Returns the number of rows of each pack."""
    counts: list[int] = []
    with corpus.writing(file) as path, _RowGroups(path, table) as writer:
        for rows in read_packs(corpus, table, packs):
            writer.add(rows)
            counts.append(len(rows))
    return counts


class _RowGroups:
    """Writes a Parquet file in row groups of the layout's size; holds one row group in memory."""

    def __init__(self, path: Any, table: Table) -> None:
        self.path, self.table = path, table
        self.pending: list[pa.Table] = []
        self.schema: pa.Schema | None = None
        self.writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush(everything=True)
        if self.writer is not None:
            self.writer.close()

    def add(self, rows: pa.Table) -> None:
        """Add the rows of a pack."""
        if self.schema is None:
            self.schema = _file_schema(self.table, rows.schema)
        self.pending.append(rows.cast(self.schema))
        self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        if not self.pending or not (everything or self._full()):
            return
        rows = pa.concat_tables(self.pending)
        # Row groups of pictures end with a pack, so that a pack lies in one of them.
        size = len(rows) if self.table.blob else int(TABLE_OPTIONS["row_group_size"])
        end = len(rows) if everything else len(rows) // size * size
        self._open(rows.schema).write_table(rows.slice(0, end), row_group_size=max(size, 1))
        # Copied, as a slice would keep what was written in memory.
        self.pending = [rows.slice(end).combine_chunks()] if end < len(rows) else []

    def _full(self) -> bool:
        if self.table.blob:
            return sum(rows.nbytes for rows in self.pending) >= BLOB_ROW_GROUP_BYTES
        return sum(len(rows) for rows in self.pending) >= int(TABLE_OPTIONS["row_group_size"])

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self.writer is None:
            options = TABLE_OPTIONS | (blob_columns(schema, self.table.blob) if self.table.blob else {})
            self.writer = pq.ParquetWriter(
                self.path, schema, **{name: value for name, value in options.items() if name != "row_group_size"}
            )
        return self.writer


def _file_schema(table: Table, actual: pa.Schema) -> pa.Schema:
    """The declared schema; lists keep the length that the files give them, such as that of a model's features."""
    fields = [
        field.with_type(actual.field(field.name).type)
        if pa.types.is_fixed_size_list(actual.field(field.name).type)
        else field
        for field in table.schema
    ]
    return pa.schema(fields)


def _delete_left(snapshot: Snapshot, layout: Layout, before: dt.datetime) -> None:
    """Delete the files that packs left before a moment, and that no pack lies in."""
    left = layout.left()
    old = left.filter(pc.less(left["left_at"], pa.scalar(before, left["left_at"].type)))
    gone = whole(old["file"].filter(pc.invert(pc.is_in(old["file"], value_set=snapshot.files_in_use()))))
    folders = {str(name).partition("/")[0] for name in gone.to_pylist()}
    there = pc.is_in(gone, value_set=whole(snapshot.sizes(sorted(folders))["file"]))
    snapshot.corpus.delete(*(str(name) for name in gone.filter(there).to_pylist()))
    layout.merge(gone)
    snapshot.refresh()
