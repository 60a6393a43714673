"""Read a manifest as a stream: by row group, each worker its share, in an order that follows from the seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.files import Corpus

# Rows held in memory at once, per worker.
BATCH_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Share:
    """One worker's share of a stream."""

    rank: int = 0
    world: int = 1


def count_rows(corpus: Corpus, files: Sequence[str], split: str) -> int:
    """Rows of one split."""
    columns = (corpus.read_table(path, columns=["split"])["split"] for path in files)
    return sum(int(np.count_nonzero(pc.equal(column, pa.scalar(split)))) for column in columns)


def stream_split(
    corpus: Corpus, files: Sequence[str], split: str, columns: Sequence[str], *, share: Share, seed: int
) -> Callable[[int], Iterator[pa.RecordBatch]]:
    """Make the stream of a split.

    Args:
        corpus: The corpus.
        files: Manifest files.
        split: Rows to return.
        columns: Columns to return.
        share: This worker's part of the rows: whole row groups if there are enough of them, so that a worker reads
            only what it trains on; else every ``world``-th row.
        seed: Decides the order of the row groups.

    Returns:
        Function from the epoch's number to its record batches; the same ones each time.
    """
    groups = [(path, group) for path in sorted(files) for group in range(_row_groups(corpus, path))]
    by_group = len(groups) >= 4 * share.world

    def epoch(number: int) -> Iterator[pa.RecordBatch]:
        order = random.Random(f"{seed}/{number}").sample(groups, len(groups))  # noqa: S311 - not for secrets
        mine = order[share.rank :: share.world] if by_group else order
        for path, group in mine:
            for batch in _read_group(corpus, path, group, split, columns):
                yield batch if by_group else batch.take(np.arange(share.rank, batch.num_rows, share.world))

    return epoch


def _row_groups(corpus: Corpus, path: str) -> int:
    with corpus.open(path) as file:
        return int(pq.read_metadata(file).num_row_groups)


def _read_group(corpus: Corpus, path: str, group: int, split: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with corpus.open(path) as file:
        batches = pq.ParquetFile(file).iter_batches(BATCH_ROWS, row_groups=[group], columns=[*columns, "split"])
        for batch in batches:
            yield batch.filter(pc.equal(batch["split"], pa.scalar(split))).select(list(columns))
