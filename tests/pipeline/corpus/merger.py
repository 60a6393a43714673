"""A process that commits units and merges files again and again, to be killed."""

import datetime as dt
import random
import sys

from pipeline.corpus.compaction import compact, plan_compaction
from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import Snapshot
from tests.pipeline.corpus.test_compaction import THINGS, commit


def main(uri: str, units: int, seed: int) -> None:
    """Commit the units that are missing, in random groups, and merge after each; then merge what is left."""
    corpus, chance = Corpus(uri), random.Random(seed)
    done = set(Snapshot(corpus).latest("test")["unit_id"].to_pylist())
    left = [number for number in range(units) if f"u{number:05d}" not in done]
    while left:
        size = chance.randint(1, 4)
        commit(corpus, *left[:size])
        left = left[size:]
        merge(corpus)
    merge(corpus)


def merge(corpus: Corpus) -> None:
    """Merge files, and delete at once those that packs have left."""
    snapshot = Snapshot(corpus)
    for _ in compact(snapshot, plan_compaction(snapshot, [THINGS]), grace=dt.timedelta(0)):
        pass


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
