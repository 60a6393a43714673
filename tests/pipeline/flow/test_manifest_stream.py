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


def test_an_epoch_has_its_own_order_and_the_same_one_each_time(corpus: Corpus) -> None:
    first, second = (read(corpus, Share(), epoch) for epoch in (0, 1))
    assert first == read(corpus, Share(), 0)
    assert first != second
    assert sorted(first) == sorted(second)


def read(corpus: Corpus, share: Share, epoch: int) -> list[str]:
    stream = stream_split(corpus, FILES, "train", ["crop_id"], share=share, seed=1)
    return [crop for batch in stream(epoch) for crop in batch["crop_id"].to_pylist()]
