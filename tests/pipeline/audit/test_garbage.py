"""Garbage collection: what no ledger vouches for goes, once it is old enough, and nothing else does."""

import datetime as dt
import os
from pathlib import Path

import pytest

from pipeline.audit import garbage
from pipeline.cli import execute
from pipeline.corpus.files import TEMPORARY, Corpus
from pipeline.corpus.ledger import Ledger
from tests.corpora import MODEL, VARIANT, small_corpus


def age(corpus: Corpus, path: str, minutes: float) -> None:
    then = dt.datetime.now(dt.UTC).timestamp() - 60 * minutes
    os.utime(corpus.path(path), (then, then))


def files(corpus: Corpus) -> set[str]:
    return {corpus.relative(info.path) for info in corpus.files()}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return small_corpus(str(tmp_path / "corpus"))


def test_files_younger_than_the_minimum_age_are_spared(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    ages = {"crops/old.parquet": 20, "crops/young.parquet": 5, "media/old.mp4": 11, "media/young.mp4": 9}
    for path, minutes in ages.items():
        corpus.put(path, b"left by a killed run")
        age(corpus, path, minutes)
    assert execute(["gc", corpus.uri, "--min-age", "10"]) == 0
    assert "2 files, " in capsys.readouterr().out
    assert files(corpus) & set(ages) == {"crops/young.parquet", "media/young.mp4"}


def test_a_dry_run_lists_and_removes_nothing(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    corpus.put("crops/old.parquet", b"x" * 20_000)
    age(corpus, "crops/old.parquet", 90)
    before = files(corpus)
    assert execute(["gc", corpus.uri, "--dry-run"]) == 0
    assert capsys.readouterr().out == "  crops/old.parquet  0.02 MB\n1 file, 0.02 MB would be removed.\n"
    assert files(corpus) == before
    assert execute(["gc", corpus.uri]) == 0
    assert capsys.readouterr().out.endswith("1 file, 0.02 MB removed.\n")
    assert before - files(corpus) == {"crops/old.parquet"}


def test_only_files_of_declared_folders_and_temporary_files_are_garbage(corpus: Corpus) -> None:
    before = files(corpus)
    stray = {
        *("crops/x.parquet", f"embeddings/{MODEL}/x.parquet", f"evidence/{MODEL}/x.parquet"),
        *(f"captions/{VARIANT}/x.parquet", f"manifests/{VARIANT}/x.parquet", f"checkpoints/{VARIANT}/step-1/x"),
        *("tracks/x.parquet", "duplicates/x.parquet", "statics/x.parquet", "imported/x.parquet"),
        *("listings/x.parquet", "videos/x.parquet", "detections/x.parquet", "media/x.mp4", f"notes/{TEMPORARY}x"),
    }
    for path in (*stray, "notes/mine.txt", "texts/clip/x.npz", "runs/r/log.txt", "catalog.duckdb"):
        corpus.put(path, b"x")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    found = garbage.find(corpus, later)
    assert {corpus.relative(info.path) for info in found} == stray
    garbage.remove(corpus, found)
    assert before <= files(corpus)


def test_files_that_the_ledger_of_an_unknown_stage_names_are_kept(corpus: Corpus) -> None:
    corpus.put("embeddings/other/new.parquet", b"x")
    row = Ledger(corpus, "embed").latest().to_pylist()[0] | {"outputs": ["embeddings/other/new.parquet"]}
    Ledger(corpus, "a_newer_stage").append([row])
    assert garbage.find(corpus, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)) == []


def test_media_that_a_row_of_videos_names_is_kept_without_a_ledger_row_that_names_it(corpus: Corpus) -> None:
    corpus.put("media/aaa.mp4", b"video")
    latest = Ledger(corpus, "crawl").latest().to_pylist()
    (unit,) = (row for row in latest if row["unit_id"] == "url-aaa")
    Ledger(corpus, "crawl").append([unit | {"outputs": ["videos/v0.parquet"]}])
    assert garbage.find(corpus, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)) == []


def test_a_retired_unit_leaves_files_that_another_unit_shares(corpus: Corpus) -> None:
    latest = Ledger(corpus, "detect").latest().to_pylist()
    shared = next(row for row in latest if row["unit_id"] == "youtube:aaa@0")
    alone = [row for row in latest if row["unit_id"].startswith("youtube:bbb")]
    gone = {"status": "retired", "outputs": []}
    Ledger(corpus, "detect").append([row | gone for row in (shared, *alone)])
    found = garbage.find(corpus, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))
    names = {corpus.relative(info.path) for info in found}
    assert names == {"crops/youtube-bbb.parquet", "detections/youtube-bbb.parquet"}


def test_garbage_in_an_object_store_is_removed_in_one_request(s3: str, s3_requests: list[str]) -> None:
    corpus = Corpus(f"s3://bucket/garbage?{s3}")
    for index in range(20):
        corpus.put(f"crops/{index}.parquet", b"x")
    found = garbage.find(corpus, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))
    assert len(found) == 20
    s3_requests.clear()
    garbage.remove(corpus, found)
    assert [line.split()[0] for line in s3_requests] == ["POST"]
    assert list(corpus.files()) == []
