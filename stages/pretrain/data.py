"""From Arrow record batches of a manifest to the batches of a training, for any method."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from stages.errors import UnitError
from stages.pretrain.method import Method, Row, Tensors

Stream = Callable[[int], Iterator[pa.RecordBatch]]
"""Record batches of an epoch, by its number: this worker's share of the training split, the same each time."""

MAX_READS = 10
"""Times that one epoch's stream is read before the run fails: it holds too few usable crops."""


@dataclass(frozen=True)
class Batch:
    """The crops of one training step on one worker."""

    tensors: Tensors
    """As ``Method.collate`` made them."""
    position: int
    """Rows taken from the epoch's stream so far, unusable ones included."""
    unreadable: tuple[str, ...]
    """crop_id of rows taken for this batch that gave no sample."""


def rows_of(stream: Iterator[pa.RecordBatch], columns: Sequence[str]) -> Iterator[Row]:
    """Rows of record batches, by column name."""
    for batch in stream:
        yield from batch.select(list(columns)).to_pylist()


def shuffled(rows: Iterator[Row], size: int, seed: str) -> Iterator[Row]:
    """The rows in random order, within the limits of a buffer of ``size`` rows."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    held = list(islice(rows, size))
    for row in rows:
        index = rng.randrange(len(held))
        drawn, held[index] = held[index], row
        yield drawn
    rng.shuffle(held)
    yield from held


def epoch_rows(stream: Stream, columns: Sequence[str], *, epoch: int, buffer: int, seed: int) -> Iterator[Row]:
    """Shuffled rows of one epoch, repeated until the epoch's steps are full: all workers must do as many steps.

    Raises:
        UnitError: The stream was read ``MAX_READS`` times and more rows are needed.
    """
    for _ in range(MAX_READS):
        yield from shuffled(rows_of(stream(epoch), columns), buffer, f"{seed}/{epoch}")
    message = (
        f"the training stream, read {MAX_READS} times, did not fill one epoch: it has too few crops that can be "
        "decoded and have what pretrain.method reads"
    )
    raise UnitError(message, kind="no_rows")


def batches(
    rows: Iterator[Row], method: Method[Any], *, size: int, seed: str, threads: int = 1, skip: int = 0
) -> Iterator[Batch]:
    """Training batches from rows that are already in order.

    Every random choice about a crop follows from ``seed`` and its crop_id, so neither the order of the stream nor an
    interruption changes it. An incomplete last batch is left out.

    Args:
        rows: Rows of one epoch.
        method: Makes samples of rows and tensors of samples.
        size: Crops in a batch.
        seed: Seed of the run and number of the epoch.
        threads: Threads that make samples.
        skip: Rows to pass over undecoded: ``Batch.position`` of the last batch that was trained on.

    Yields:
        Batches of exactly ``size`` crops.
    """

    def sample(row: Row) -> Any:
        return method.sample(row, random.Random(f"{seed}/{row['crop_id']}"))  # noqa: S311 - not for secrets

    position = skip
    kept: list[Any] = []
    unreadable: list[str] = []
    with ThreadPoolExecutor(threads) as pool:
        remaining = islice(rows, skip, None)
        # Only as many rows as still lack are taken, so the position is exact when a batch is full.
        while taken := list(islice(remaining, size - len(kept))):
            position += len(taken)
            samples = list(pool.map(sample, taken))
            kept += [made for made in samples if made is not None]
            unreadable += [row["crop_id"] for row, made in zip(taken, samples, strict=True) if made is None]
            if len(kept) == size:
                yield Batch(method.collate(kept), position, tuple(unreadable))
                kept, unreadable = [], []
