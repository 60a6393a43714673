"""Dedup across videos by buckets: the rows of comparing all pairs, and nothing left behind."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import schemas.tables as tables
from pipeline.audit import garbage
from pipeline.corpus import compaction
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import dedup_across, dedup_buckets
from pipeline.flow.dedup import DUPLICATES
from pipeline.flow.order import TABLES
from pipeline.recipe import Recipe
from schemas.parquet_layout import blob_options
from tests.corpora import crop_rows, ledger_row
from tests.local import run_here
from tests.runs import ask

MODEL = "clip-tiny"
DIM = 16


def recipe_of(corpus: Corpus, **dedup) -> Recipe:
    block = {"exact_below": 1, "min_cosine_across": 0.9} | dedup
    return Recipe.model_validate({"corpus": corpus.uri, "embed": {"model": MODEL, "pretrained": None}, "dedup": block})


def add_videos(corpus: Corpus, names: str, *, per_file: int, without: int = 0) -> None:
    """Videos of 40 crops each that show the same twenty persons; the first crops of each may lack features."""
    rng = np.random.default_rng(5)
    persons, hashes = rng.normal(size=(20, DIM)), rng.integers(0, 2**64, size=20, dtype=np.uint64)
    for start in range(0, len(names), per_file):
        rows, features, units = [], [], []
        for name in names[start : start + per_file]:
            own = np.random.default_rng(ord(name))
            unit = f"x:{name}/00000000-00002000"
            units.append(unit)
            for number, row in enumerate(crop_rows(f"x:{name}", unit, range(0, 2000, 50))):
                person = own.integers(20)
                change = np.uint64(1) << own.integers(0, 64, dtype=np.uint64)
                rows.append(row | {"phash": int(hashes[person] ^ change), "sharpness": float(own.integers(50, 400))})
                vector = persons[person] + 0.25 * own.normal(size=DIM)
                features.append((number >= without, (vector / np.linalg.norm(vector)).astype(np.float16)))
        stem = f"{names[start : start + per_file]}-{per_file}"
        crops = pa.Table.from_pylist(rows, tables.CROPS)
        corpus.write_table(crops, f"crops/{stem}.parquet", **blob_options(crops))
        Ledger(corpus, "detect").append(ledger_row(unit, [f"crops/{stem}.parquet"]) for unit in units)
        there = np.flatnonzero([known for known, _ in features])
        columns = {
            "crop_id": crops["crop_id"].take(there),
            "video_id": crops["video_id"].take(there),
            "unit_id": pa.repeat(f"{MODEL}/{stem}", len(there)),
            "region": pa.repeat("whole", len(there)),
            "embedding": pa.FixedSizeListArray.from_arrays(
                pa.array(np.concatenate([features[row][1] for row in there])), DIM
            ),
        }
        path = f"embeddings/{MODEL}/{stem}.parquet"
        corpus.write_table(pa.table(columns, schema=tables.embeddings(DIM)), path)
        Ledger(corpus, "embed").append([ledger_row(f"{MODEL}/{stem}", [path], scope=MODEL)])


def found_in(corpus: Corpus) -> list[tuple]:
    return ask(corpus.uri, "SELECT * EXCLUDE unit_id FROM duplicates ORDER BY ALL")


def leftovers(corpus: Corpus) -> list[str]:
    return [info.path for info in corpus.files() if dedup_buckets.TEMPORARY in info.path]


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    made = Corpus(str(tmp_path / "c"))
    add_videos(made, "abcdefgh", per_file=3, without=2)
    return made


def test_buckets_give_the_rows_of_comparing_all_pairs(corpus, monkeypatch):
    exact = recipe_of(corpus, exact_below=1000)
    assert run_here(monkeypatch, corpus, exact, dedup_across).failed == 0
    wanted = found_in(corpus)
    assert len(wanted) > 150
    for name, value in {
        "_UNITS_PER_PART": 2,
        "_ROWS_PER_FILE": 30,
        "_ENTRIES_PER_GROUP": 100,
        "_PAIRS_AT_ONCE": 50,
    }.items():
        monkeypatch.setattr(dedup_buckets, name, value)
    assert run_here(monkeypatch, corpus, recipe_of(corpus), dedup_across).failed == 0
    assert found_in(corpus) == wanted
    assert leftovers(corpus) == []


@pytest.mark.parametrize("distance", [4, None])
def test_files_and_the_order_of_videos_have_no_say(tmp_path, monkeypatch, distance):
    found = []
    for names, per_file in (("abcdefgh", 3), ("hcabdgfe", 1), ("hgfedcba", 8)):
        corpus = Corpus(str(tmp_path / f"{names}{per_file}"))
        add_videos(corpus, names, per_file=per_file)
        monkeypatch.setattr(dedup_buckets, "_ROWS_PER_FILE", 25 * per_file)
        run_here(monkeypatch, corpus, recipe_of(corpus, cosine_hash_distance=distance), dedup_across)
        found.append(found_in(corpus))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 150


def test_duplicates_within_a_video_are_not_compared(corpus, monkeypatch):
    crops = pa.concat_tables(corpus.read_table(f"crops/{stem}-3.parquet") for stem in ("abc", "def", "gh"))
    behind = crops["crop_id"].to_pylist()[::3]
    rows = [
        {
            "crop_id": name,
            "video_id": video,
            "unit_id": video,
            "duplicate_of": "other",
            "how": "phash",
            "similarity": 1.0,
        }
        for name, video in zip(behind, crops["video_id"].to_pylist()[::3], strict=True)
    ]
    corpus.write_table(pa.Table.from_pylist(rows, tables.DUPLICATES), "duplicates/inside.parquet")
    videos = sorted({row["video_id"] for row in rows})
    Ledger(corpus, "dedup").append(ledger_row(video, ["duplicates/inside.parquet"]) for video in videos)
    found = []
    for exact_below in (1000, 1):
        run_here(monkeypatch, corpus, recipe_of(corpus, exact_below=exact_below), dedup_across)
        found.append(
            ask(
                corpus.uri, "SELECT crop_id, duplicate_of, similarity FROM duplicates WHERE how = 'across' ORDER BY ALL"
            )
        )
    assert found[0] == found[1]
    assert not {name for name, *_ in found[1]} & set(behind)
    assert not {leader for _, leader, _ in found[1]} & set(behind)


@pytest.mark.parametrize(("exact_below", "by_buckets"), [(320, False), (319, True)])
def test_crops_are_compared_at_once_up_to_the_limit(corpus, monkeypatch, exact_below, by_buckets):
    """Crops that are duplicates in their video do not count, and those without features do."""
    monkeypatch.setattr(dedup_across, "_most_crops", lambda _: 10**9)
    compare, calls = dedup_buckets.compare, []
    monkeypatch.setattr(dedup_buckets, "compare", lambda *given: calls.append(given) or compare(*given))
    assert run_here(monkeypatch, corpus, recipe_of(corpus, exact_below=exact_below), dedup_across).failed == 0
    assert bool(calls) == by_buckets
    assert len(found_in(corpus)) > 150
    assert leftovers(corpus) == []


def test_a_corpus_without_features_has_no_duplicates(tmp_path, monkeypatch):
    corpus = Corpus(str(tmp_path / "c"))
    add_videos(corpus, "ab", per_file=2)
    Ledger(corpus, "embed").append([ledger_row(f"{MODEL}/ab-2", [], scope=MODEL)])
    summary = run_here(monkeypatch, corpus, recipe_of(corpus), dedup_across)
    assert (summary.failed, found_in(corpus)) == (0, [])


def test_a_step_that_fails_fails_the_unit_and_leaves_no_files(corpus, monkeypatch):
    corpus.put("crops/def-3.parquet", b"damaged")
    summary = run_here(monkeypatch, corpus, recipe_of(corpus), dedup_across)
    assert summary.failed == 1
    assert "step gather failed" in summary.reasons[0][1]
    assert leftovers(corpus) == []


def test_files_of_a_killed_run_are_garbage_and_the_next_run_deletes_them(corpus, monkeypatch):
    with dedup_buckets.scratch(corpus) as folder:
        path = f"{folder}/rows.parquet"
        corpus.put(path, b"killed")
        late = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
        assert [corpus.relative(info.path) for info in garbage.find(corpus, late)] == [path]
        run_here(monkeypatch, corpus, recipe_of(corpus), dedup_across)
        assert leftovers(corpus) == []
    assert len(found_in(corpus)) > 150


def test_a_corpus_in_a_bucket_of_s3_is_compared_too(s3, monkeypatch):
    corpus = Corpus(f"s3://bucket/across?{s3}")
    add_videos(corpus, "abcd", per_file=2)
    columns = [name for name in tables.DUPLICATES.names if name != "unit_id"]
    found = []
    for exact_below in (1000, 1):
        assert run_here(monkeypatch, corpus, recipe_of(corpus, exact_below=exact_below), dedup_across).failed == 0
        found.append(Snapshot(corpus).read("dedup_across", DUPLICATES, columns).to_pylist())
    assert found[0] == found[1]
    assert len(found[0]) > 50
    assert leftovers(corpus) == []


def test_a_compacted_corpus_gives_the_same_rows(corpus, monkeypatch):
    exact = recipe_of(corpus, exact_below=1000)
    run_here(monkeypatch, corpus, exact, dedup_across)
    wanted = found_in(corpus)
    monkeypatch.setattr(compaction, "_SIMILAR", 2)
    monkeypatch.setattr(dedup_buckets, "_UNITS_PER_PART", 4)
    merged = list(compaction.compact(Snapshot(corpus), compaction.plan_compaction(Snapshot(corpus), TABLES)))
    assert {merge.table.name for merge in merged} >= {"crops", "embeddings"}
    # Another recipe, as compaction makes nothing stale.
    assert run_here(monkeypatch, corpus, recipe_of(corpus), dedup_across).failed == 0
    assert found_in(corpus) == wanted
