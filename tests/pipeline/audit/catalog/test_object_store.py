"""The catalog of a corpus in an object store: the same answers, and few requests."""

import uuid
from pathlib import Path

import pytest

from pipeline.audit import catalog
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from tests.corpora import small_corpus
from tests.pipeline.audit.catalog.growth import add_crops, rows_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def remote(s3: str) -> Corpus:
    return small_corpus(f"s3://bucket/{uuid.uuid4().hex}?{s3}")


def kinds(requests: list[str]) -> list[str]:
    """Requests as ``GET``, ``HEAD``, ``LIST`` and so on."""
    listed = [("LIST" if "list-type=2" in line else line.split()[0]) for line in requests]
    requests.clear()
    return listed


def count(corpus: Corpus, view: str) -> int:
    return int("".join(catalog.sql(corpus, f"SELECT count(*) AS n FROM {view}", "csv")).split()[1])


def test_a_store_answers_as_a_folder_does(remote: Corpus, tmp_path: Path) -> None:
    local = small_corpus(str(tmp_path / "local"))
    assert rows_of(remote) == rows_of(local)
    picture = "SELECT octet_length(jpeg) AS n FROM sample_crops('upper_colour', 'red', 3)"
    assert "".join(catalog.sql(remote, picture)) == "".join(catalog.sql(local, picture))
    nearest = "FROM similar_crops((SELECT min(crop_id) FROM crops), 3)"
    assert "".join(catalog.sql(remote, nearest)) == "".join(catalog.sql(local, nearest))


def test_memory_answers_too() -> None:
    assert count(small_corpus(f"memory://{uuid.uuid4().hex}"), "crops") == 60


def test_each_file_is_fetched_once(remote: Corpus, s3_requests: list[str]) -> None:
    data = [path for path in (remote.relative(info.path) for info in remote.files()) if path.endswith(".parquet")]
    s3_requests.clear()
    catalog.connect(remote).close()
    fetched = [line for line in s3_requests if line.startswith("GET") and ".parquet" in line]
    assert len(fetched) == len(set(fetched)) == len(data)
    assert len(s3_requests) <= len(data) + 8


def test_what_the_catalog_knows_costs_listings_only(remote: Corpus, s3_requests: list[str]) -> None:
    assert count(remote, "crops") == 60
    s3_requests.clear()
    assert count(remote, "crops") == 60
    assert set(kinds(s3_requests)) == {"LIST"}
    assert execute(["sql", remote.uri, "FROM variants"]) == 0
    assert set(kinds(s3_requests)) <= {"LIST", "HEAD"}


def test_what_is_new_is_all_that_is_read(remote: Corpus, s3_requests: list[str]) -> None:
    assert count(remote, "crops") == 60
    add_crops(remote, "x:new", [0, 50, 100])
    s3_requests.clear()
    assert count(remote, "crops") == 63
    fetched = [line.partition("?")[0] for line in s3_requests if line.startswith("GET") and ".parquet" in line]
    assert [path.split("/")[3] for path in fetched] == ["ledger", "crops"]


def test_one_picture_opens_one_file(remote: Corpus, s3_requests: list[str]) -> None:
    assert count(remote, "crops") == 60
    s3_requests.clear()
    with catalog.connect(remote) as connection:
        connection.execute("FROM jpeg_of((SELECT min(crop_id) FROM crops))").fetchall()
    touched = {line.split()[1].partition("?")[0] for line in s3_requests if ".parquet" in line}
    assert len(touched) == 1


def test_a_stored_catalog_is_fetched_once_on_another_machine(
    remote: Corpus, cache: Path, s3_requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert execute(["catalog", remote.uri]) == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.with_name("other")))
    s3_requests.clear()
    assert count(remote, "crops") == 60
    assert not [line for line in s3_requests if ".parquet" in line]
    s3_requests.clear()
    assert count(remote, "crops") == 60
    assert set(kinds(s3_requests)) == {"LIST"}


def test_a_query_leaves_the_store_as_it_is(remote: Corpus, s3_requests: list[str]) -> None:
    s3_requests.clear()
    assert count(remote, "crops") == 60
    assert not {"PUT", "POST", "DELETE"} & set(kinds(s3_requests))
    assert execute(["catalog", remote.uri]) == 0
    assert kinds(s3_requests).count("PUT") == 1
    assert execute(["catalog", remote.uri]) == 0
    assert "PUT" not in kinds(s3_requests)
    assert catalog.FILE in [remote.relative(info.path) for info in remote.files()]
