import os
import pickle
import stat
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audit import catalog
from pipeline.corpus.files import Corpus, digest
from pipeline.errors import UserError
from schemas.parquet_layout import blob_options
from tests.corpora import small_corpus


@pytest.fixture(params=["local", "fsspec", "s3"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    name = uuid.uuid4().hex
    uris = {
        "local": lambda: str(tmp_path / name),
        "fsspec": lambda: f"memory://{name}/corpus",
        "s3": lambda: f"s3://bucket/{name}?{request.getfixturevalue('s3')}",
    }
    return Corpus(uris[request.param]())


def test_what_is_put_is_read_and_listed(corpus: Corpus) -> None:
    corpus.put("crops/a.bin", b"one")
    corpus.put("crops/deep/b.bin", b"two")
    corpus.put("crops/a.bin", b"three")
    assert corpus.read("crops/a.bin") == b"three"
    assert sorted(corpus.relative(info.path) for info in corpus.files("crops")) == ["crops/a.bin", "crops/deep/b.bin"]
    corpus.delete("crops/a.bin")
    corpus.delete("crops/a.bin")
    assert not corpus.exists("crops/a.bin")
    assert list(corpus.files("nowhere")) == []


def test_an_upload_appears_under_its_name_only(corpus: Corpus, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(b"x" * 1000)
    corpus.upload(source, "media/clip.mp4")
    assert [corpus.relative(info.path) for info in corpus.files("media")] == ["media/clip.mp4"]
    assert corpus.read("media/clip.mp4") == source.read_bytes()


def test_a_corpus_travels_to_workers(corpus: Corpus) -> None:
    corpus.put("a.bin", b"x")
    if not corpus.uri.startswith("memory"):
        assert pickle.loads(pickle.dumps(corpus)).read("a.bin") == b"x"
    assert pickle.loads(pickle.dumps(corpus)).root == corpus.root


def test_a_file_that_cannot_be_completed_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(str(tmp_path))
    corpus.put("videos/a.parquet", b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        corpus.put("videos/a.parquet", b"new")
    assert corpus.read("videos/a.parquet") == b"old"
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["a.parquet"]


def test_a_written_file_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    Corpus(str(tmp_path)).put("a.bin", b"x")
    plain = tmp_path / "plain.bin"
    plain.write_bytes(b"x")
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_blobs_are_stored_as_they_are_in_row_groups_that_fit_memory(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path))
    rows = pa.table({"crop_id": [f"{i:016x}" for i in range(300)], "jpeg": [os.urandom(1 << 19)] * 300})
    corpus.write_table(rows, "crops/a.parquet", **blob_options(rows))
    meta = pq.read_metadata(tmp_path / "crops/a.parquet")
    blob = meta.row_group(0).column(1)
    assert blob.path_in_schema == "jpeg"
    assert blob.compression == "UNCOMPRESSED"
    assert not blob.has_dictionary_page
    assert blob.statistics is None
    assert 32 << 20 <= meta.row_group(0).total_byte_size <= 128 << 20


def test_a_corpus_that_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="nosuch://bucket/x"):
        Corpus("nosuch://bucket/x")


def test_digest_tells_where_a_part_ends() -> None:
    lists = [
        *(["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"]),
        *(
            ["a:", "b"],
            ["a", ":b"],
            ["a:b"],
            ["a,b"],
            ["a", "b"],
            ["a1:b"],
            ["1:a", "b"],
            ["1:a1:b"],
            ["a\0b"],
            ["a\nb"],
        ),
        *([], [""], ["", ""], ["b", "a"]),
    ]
    assert len({digest(*parts) for parts in lists}) == len(lists)
    assert len(digest("a")) == 16
    assert len(digest("a", length=64)) == 64


@pytest.fixture
def remote(s3: str, s3_requests: list[str]) -> Corpus:
    return Corpus(f"s3://bucket/{uuid.uuid4().hex}?{s3}")


def test_a_small_object_costs_one_request_to_write_to_read_and_to_delete(
    remote: Corpus, s3_requests: list[str], tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x" * 1000)
    assert remote.root.startswith("bucket/")
    requests = {}
    for name, act in {
        "put": lambda: remote.put("ledger/crawl/a.parquet", b"x" * 5000),
        "upload": lambda: remote.upload(tmp_path / "clip.mp4", "media/clip.mp4"),
        "read": lambda: remote.read("ledger/crawl/a.parquet"),
        "delete": lambda: remote.delete("ledger/crawl/a.parquet"),
    }.items():
        s3_requests.clear()
        act()
        requests[name] = [line.split()[0] for line in s3_requests]
    assert requests == {"put": ["PUT"], "upload": ["PUT"], "read": ["GET"], "delete": ["DELETE"]}


def test_files_are_deleted_a_thousand_at_a_time(remote: Corpus, s3_requests: list[str]) -> None:
    names = [f"crops/{index}.parquet" for index in range(5)]
    for name in names:
        remote.put(name, b"x")
    s3_requests.clear()
    remote.delete(*names[1:], *(f"crops/gone-{index}.parquet" for index in range(1500)))
    assert [line.split()[0] for line in s3_requests] == ["POST", "POST"]
    assert [remote.relative(info.path) for info in remote.files("crops")] == names[:1]


def test_many_files_are_deleted_from_any_store(corpus: Corpus) -> None:
    for name in "abc":
        corpus.put(f"crops/{name}", b"x")
    corpus.delete("crops/a", "crops/gone", "crops/c")
    assert [corpus.relative(info.path) for info in corpus.files("crops")] == ["crops/b"]
    corpus.delete()


@pytest.mark.parametrize("spelling", ["{}", "file://{}", "file://localhost{}", "encoded"])
def test_a_folder_with_a_blank_is_the_same_corpus_in_every_spelling(tmp_path: Path, spelling: str) -> None:
    folder = tmp_path / "a b%c?d#e"
    uri = folder.as_uri() if spelling == "encoded" else spelling.format(folder).replace("%c", "%25c")
    small_corpus(str(folder))
    corpus = Corpus(uri if "file" in uri else str(folder))
    assert (corpus.is_local, corpus.root) == (True, str(folder))
    assert pickle.loads(pickle.dumps(corpus)).root == str(folder)
    catalog.refresh(corpus)
    with duckdb.connect(folder / "catalog.duckdb", read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM crops").fetchall() == [(60,)]


@pytest.mark.parametrize("uri", ["file://server/data/corpus", "file://corpus"])
def test_a_file_uri_that_names_a_host_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="names the host"):
        Corpus(uri)
