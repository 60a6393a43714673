"""Compaction: fewer and larger files, the same rows, whatever happens meanwhile."""

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import execute
from pipeline.corpus import compaction
from pipeline.corpus.compaction import Merge, compact, plan_compaction
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.layout import Layout
from pipeline.corpus.ledger import Ledger, LedgerWriter, retired
from pipeline.corpus.packs import read_packs
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.detect import CROPS
from pipeline.flow.embed import EMBEDDINGS
from pipeline.flow.order import TABLES
from pipeline.recipe import Recipe, load_recipe
from pipeline.run.plan import plan_stage
from schemas.declaration import Table
from tests.corpora import small_corpus
from tests.pipeline.corpus.test_ledger import ROW
from tests.runs import ROOT, environment

SCHEMA = pa.schema(
    [
        pa.field("unit_id", pa.string(), nullable=False),
        pa.field("n", pa.int64()),
        pa.field("noise", pa.binary()),
        pa.field("late", pa.string()),
    ]
)
# In a folder that gc knows.
THINGS = Table(name="things", folder="tracks", schema=SCHEMA, row="one row per thing")
PLAIN = Table(name="things", folder="tracks", schema=SCHEMA.remove(2), row="one row per thing")
ROWS = 3
"""Rows of each unit."""


def commit(corpus: Corpus, *numbers: int, fingerprint: str = "f", noise: int = 2_000) -> str:
    """Write the rows of some units to a pack, as a version that did not know the column ``late``."""
    units = [f"u{number:05d}" for number in numbers]
    path = f"tracks/{digest(fingerprint, *units)}.parquet"
    write(corpus, path, *units, noise=noise)
    ledger = Ledger(corpus, "test")
    ledger.append(ROW | {"unit_id": unit, "outputs": [path], "fingerprint": fingerprint} for unit in units)
    return path


def write(corpus: Corpus, path: str, *units: str, noise: int = 2_000) -> None:
    random_bytes = np.random.default_rng([int(unit[1:]) for unit in units])
    rows = [{"unit_id": unit, "n": n, "noise": random_bytes.bytes(noise)} for unit in units for n in range(ROWS)]
    corpus.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.remove(3)), path)


def merge(corpus: Corpus, tables: Any = (THINGS,), grace: dt.timedelta = dt.timedelta(0)) -> list[Merge]:
    snapshot = Snapshot(corpus)
    return list(compact(snapshot, plan_compaction(snapshot, tables), grace=grace))


def rows(corpus: Corpus) -> list[dict[str, Any]]:
    found = Snapshot(corpus).read("test", THINGS, ["unit_id", "n", "noise", "late"]).to_pylist()
    return sorted(found, key=lambda row: (row["unit_id"], row["n"]))


def files(corpus: Corpus, folder: str = "tracks") -> list[str]:
    return sorted(corpus.relative(info.path) for info in corpus.files(folder))


@pytest.fixture(params=["local", "s3"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    if request.param == "local":
        return Corpus(str(tmp_path / "corpus"))
    return Corpus(f"s3://bucket/{uuid.uuid4().hex}?{request.getfixturevalue('s3')}")


def test_files_of_a_similar_size_become_one_with_the_same_rows(corpus: Corpus) -> None:
    paths = [commit(corpus, 2 * n, 2 * n + 1) for n in range(10)]
    before, packs = rows(corpus), Snapshot(corpus).packs("test", THINGS)
    assert len(before) == 20 * ROWS
    (done,) = merge(corpus)
    assert (done.files, done.table) == (10, THINGS)
    assert rows(corpus) == before
    (file,) = files(corpus)
    after = Snapshot(corpus).packs("test", THINGS)
    assert after["path"].to_pylist() == packs["path"].to_pylist() == sorted(paths)
    assert after["live"].to_pylist() == packs["live"].to_pylist()
    assert set(after["file"].to_pylist()) == {file}
    assert merge(corpus) == [], "nothing is left to merge"


def test_a_few_small_files_stay_as_they_are(corpus: Corpus) -> None:
    for number in range(7):
        commit(corpus, number)
    assert merge(corpus) == []
    assert len(files(corpus)) == 7


def test_rows_that_do_not_count_are_left_behind_and_later_ones_hide(corpus: Corpus) -> None:
    for number in range(0, 24, 2):
        commit(corpus, number, number + 1)
    commit(corpus, 3, 4, fingerprint="g")
    merge(corpus)
    (file,) = files(corpus)
    assert pq.read_metadata(corpus.open(file)).num_rows == 24 * ROWS, "the superseded rows of 3 and 4 are gone"
    commit(corpus, 5, fingerprint="h", noise=9)
    latest = {row["unit_id"]: row for row in Snapshot(corpus).latest("test").to_pylist()}
    Ledger(corpus, "test").append([retired(latest["u00006"], "run")])
    found = {row["unit_id"] for row in rows(corpus)}
    assert found == {f"u{number:05d}" for number in range(24) if number != 6}
    assert {len(row["noise"]) for row in rows(corpus) if row["unit_id"] == "u00005"} == {9}


def test_a_pack_that_is_written_again_lies_in_its_own_file(corpus: Corpus) -> None:
    path = commit(corpus, 0, 1)
    commit(corpus, 1, fingerprint="g")
    for number in range(2, 10):
        commit(corpus, number)
    merge(corpus)
    # The recipe of before is back: the same units write the same pack, of which only unit 0 had counted.
    again = [row for row in Snapshot(corpus).latest("test").to_pylist() if row["unit_id"] in ("u00000", "u00001")]
    write(corpus, path, "u00000", "u00001")
    with LedgerWriter(Ledger(corpus, "test")) as ledger:
        ledger.add(row | {"outputs": [path], "fingerprint": "f"} for row in again)
    assert [row["unit_id"] for row in rows(corpus)] == [f"u{number:05d}" for number in range(10) for _ in range(ROWS)]
    located = {pack["path"]: pack["file"] for pack in Snapshot(corpus).packs("test", THINGS).to_pylist()}
    assert located.pop(path) == path
    assert path not in located.values()
    assert execute(["gc", corpus.uri, "--min-age", "0"]) == 0
    assert len(rows(corpus)) == 10 * ROWS


def test_a_large_file_is_written_again_when_many_of_its_rows_do_not_count(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "LARGE_BYTES", 30_000)
    for number in range(10):
        commit(corpus, number)
    merge(corpus)
    (large,) = files(corpus)
    latest = {row["unit_id"]: row for row in Snapshot(corpus).latest("test").to_pylist()}
    for count, unit in enumerate(["u00001", "u00002", "u00003"]):
        Ledger(corpus, "test").append([retired(latest[unit], "run")])
        assert merge(corpus) == [], f"{count + 1} of 10 packs do not count"
    Ledger(corpus, "test").append([retired(latest["u00004"], "run")])
    before = rows(corpus)
    assert len(merge(corpus)) == 1
    assert rows(corpus) == before
    (smaller,) = files(corpus)
    assert smaller != large
    assert pq.read_metadata(corpus.open(smaller)).num_rows == 6 * ROWS


def test_a_corpus_that_grows_for_a_year_keeps_few_files_and_copies_each_byte_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "LARGE_BYTES", 400_000)
    monkeypatch.setattr(compaction, "TARGET_BYTES", 800_000)
    corpus, copied, most = Corpus(str(tmp_path)), 0, 0
    for week in range(52):
        for day in range(5):
            commit(corpus, 1000 * week + day, 1000 * week + day + 500)
        copied += sum(done.bytes for done in merge(corpus))
        most = max(most, len(files(corpus)))
    total = sum(int(info.size) for info in corpus.files("tracks"))
    assert total > 3e6
    assert most <= 24
    assert copied < 4 * total
    assert len(files(corpus, "layout")) == 1
    assert {row["unit_id"] for row in rows(corpus)} == {
        f"u{1000 * week + day + more:05d}" for week in range(52) for day in range(5) for more in (0, 500)
    }


def test_readers_outlive_the_files_that_they_looked_up(corpus: Corpus) -> None:
    for number in range(10):
        commit(corpus, number)
    packs = Snapshot(corpus).packs("test", THINGS).to_pylist()
    before = [part.to_pylist() for part in read_packs(corpus, THINGS, packs)]
    merge(corpus)
    assert [part.to_pylist() for part in read_packs(corpus, THINGS, packs)] == before


def test_files_that_packs_left_stay_for_the_grace_period_from_gc_too(corpus: Corpus) -> None:
    paths = [commit(corpus, number) for number in range(10)]
    merge(corpus, grace=dt.timedelta(hours=1))
    assert len(files(corpus)) == 11
    assert execute(["gc", corpus.uri, "--min-age", "60"]) == 0
    assert set(paths) < set(files(corpus))
    time.sleep(0.01)
    assert execute(["gc", corpus.uri, "--min-age", "0"]) == 0
    assert len(files(corpus)) == 1
    assert len(rows(corpus)) == 10 * ROWS


def test_the_newest_place_counts_when_an_earlier_record_is_from_a_clock_ahead(corpus: Corpus) -> None:
    for number in range(8):
        commit(corpus, number)
    merge(corpus)
    (record,) = files(corpus, "layout")
    ahead = corpus.read_table(record)
    stamp = pa.scalar(dt.datetime.now(dt.UTC) + dt.timedelta(hours=2), pa.timestamp("us", "UTC"))
    position = ahead.schema.get_field_index("placed_at")
    corpus.write_table(ahead.set_column(position, ahead.schema.field(position), pa.repeat(stamp, len(ahead))), record)
    for number in range(8, 90):
        commit(corpus, number)
    before = rows(corpus)
    merge(corpus, grace=dt.timedelta(hours=-3))
    assert rows(corpus) == before
    assert set(Layout(corpus).rows()["file"].to_pylist()) <= set(files(corpus))


def test_tables_without_bytes_get_row_groups_of_a_hundred_thousand_rows(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path))
    for number in range(10):
        count = 30_000 + number
        table = pa.table({"unit_id": [f"u{number}"] * count, "n": range(count)}, schema=SCHEMA.remove(3).remove(2))
        corpus.write_table(table, f"tracks/{number}.parquet")
        Ledger(corpus, "test").append([ROW | {"unit_id": f"u{number}", "outputs": [f"tracks/{number}.parquet"]}])
    merge(corpus, [PLAIN])
    (file,) = files(corpus)
    metadata = pq.read_metadata(corpus.open(file))
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sizes == [131_072, 131_072, 300_045 - 2 * 131_072]
    packs = Snapshot(corpus).packs("test", PLAIN).to_pylist()
    for number, part in enumerate(read_packs(corpus, PLAIN, packs, ["unit_id", "n"])):
        assert part.num_rows == 30_000 + number
        assert part["n"].to_pylist()[-1] == 29_999 + number
    assert next(read_packs(corpus, PLAIN, packs[4:5], ["n"]))["n"].to_pylist() == list(range(30_004))


def test_pictures_get_row_groups_that_end_with_a_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "BLOB_ROW_GROUP_BYTES", 40_000)
    corpus = Corpus(str(tmp_path))
    for number in range(9):
        commit(corpus, number, number + 100, noise=3_000)
    merge(corpus)
    (file,) = files(corpus)
    metadata = pq.read_metadata(corpus.open(file))
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sizes == [3 * 2 * ROWS] * 3
    jpeg = metadata.row_group(0).column(2)
    assert (jpeg.path_in_schema, jpeg.compression, jpeg.is_stats_set) == ("noise", "UNCOMPRESSED", False)


def test_features_of_another_length_stay_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = Corpus(str(tmp_path))
    for number in range(9):
        row = {"crop_id": f"c{number}", "video_id": "v", "unit_id": f"m/{number}", "region": "whole"}
        table = pa.Table.from_pylist([row | {"embedding": [0.5] * (2 + number // 8)}], EMBEDDINGS.schema)
        fixed = pa.list_(pa.float16(), 2 + number // 8)
        position = table.schema.get_field_index("embedding")
        field = table.schema.field(position).with_type(fixed)
        table = table.set_column(position, field, table["embedding"].cast(fixed))
        corpus.write_table(table, f"embeddings/m/{number}.parquet")
        outputs = [f"embeddings/m/{number}.parquet"]
        Ledger(corpus, "embed").append([ROW | {"unit_id": f"m/{number}", "scope": "m", "outputs": outputs}])
    assert merge(corpus, TABLES) == []
    assert "9 files of embeddings stay apart" in caplog.text
    assert len(files(corpus, "embeddings")) == 9


def test_a_compacted_corpus_is_planned_and_read_as_before(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction, "_SIMILAR", 2)
    corpus = small_corpus(str(tmp_path / "c"), [f"youtube:{letter * 3}" for letter in "abcdef"])
    ask = ["sql", corpus.uri, "-f", "csv", "SELECT * FROM crops ORDER BY crop_id"]
    assert execute(ask) == 0
    before = capsys.readouterr().out
    recipe = load_recipe(ROOT / "recipes/demo.yaml", corpus=corpus.uri)
    planned = _counts(corpus, recipe)
    assert execute(["compact", corpus.uri, "--dry-run"]) == 0
    assert "would merge crops: 6 files" in capsys.readouterr().out
    assert execute(["compact", corpus.uri, "--grace", "0"]) == 0
    assert "compact: merged crops: 6 files" in caplog.text
    assert len(files(corpus, "crops")) == 1
    assert execute(["compact", corpus.uri, "--dry-run"]) == 0
    assert capsys.readouterr().out == "Nothing to merge.\n"
    assert execute(ask) == 0
    assert capsys.readouterr().out == before
    assert _counts(corpus, recipe) == planned
    jpegs = Snapshot(corpus).read("detect", CROPS, ["jpeg"])
    assert jpegs.num_rows == before.count("\n") - 1


def _counts(corpus: Corpus, recipe: Recipe) -> list[dict[str, int]]:
    from pipeline.flow.order import STAGES

    return [plan_stage(Snapshot(corpus), recipe, stage).counts() for stage in STAGES]


def _kill_and_read(tmp_path: Path, kills: int, units: int) -> None:
    """Kill a process that commits and merges, again and again, and read meanwhile; then let it finish."""
    corpus, chance = Corpus(str(tmp_path / "corpus")), random.Random(0)
    reads = 0
    command = [sys.executable, "-m", "tests.pipeline.corpus.merger", corpus.uri, str(units)]
    for kill in range(kills):
        process = subprocess.Popen([*command, str(kill)], cwd=ROOT, env=environment())
        began, life = time.monotonic(), chance.uniform(0.6, 1.6)
        while process.poll() is None and time.monotonic() - began < life:
            found = rows(corpus)
            assert [row["n"] for row in found] == list(range(ROWS)) * (len(found) // ROWS)
            reads += 1
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL)
    assert reads > kills
    subprocess.run([*command, "0"], cwd=ROOT, env=environment(), check=True)
    undisturbed = Corpus(str(tmp_path / "undisturbed"))
    for first in range(0, units, 50):
        commit(undisturbed, *range(first, min(first + 50, units)))
    found = rows(corpus)
    assert [(row["unit_id"], row["n"]) for row in found] == [(row["unit_id"], row["n"]) for row in rows(undisturbed)]
    assert len(files(corpus)) < units / 3


def test_kills_lose_and_repeat_nothing_also_while_it_is_read(tmp_path: Path) -> None:
    _kill_and_read(tmp_path, kills=3, units=40)


@pytest.mark.slow
def test_a_hundred_kills_lose_and_repeat_nothing_also_while_it_is_read(tmp_path: Path) -> None:
    _kill_and_read(tmp_path, kills=100, units=600)
