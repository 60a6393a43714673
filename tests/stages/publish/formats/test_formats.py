"""Export formats: every row arrives once, in its split, and a failed export leaves no half-written file."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from schemas.tables import CAPTIONS, CROPS, MANIFEST, VIDEOS
from stages.pictures import decode
from stages.publish.config import PublishConfig
from stages.publish.formats.export_format import Sink
from stages.publish.formats.known_formats import FORMATS
from stages.publish.formats.webdataset import WebDatasetFormat
from tests.corpora import caption_rows, crop_rows, manifest_of, video_row

VIDEO_IDS = ("x:a", "x:b", "x:c", "x:d")


def into(folder: Path) -> Sink:
    """A sink that writes below a folder, and renames a file when it is whole."""

    @contextmanager
    def opened(path: str) -> Iterator[IO[bytes]]:
        target = folder / path
        assert not target.exists(), "a file is written once"
        folder.mkdir(exist_ok=True)
        unfinished = folder / f"{path}.part"
        with unfinished.open("wb") as file:
            yield file
        unfinished.rename(target)

    return opened


@pytest.fixture(scope="module")
def manifest() -> pa.Table:
    """Four videos in three splits: a train video before and after the others; one crop without captions."""
    crops = pa.Table.from_pylist([row for video in VIDEO_IDS for row in crop_rows(video, "u", range(6))], CROPS)
    captions = pa.Table.from_pylist(caption_rows(crops, "c")[:-1], CAPTIONS)
    videos = pa.Table.from_pylist([video_row(video) for video in VIDEO_IDS], VIDEOS)
    splits = {"train": 0.5, "val": 0.25, "test": 0.25}
    config = PublishConfig.model_validate({"splits": splits, "require_caption": False, "self_contained": True})
    table = manifest_of(crops, captions, videos, config)
    assert len(table) == 24
    return table


def batches(manifest: pa.Table, size: int = 5) -> list[pa.RecordBatch]:
    return manifest.to_batches(max_chunksize=size)


def samples(tar: Path) -> list[dict[str, bytes]]:
    """Samples of a WebDataset archive, by the rule of the format: successive members with the same key."""
    found: list[dict[str, bytes]] = []
    with tarfile.open(tar) as archive:
        for member in archive:
            key, _, suffix = member.name.partition(".")
            if not found or found[-1]["key"] != key.encode():
                found.append({"key": key.encode()})
            content = archive.extractfile(member)
            assert content is not None
            found[-1][suffix] = content.read()
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_counts_its_samples_and_keeps_splits_in_files_of_their_own(
    name: str, manifest: pa.Table, tmp_path: Path
) -> None:
    counts = FORMATS[name].model_validate({}).write(batches(manifest), into(tmp_path))
    assert counts == Counter(manifest["split"].to_pylist())
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"train", "val", "test"}


@pytest.mark.parametrize("name", FORMATS)
def test_no_rows_write_no_files(name: str, tmp_path: Path) -> None:
    assert FORMATS[name].model_validate({}).write([], into(tmp_path)) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_fails_leaves_no_file_that_looks_whole(name: str, manifest: pa.Table, tmp_path: Path) -> None:
    ended: dict[str, bool] = {}

    @contextmanager
    def watched(path: str) -> Iterator[IO[bytes]]:
        ended[path] = False
        yield io.BytesIO()
        ended[path] = True

    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(manifest)
        raise OSError("the corpus went away")

    with pytest.raises(OSError, match="went away"):
        FORMATS[name].model_validate({}).write(failing(), watched)
    assert sorted(ended) == sorted(f"{split}-000000{suffix(name)}" for split in ("test", "train", "val"))
    assert not any(ended.values())


def suffix(name: str) -> str:
    return {"parquet": ".parquet", "webdataset": ".tar"}[name]


@pytest.mark.parametrize("name", FORMATS)
def test_an_option_that_a_format_lacks_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        FORMATS[name].model_validate({"shard_size": 5})


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_rows_give_the_same_bytes_whatever_the_batches(name: str, manifest: pa.Table, tmp_path: Path) -> None:
    written = []
    for size in (1, 24):
        FORMATS[name].model_validate({}).write(batches(manifest, size), into(tmp_path / str(size)))
        written.append({path.name: path.read_bytes() for path in (tmp_path / str(size)).iterdir()})
    assert written[0] == written[1]


def test_parquet_reads_back_as_the_manifest(manifest: pa.Table, tmp_path: Path) -> None:
    FORMATS["parquet"].model_validate({}).write(batches(manifest), into(tmp_path))
    parts = [pq.read_table(path) for path in sorted(tmp_path.iterdir())]
    assert all(part.schema.equals(MANIFEST) for part in parts)
    assert parts[0].schema.field("crop_id").metadata == MANIFEST.field("crop_id").metadata
    order = [("video_id", "ascending"), ("pts_s", "ascending")]
    assert pa.concat_tables(parts).sort_by(order).equals(manifest.sort_by(order))
    blob = pq.read_metadata(tmp_path / "train-000000.parquet").row_group(0).column(MANIFEST_LEAVES.index("jpeg"))
    assert (blob.compression, blob.has_dictionary_page, blob.statistics) == ("UNCOMPRESSED", False, None)


def test_parquet_rows_of_many_batches_share_a_row_group(manifest: pa.Table, tmp_path: Path) -> None:
    FORMATS["parquet"].model_validate({}).write(batches(manifest, 1), into(tmp_path))
    assert pq.read_metadata(tmp_path / "train-000000.parquet").num_row_groups == 1


def leaves() -> list[str]:
    sink = pa.BufferOutputStream()
    pq.write_table(MANIFEST.empty_table(), sink)
    schema = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [schema.column(position).path for position in range(len(schema.names))]


MANIFEST_LEAVES = leaves()


def test_a_webdataset_sample_is_a_crop_with_its_caption_and_its_columns(manifest: pa.Table, tmp_path: Path) -> None:
    FORMATS["webdataset"].model_validate({}).write(batches(manifest), into(tmp_path))
    rows = {row["crop_id"]: row for row in manifest.to_pylist()}
    found = {split: samples(tmp_path / f"{split}-000000.tar") for split in ("train", "val", "test")}
    assert sorted(one["key"].decode() for part in found.values() for one in part) == sorted(rows)
    for split, part in found.items():
        for one in part:
            row = rows[one["key"].decode()]
            assert row["split"] == split
            assert one["jpg"] == row["jpeg"]
            assert decode(one["jpg"]) is not None
            assert json.loads(one["json"]) == {name: value for name, value in row.items() if name != "jpeg"}
            assert one.get("txt", b"").decode() == (row["captions"][0] if row["captions"] else "")
            assert ("txt" in one) == bool(row["captions"])


def test_a_webdataset_sample_per_caption_repeats_the_image(manifest: pa.Table, tmp_path: Path) -> None:
    counts = WebDatasetFormat(sample="caption").write(batches(manifest), into(tmp_path))
    expected = Counter[str]()
    pairs = []
    for row in manifest.to_pylist():
        expected[row["split"]] += max(len(row["captions"]), 1)
        pairs += [(row["jpeg"], caption) for caption in row["captions"] or [""]]
    found = [one for path in tmp_path.iterdir() for one in samples(path)]
    assert counts == expected
    assert len(found) == len({one["key"] for one in found}) > len(manifest)
    assert sorted((one["jpg"], one.get("txt", b"").decode()) for one in found) == sorted(pairs)


@pytest.mark.parametrize(("name", "option"), [("webdataset", "max_shard_bytes"), ("parquet", "max_file_bytes")])
def test_a_full_file_is_followed_by_another(
    name: str, option: str, manifest: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.publish.formats.parquet.BLOB_ROW_GROUP_BYTES", 1)
    FORMATS[name].model_validate({option: 12_000}).write(batches(manifest, 1), into(tmp_path))
    train = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("train"))
    assert train[:2] == [f"train-000000{suffix(name)}", f"train-000001{suffix(name)}"]
    assert len(train) < 12, "a file holds several samples"
    whole = sorted(path.stat().st_size for path in tmp_path.iterdir() if path.name in train[:-1])
    assert whole[0] >= 12_000
