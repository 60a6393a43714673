"""The state of a synthetic corpus that grows, and what all of its stages share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.scale import noise
from benchmarks.scale.looks import Looks
from benchmarks.scale.noise import Doubles, Ints
from benchmarks.scale.settings import Run
from benchmarks.scale.videos import Videos
from benchmarks.scale.writing import path_of
from pipeline.corpus.files import Corpus
from pipeline.recipe import Recipe
from pipeline.run.stream import WAVE
from schemas.declaration import Table

SECONDS: Final = {
    "discover": 20.0,
    "crawl": 90.0,
    "detect": 2.5,
    "embed": 3.0,
    "track": 0.1,
    "dedup": 0.1,
    "caption": 0.5,
}
"""Mean work time of a unit, for the ledger."""


RunAll = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""A function over tasks, as ``map`` runs it."""


class Pack(NamedTuple):
    """Chunks whose rows share a file.

    Attributes:
        name: Name of the file.
        chunks: Numbers of the chunks that have rows in it, in the order of their ids.
        write: Tables that are not written yet.
    """

    name: str
    chunks: Ints
    write: tuple[str, ...]


@dataclass
class Growth:
    """A corpus that grows.

    Attributes:
        corpus: The corpus.
        recipe: Its recipe, after the last change.
        videos: All videos that it will have.
        run_all: Runs a function that writes files over tasks, as ``map`` does.
        there: Files that exist.
        pack_of: int64 [chunks]: position of the pack that holds each chunk's rows; -1 where none does.
        detections: int64 [chunks]: rows of detections.
        crops: int64 [chunks]: crops.
        packs: Every pack of detect's that was written, superseded ones too.
        standing: Ledger rows of the last run that embedded or captioned, by stage.
    """

    corpus: Corpus
    recipe: Recipe
    videos: Videos
    run_all: RunAll
    there: set[str]
    pack_of: Ints
    detections: Ints
    crops: Ints
    packs: list[Pack] = field(default_factory=list)
    standing: dict[str, pa.Table] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Seed of the corpus."""
        return self.videos.seed

    def missing(self, tables: Sequence[Table], scope: str, name: str) -> tuple[str, ...]:
        """Names of the tables that lack a file of this name."""
        return tuple(table.name for table in tables if path_of(table, scope, name) not in self.there)

    def work_time(self, stage: str, positions: Ints) -> Doubles:
        """Seconds that units took, for the ledger."""
        return SECONDS[stage] * (0.5 + noise.uniform(self.seed, f"seconds of {stage}", positions))


class Own(NamedTuple):
    """What every task of a process needs: sent to it once."""

    corpus: Corpus
    videos: Videos
    looks: Looks


_OWN: list[Own] = []


def start_worker(corpus: str, videos: Videos, looks: Looks) -> None:
    """Initialise a process that writes files."""
    pa.set_cpu_count(1)
    _OWN[:] = [Own(Corpus(corpus), videos, looks)]


def own() -> Own:
    """What ``start_worker`` was given in this process."""
    return _OWN[0]


def new_videos(run: Run) -> Ints:
    """Videos that a run detects: its new ones; the second run, with the changed recipe, also those of the first."""
    return np.arange(0 if run.number == 1 else run.first, run.stop)


def files_of(count: int, per_file: int) -> Iterator[slice]:
    """The units of each file of a pass, in order; units of different waves do not share a file."""
    for wave in range(0, count, WAVE):
        stop = min(wave + WAVE, count)
        for start in range(wave, stop, min(per_file, stop - wave)):
            yield slice(start, min(start + per_file, stop))


def file_numbers(count: int, per_file: int) -> Ints:
    """Number of each unit's file."""
    numbers = np.zeros(count, np.int64)
    for number, part in enumerate(files_of(count, per_file)):
        numbers[part] = number
    return numbers


def as_list(column: Any) -> list[Any]:
    """A column's values."""
    values: list[Any] = column.to_pylist()
    return values
