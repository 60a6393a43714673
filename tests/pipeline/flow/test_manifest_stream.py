from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.corpus.files import Corpus
from pipeline.flow.manifest_stream import Share, count_rows, stream_split


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    corpus = Corpus(str(tmp_path))
    for number in range(3):
        ids = [f"{number}-{i}" for i in range(40)]
        rows = pa.table({"crop_id": ids, "split": ["val" if i % 4 == 0 else "train" for i in range(40)]})
        corpus.write_table(rows, f"manifests/v/{number}.parquet", row_group_size=10)
    return corpus


FILES = [f"manifests/v/{number}.parquet" for number in range(3)]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_workers_share_a_split_without_overlap(corpus: Corpus, world: int) -> None:
    shares = [read(corpus, Share(rank=rank, world=world), 0) for rank in range(world)]
    every = [crop for share in shares for crop in share]
    assert len(every) == len(set(every)) == count_rows(corpus, FILES, "train") == 90
    assert all(shares)


@pytest.mark.parametrize(("world", "whole"), [(3, True), (4, False)])
def test_row_groups_stay_whole_if_every_worker_gets_four(corpus: Corpus, world: int, whole: bool) -> None:
    readers = Counter(
        group
        for rank in range(world)
        for group in {(crop[0], int(crop[2:]) // 10) for crop in read(corpus, Share(rank=rank, world=world), 0)}
    )
    assert set(readers.values()) == ({1} if whole else {world})


def test_the_seed_decides_the_order(corpus: Corpus) -> None:
    first, second = (read(corpus, Share(), 0, seed=seed) for seed in (1, 2))
    assert first != second
    assert sorted(first) == sorted(second)


def test_an_epoch_has_its_own_order_and_the_same_one_each_time(corpus: Corpus) -> None:
    first, second = (read(corpus, Share(), epoch) for epoch in (0, 1))
    assert first == read(corpus, Share(), 0)
    assert first != second
    assert sorted(first) == sorted(second)


def read(corpus: Corpus, share: Share, epoch: int, seed: int = 1) -> list[str]:
    stream = stream_split(corpus, FILES, "train", ["crop_id"], share=share, seed=seed)
    return [crop for batch in stream(epoch) for crop in batch["crop_id"].to_pylist()]
