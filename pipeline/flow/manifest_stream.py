"""Read a split of a manifest, and the pictures of its crops beside it, in an order that follows from seed and rows.

Which rows share a file depends on which tasks ended together, on kills and on compaction. Rows are therefore ordered by
what they say, and cut into groups of a fixed number: two corpora with the same rows give the same stream.
"""

import logging
import random
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.packs import Pack, read_packs
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import publish
from pipeline.flow.manifest_pictures import ManifestFiles, Pictures, manifest_files
from schemas.tables import MANIFEST
from stages.arrays import arrow

log = logging.getLogger("reidforge")

# Rows with pictures held in memory at once, per worker.
BATCH_ROWS: Final = 256

# Rows that are read together and in order: many enough that a file of the manifest is not read for a few of them, few
# enough that a small corpus has many groups to shuffle.
_GROUP_ROWS: Final = (256, 4096)
_GROUPS: Final = 64

# Files of the manifest whose columns are held, without pictures.
_HELD_FILES: Final = 4

_SORT_MEMORY: Final = "512MB"


@dataclass(frozen=True, kw_only=True)
class Share:
    """One worker's share of a stream."""

    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Split:
    """Where the rows of one split are, in the order of video, time and crop.

    Args:
        files: Where the manifest and its pictures are.
        file: Index of the pack in ``files.packs``, int32 [N].
        row: Row in that pack, int32 [N].
    """

    files: ManifestFiles
    file: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.row)


def find_split(corpus: Corpus, files: ManifestFiles, split: str | None) -> Split:
    """Find the rows of one split, None = of all splits, in the packs of a manifest."""
    schema = pa.schema([*(MANIFEST.field(name) for name in _KEYS), *_PLACE])
    packs: list[Pack] = files.packs.to_pylist()
    tables = (_keys(rows, number, split) for number, rows in enumerate(_read(corpus, packs, [*_KEYS, "split"])))
    batches = (batch for table in tables for batch in table.to_batches())
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    with (
        tempfile.TemporaryDirectory(prefix="reidforge-") as spill,
        duckdb.connect(config={"memory_limit": _SORT_MEMORY, "temp_directory": spill}) as database,
    ):
        database.register("rows", reader)
        found = database.execute(f"SELECT file, row FROM rows ORDER BY {', '.join(_KEYS)}").fetchnumpy()  # noqa: S608
    return Split(files, np.asarray(found["file"], np.int32), np.asarray(found["row"], np.int32))


_KEYS: Final = ("video_id", "pts_s", "frame_index", "crop_id")
_PLACE: Final[list["pa.Field[Any]"]] = [pa.field("file", pa.int32()), pa.field("row", pa.int32())]


def _keys(table: pa.Table, number: int, split: str | None) -> pa.Table:
    rows = arrow(np.arange(len(table), dtype=np.int32))
    table = table.append_column(_PLACE[0], pa.repeat(pa.scalar(number, pa.int32()), len(table)))
    table = table.append_column(_PLACE[1], rows)
    if split is not None:
        table = table.filter(pc.equal(table["split"], pa.scalar(split)))
    return table.select([*_KEYS, "file", "row"])


def _read(corpus: Corpus, packs: Sequence[Pack], columns: Sequence[str]) -> Iterator[pa.Table]:
    return read_packs(corpus, publish.MANIFEST, packs, columns)


def read_manifest(snapshot: Snapshot, variant: str) -> Iterator[pa.RecordBatch]:
    """A variant's manifest as export formats take it: sorted by video and time, every row with its own picture.

    Crops whose pictures were removed since are left out, and their number is logged.

    Yields:
        Batches of ``schemas.tables.MANIFEST``; ``crops_path`` is null, as the rows do not need the crops.

    Raises:
        UnitError: A file of crops that the manifest names does not count any more.
    """
    rows = find_split(snapshot.corpus, manifest_files(snapshot, variant), None)
    read = _Reader(snapshot.corpus, rows, MANIFEST.names)
    _, size = _GROUP_ROWS
    gone = 0
    for start in range(0, len(rows), size):
        for batch in read.rows(np.arange(start, min(start + size, len(rows)))):
            there = batch.filter(pc.is_valid(batch["jpeg"]))
            gone += len(batch) - len(there)
            whole = pa.Table.from_batches([there]).drop_columns(["crops_path"])
            whole = whole.append_column("crops_path", pa.repeat(pa.scalar(None, pa.string()), len(there)))
            yield from whole.select(MANIFEST.names).cast(MANIFEST).to_batches()
    if gone:
        log.warning("%s: %s crops of the manifest have no picture any more", variant, f"{gone:,}")


def stream_split(
    corpus: Corpus, split: Split, columns: Sequence[str], *, share: Share, seed: int
) -> Callable[[int], Iterator[pa.RecordBatch]]:
    """Make the stream of a split.

    Args:
        corpus: The corpus.
        split: Rows to return.
        columns: Columns to return.
        share: This worker's part of the rows: whole groups if there are enough of them, so that a worker reads only
            what it trains on; else every ``world``-th row.
        seed: Decides the order of the groups.

    Returns:
        Function from the epoch's number to its record batches; the same ones each time, however the rows are
        distributed over files.
    """
    least, most = _GROUP_ROWS
    size = min(most, max(least, len(split) // _GROUPS))
    starts = range(0, len(split), size)
    by_group = len(starts) >= 4 * share.world

    def epoch(number: int) -> Iterator[pa.RecordBatch]:
        read = _Reader(corpus, split, columns)
        order = random.Random(f"{seed}/{number}").sample(starts, len(starts))  # noqa: S311 - not for secrets
        for start in order[share.rank :: share.world] if by_group else order:
            places = np.arange(start, min(start + size, len(split)))
            yield from read.rows(places if by_group else places[share.rank :: share.world])

    return epoch


class _Reader:
    """Reads rows of a manifest with their pictures; holds the files of both that it read last."""

    def __init__(self, corpus: Corpus, split: Split, columns: Sequence[str]) -> None:
        self._corpus, self._split, self._columns = corpus, split, list(columns)
        self._own = [name for name in columns if name != "jpeg"]
        self._needs = ["crop_id", "crops_path"] if "jpeg" in columns else []
        self._pictures = Pictures(corpus, split.files)
        self._paths = split.files.packs["path"].combine_chunks()
        self._held: OrderedDict[int, pa.Table] = OrderedDict()

    def rows(self, places: npt.NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """Rows at places of the split, in this order, ``BATCH_ROWS`` at a time."""
        numbers, rows = self._split.file[places], self._split.row[places]
        known = {int(number): self._file(int(number)) for number in np.unique(numbers)}
        if "jpeg" in self._columns:
            self._pictures.hold(self._sources(self._chosen(known, numbers, rows)["crops_path"], numbers))
        for first in range(0, len(places), BATCH_ROWS):
            yield self._batch(known, numbers[first : first + BATCH_ROWS], rows[first : first + BATCH_ROWS])

    def _batch(
        self, known: dict[int, pa.Table], numbers: npt.NDArray[np.int32], rows: npt.NDArray[np.int32]
    ) -> pa.RecordBatch:
        table = self._chosen(known, numbers, rows)
        columns = {name: table[name].combine_chunks() for name in self._own}
        if "jpeg" in self._columns:
            paths = self._sources(table["crops_path"], numbers)
            columns["jpeg"] = self._pictures.of(table["crop_id"].combine_chunks(), paths)
        return pa.RecordBatch.from_arrays([columns[name] for name in self._columns], names=self._columns)

    def _chosen(
        self, known: dict[int, pa.Table], numbers: npt.NDArray[np.int32], rows: npt.NDArray[np.int32]
    ) -> pa.Table:
        used = np.unique(numbers)
        parts = [known[int(number)].take(arrow(rows[numbers == number])) for number in used]
        places = np.concatenate([np.flatnonzero(numbers == number) for number in used])
        return pa.concat_tables(parts).take(arrow(np.argsort(places)))

    def _sources(self, crops: "pa.ChunkedArray[Any]", numbers: npt.NDArray[np.int32]) -> "pa.Array[Any]":
        """The pack that has the picture of each row: one of crops, or the row's own."""
        paths: pa.Array[Any] = pc.coalesce(crops.combine_chunks(), self._paths.take(arrow(numbers)))
        return paths

    def _file(self, number: int) -> pa.Table:
        if number not in self._held:
            names = list(dict.fromkeys([*self._own, *self._needs]))
            packs: list[Pack] = self._split.files.packs.slice(number, 1).to_pylist()
            (self._held[number],) = _read(self._corpus, packs, names)
        self._held.move_to_end(number)
        while len(self._held) > _HELD_FILES:
            self._held.popitem(last=False)
        return self._held[number]
