"""The stream that training reads: shares, order, pictures, and that neither follows from how rows share files."""

import datetime as dt
import io
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pytest

import schemas.tables as tables
from pipeline.corpus.compaction import compact, plan_compaction
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import manifest_stream
from pipeline.flow.detect import CROPS
from pipeline.flow.manifest_pictures import manifest_files
from pipeline.flow.manifest_stream import Share, Split, find_split, read_manifest, stream_split
from schemas.parquet_layout import blob_options
from stages.errors import UnitError
from stages.publish.config import PublishConfig
from stages.publish.formats.known_formats import FORMATS
from tests.corpora import caption_rows, crop_rows, ledger_row, manifest_of, video_row

VIDEOS = ("x:a", "x:b", "x:c", "x:d")
CHUNKS = 6
FRAMES = 8

Rows = list[dict[str, Any]]


def add_pack(corpus: Corpus, name: str, crops: Rows, live: Iterable[str]) -> None:
    """A file of crops; only the rows of units in ``live`` count."""
    table = pa.Table.from_pylist(crops, tables.CROPS)
    corpus.write_table(table, f"crops/{name}.parquet", **blob_options(table))
    Ledger(corpus, "detect").append([ledger_row(unit, [f"crops/{name}.parquet"]) for unit in live])


def units() -> dict[str, Rows]:
    return {
        f"{video}/{chunk:08}": crop_rows(video, f"{video}/{chunk:08}", range(chunk * 500, chunk * 500 + FRAMES))
        for video in VIDEOS
        for chunk in range(CHUNKS)
    }


def write_corpus(
    folder: Path, packs: Sequence[Sequence[str]], files: int, *, again: Sequence[str] = (), seed: int = 0, **config: Any
) -> Corpus:
    """A corpus with a manifest.

    Args:
        folder: Where.
        packs: Units that share a file of crops.
        files: Files of the manifest; its rows are distributed over them by chance.
        again: Units whose rows also stand in an older file and count there no more.
        seed: Of chance.
        config: Of publish.
    """
    corpus, found = Corpus(str(folder)), units()
    if again:
        add_pack(corpus, "older", [row | {"jpeg": b"older"} for unit in again for row in found[unit]], again)
    paths = {}
    for number, names in enumerate(packs):
        add_pack(corpus, f"p{number}", [row for unit in names for row in found[unit]], names)
        paths |= dict.fromkeys(names, f"crops/p{number}.parquet")
    crops = pa.Table.from_pylist([row for rows in found.values() for row in rows], tables.CROPS)
    captions = pa.Table.from_pylist(caption_rows(crops, "v/u"), tables.CAPTIONS)
    videos = pa.Table.from_pylist([video_row(video) for video in VIDEOS], tables.VIDEOS)
    given = PublishConfig.model_validate({"splits": {"train": 0.75, "val": 0.25}} | config)
    rows = manifest_of(crops, captions, videos, given, "v", paths=paths)
    places = random.Random(seed).choices(range(files), k=len(rows))
    for file in range(files):
        part = rows.filter(pa.array([place == file for place in places]))
        corpus.write_table(part, f"manifests/v/{seed}-{file}.parquet", row_group_size=10)
    outputs = [f"manifests/v/{seed}-{file}.parquet" for file in range(files)]
    Ledger(corpus, "publish").append([ledger_row("v", outputs, scope="v")])
    return corpus


def in_order(size: int) -> list[list[str]]:
    names = list(units())
    return [names[first : first + size] for first in range(0, len(names), size)]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_stream, "_GROUP_ROWS", (10, 10))
    monkeypatch.setattr(manifest_stream, "BATCH_ROWS", 4)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path / "plain", in_order(4), 3)


def split_of(corpus: Corpus, name: str = "train") -> Split:
    return find_split(corpus, manifest_files(Snapshot(corpus), "v"), name)


def read(corpus: Corpus, share: Share, epoch: int, seed: int = 1, columns: Sequence[str] = ("crop_id",)) -> Rows:
    stream = stream_split(corpus, split_of(corpus), columns, share=share, seed=seed)
    return [row for batch in stream(epoch) for row in batch.to_pylist()]


def ids(corpus: Corpus, share: Share, epoch: int, seed: int = 1) -> list[str]:
    return [row["crop_id"] for row in read(corpus, share, epoch, seed)]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_workers_share_a_split_without_overlap(corpus: Corpus, world: int) -> None:
    shares = [ids(corpus, Share(rank=rank, world=world), 0) for rank in range(world)]
    every = [crop for share in shares for crop in share]
    assert len(every) == len(set(every)) == len(split_of(corpus)) == 144
    assert all(shares)


@pytest.mark.parametrize(("world", "whole"), [(3, True), (4, False)])
def test_groups_stay_whole_if_every_worker_gets_four(corpus: Corpus, world: int, whole: bool) -> None:
    (first,) = {tuple(sorted(ids(corpus, Share(), epoch))) for epoch in (0, 1)}
    keys = ("crop_id", "video_id", "pts_s")
    rows = sorted(read(corpus, Share(), 0, columns=keys), key=lambda row: (row["video_id"], row["pts_s"]))
    groups = [{row["crop_id"] for row in rows[start : start + 10]} for start in range(0, len(first), 10)]
    shares = [set(ids(corpus, Share(rank=rank, world=world), 0)) for rank in range(world)]
    readers = {sum(bool(share & group) for share in shares) for group in groups}
    assert readers == ({1} if whole else {world})


def test_the_seed_decides_the_order(corpus: Corpus) -> None:
    first, second = (ids(corpus, Share(), 0, seed=seed) for seed in (1, 2))
    assert first != second
    assert sorted(first) == sorted(second)


def test_an_epoch_has_its_own_order_and_the_same_one_each_time(corpus: Corpus) -> None:
    first, second = (ids(corpus, Share(), epoch) for epoch in (0, 1))
    assert first == ids(corpus, Share(), 0)
    assert first != second
    assert sorted(first) == sorted(second)


def test_equal_rows_give_the_same_stream_however_they_share_files(corpus: Corpus, tmp_path: Path) -> None:
    names = list(units())
    mixed = [names[first::5] for first in range(5)]
    others = {
        "mixed": write_corpus(tmp_path / "mixed", mixed, 7, seed=5),
        "redone": write_corpus(tmp_path / "redone", in_order(3), 1, again=names[2:9], seed=6),
        "self_contained": write_corpus(tmp_path / "whole", mixed, 2, seed=7, self_contained=True),
        "compacted": write_corpus(tmp_path / "compacted", in_order(2), 7, again=names[:3], seed=8),
    }
    snapshot = Snapshot(others["compacted"])
    merged = list(compact(snapshot, plan_compaction(snapshot, [CROPS]), grace=dt.timedelta()))
    assert [merge.files for merge in merged] == [12]
    columns = ("jpeg", "crop_id", "captions")
    for share in (Share(), Share(rank=1, world=2), Share(rank=2, world=8)):
        for epoch in (0, 1):
            expected = read(corpus, share, epoch, columns=columns)
            assert expected
            for name, other in others.items():
                assert read(other, share, epoch, columns=columns) == expected, name


def test_a_row_comes_with_the_picture_of_its_own_crop(corpus: Corpus) -> None:
    originals = {row["crop_id"]: row["jpeg"] for rows in units().values() for row in rows}
    rows = read(corpus, Share(), 0, columns=("crop_id", "jpeg"))
    assert len({row["jpeg"] for row in rows}) > 4
    assert all(row["jpeg"] == originals[row["crop_id"]] for row in rows)


def test_a_crop_that_was_taken_out_of_its_file_has_no_picture_and_the_others_keep_theirs(corpus: Corpus) -> None:
    table = corpus.read_table("crops/p0.parquet")
    gone = table["crop_id"][3].as_py()
    corpus.write_table(pa.concat_tables([table.slice(0, 3), table.slice(4)]), "crops/p0.parquet")
    rows = {row["crop_id"]: row["jpeg"] for row in read(corpus, Share(), 0, columns=("crop_id", "jpeg"))}
    assert [crop for crop, jpeg in rows.items() if jpeg is None] == [gone]


def test_a_manifest_whose_crops_count_no_more_says_so(corpus: Corpus) -> None:
    Ledger(corpus, "detect").append([ledger_row(unit, status="retired") for unit in in_order(4)[0]])
    with pytest.raises(UnitError, match=r"crops/p0\.parquet.*publish the variant again"):
        read(corpus, Share(), 0, columns=("crop_id", "jpeg"))


@pytest.mark.parametrize("self_contained", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_either_kind_of_manifest(tmp_path: Path, name: str, self_contained: bool) -> None:
    corpus = write_corpus(tmp_path / "c", in_order(4), 3, self_contained=self_contained)
    rows = list(read_manifest(Snapshot(corpus), "v"))
    assert rows[0].schema.equals(tables.MANIFEST)
    keys = [(row["video_id"], row["pts_s"]) for batch in rows for row in batch.to_pylist()]
    assert keys == sorted(keys)
    sinks: dict[str, io.BytesIO] = {}

    @contextmanager
    def sink(path: str) -> Iterator[IO[bytes]]:
        sinks[path] = io.BytesIO()
        yield sinks[path]

    assert FORMATS[name].model_validate({}).write(rows, sink) == {"train": 144, "val": 48}
    jpegs = [row["jpeg"] for unit in units().values() for row in unit]
    content = b"".join(file.getvalue() for file in sinks.values())
    assert all(jpeg in content for jpeg in jpegs)


def test_an_export_leaves_out_crops_that_were_removed(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    table = corpus.read_table("crops/p0.parquet")
    corpus.write_table(table.slice(2), "crops/p0.parquet")
    rows = [row for batch in read_manifest(Snapshot(corpus), "v") for row in batch.to_pylist()]
    assert len(rows) == 190
    assert all(row["jpeg"] for row in rows)
    assert "2 crops of the manifest have no picture any more" in caplog.text
