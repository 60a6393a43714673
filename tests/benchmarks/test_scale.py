"""A synthetic corpus is one that runs leave, the generator's intention is what ``plan`` says, and planning is cheap."""

import datetime as dt
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale import noise, persons
from benchmarks.scale.corpus_growth import grow
from benchmarks.scale.looks import Looks, make_looks
from benchmarks.scale.parts import count_files
from benchmarks.scale.settings import EMBEDDED_SHARE, VARIANT
from benchmarks.scale.spending import Spent
from benchmarks.scale.verdicts import Line, line
from benchmarks.scale.videos import chunks, make_videos
from benchmarks.scale.writing import file_name, path_of, write_file
from pipeline.audit import catalog, garbage
from pipeline.corpus.compaction import compact, plan_compaction
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import detect
from pipeline.flow.order import STAGES, TABLES
from pipeline.recipe import Recipe, load_recipe
from pipeline.run.plan import plan_stage
from pipeline.run.units import result, write_units
from stages.boxes import Boxes
from stages.detect.chunks import cut_chunks
from stages.detect.config import RulesConfig
from stages.detect.rules import failed_rules
from stages.embed.config import EMBEDDED, EmbedConfig
from stages.pictures import decode

# A hundredth of LUPerson.
VIDEOS = 463
CHUNKS = 22 * VIDEOS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _grown(tmp_path_factory.mktemp("scale") / "corpus", VIDEOS)


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return load_recipe(folder / "recipe.yaml")


def _grown(folder: Path, videos: int) -> Path:
    grow(folder, videos=videos, embedded=EMBEDDED_SHARE, seed=1, jpeg_height=32, looks=32, processes=1)
    return folder


def test_plan_says_what_was_generated(folder: Path, recipe: Recipe) -> None:
    snapshot = Snapshot(Corpus(str(folder)))
    reasons = {stage.name: plan_stage(snapshot, recipe, stage).counts() for stage in STAGES}
    assert reasons["crawl"] == {"done": VIDEOS, "quarantined": 9}
    assert reasons["detect"].keys() == {"done", "quarantined"}
    assert sum(reasons["detect"].values()) == CHUNKS
    assert reasons["detect"]["quarantined"] < CHUNKS * 0.003
    embedded, left = reasons["embed"]["done"], reasons["embed"]["new"]
    assert embedded / (embedded + left) == pytest.approx(EMBEDDED_SHARE, abs=0.01)
    assert reasons["caption"] == {"done": embedded}
    for stage in ("discover", "track", "dedup"):
        assert reasons[stage].keys() == {"done"}, stage
    assert reasons["track"]["done"] > 0.98 * VIDEOS


def test_planning_costs_microseconds_a_unit(folder: Path, recipe: Recipe) -> None:
    seconds = []
    for _ in range(4):
        began = time.process_time()
        plan_stage(Snapshot(Corpus(str(folder))), recipe, detect.STAGE)
        seconds.append(time.process_time() - began)
    # 12 microseconds a unit, what any corpus costs included; 70 while units were Python objects.
    assert min(seconds) / CHUNKS < 35e-6


def test_files_are_as_many_as_runs_leave(folder: Path) -> None:
    files = count_files(folder)
    # In each of eight runs two more, for the chunks that failed; and the first run's, which the second superseded.
    assert CHUNKS / 64 < files["crops"] <= CHUNKS * 1.05 / 64 + 3 * 8
    assert files["detections"] == files["crops"]
    assert files["videos"] <= VIDEOS / 16 + 8
    assert max(files["tracks"], files["duplicates"], files["statics"]) <= VIDEOS * 1.05 / 64 + 8
    assert files["captions"] == files["embeddings"] == files["evidence"]
    assert files["ledger"] == 7


def test_compaction_leaves_few_files_the_same_plan_and_the_same_crops(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    corpus = Corpus(str(shutil.copytree(folder, tmp_path / "corpus")))
    before = Snapshot(corpus)
    plans = [plan_stage(before, recipe, stage).counts() for stage in STAGES]
    crops = _crop_ids(before)
    assert list(compact(before, plan_compaction(before, TABLES), grace=dt.timedelta(0)))
    after = Snapshot(corpus)
    assert [plan_stage(after, recipe, stage).counts() for stage in STAGES] == plans
    assert _crop_ids(after) == crops
    # What the changed recipe superseded belongs to no pack that counts; it waits for gc.
    garbage.remove(corpus, garbage.find(corpus, dt.datetime.now(dt.UTC) + dt.timedelta(days=1)))
    files = count_files(tmp_path / "corpus")
    # Up to eight files of a size may stay apart.
    assert all(files[table.folder] <= 8 for table in TABLES if table.compacted), files
    assert files.total() < 64
    assert not plan_compaction(after, TABLES)


def _crop_ids(snapshot: Snapshot) -> list[str]:
    found = snapshot.scan("detect", detect.CROPS, ["crop_id"])
    return sorted(str(name) for rows in found for name in rows["crop_id"].to_pylist())


def test_history_has_what_a_year_leaves(folder: Path) -> None:
    history = Ledger(Corpus(str(folder)), "detect").history()
    assert len(set(history["run_id"].to_pylist())) == 8
    assert len(set(history["fingerprint"].to_pylist())) == 2
    statuses = Counter(history["status"].to_pylist())
    assert statuses.keys() == {"ok", "empty", "failed", "quarantined"}
    assert {"retired", "ok"} == set(Ledger(Corpus(str(folder)), "embed").history()["status"].to_pylist())


def test_each_crop_counts_once_although_its_chunk_was_detected_twice(folder: Path) -> None:
    connection = catalog.connect(Corpus(str(folder)))
    try:
        ((rows, ids, named),) = connection.execute(
            """SELECT count(*), count(DISTINCT crop_id), (SELECT sum(crops) FROM ledger WHERE stage = 'detect')
            FROM crops"""
        ).fetchall()
        ((captioned, sentences),) = connection.execute(
            "SELECT count(DISTINCT crop_id), count(DISTINCT text) FROM captions WHERE variant = $variant",
            {"variant": VARIANT},
        ).fetchall()
    finally:
        catalog.close(connection)
    assert rows == ids == named
    assert rows / CHUNKS == pytest.approx(4_182_000 / 1_017_720, rel=0.05)
    assert captioned / rows == pytest.approx(EMBEDDED_SHARE, abs=0.03)
    assert sentences > 16


def test_a_pack_is_the_file_that_a_run_writes(tmp_path: Path) -> None:
    videos, looks = make_videos(4, 8), _looks()
    # In the order of their ids, as a file holds them.
    cut = chunks(videos, videos.chunks_of(np.argsort(videos.ids.to_pylist())[:4])[:64])
    found = persons.find_persons(videos, cut)
    rows = {"detections": persons.detections_table(found), "crops": persons.crops_table(found.crops(), looks)}
    units, inputs = cut.unit_id.to_pylist(), [f"{number:016x}" for number in range(len(cut.number))]
    blank = {"scope": "", "status": None, "error_type": None, "error_message": None, "retryable": None, "seconds": 1.0}
    block = [
        blank
        | {"unit_id": unit, "inputs": own, "frames": 30}
        | result({name: table.filter(pc.equal(table["unit_id"], pa.scalar(unit))) for name, table in rows.items()}, "")
        for unit, own in zip(units, inputs, strict=True)
    ]
    by_run, by_us = Corpus(str(tmp_path / "run")), Corpus(str(tmp_path / "us"))
    outcomes = write_units(pa.Table.from_pylist(block), by_run, "some", detect.STAGE.tables).to_pylist()
    for table in detect.STAGE.tables:
        path = path_of(table, "", file_name("some", units, inputs))
        write_file(by_us, table, rows[table.name], path)
        assert by_run.read(path) == by_us.read(path)
        assert {path for row in outcomes for path in row["outputs"]} >= {path}


def _looks() -> Looks:
    recipe = Recipe(corpus="none", embed=EmbedConfig(model=EMBEDDED, pretrained=None))
    return make_looks(recipe, 1, 32, 8)


def test_chunks_are_cut_as_detect_cuts_them() -> None:
    videos = make_videos(5, 40)
    own = chunks(videos, np.arange(40 * 22))
    cut = cut_chunks(
        pa.table({"video_id": videos.ids, "frames": pa.array(videos.frames), "fps": pa.array(videos.fps)}), 20.0
    )
    assert own.unit_id.to_pylist() == cut["unit_id"].to_pylist()
    assert own.stop.tolist() == cut["stop"].to_pylist()


def test_a_corpus_of_any_size_has_22_chunks_a_video() -> None:
    for count in (1, 2, 17, 1000):
        videos = make_videos(count, count)
        assert int(videos.first_chunk[-1]) == 22 * count
        assert np.diff(videos.first_chunk).min() >= 2
        assert len(set(videos.ids.to_pylist())) == count


def test_boxes_pass_and_fail_the_rules_that_their_rows_name() -> None:
    videos = make_videos(3, 50)
    found = persons.find_persons(videos, chunks(videos, np.arange(1100)))
    boxes: Boxes = np.column_stack([found.box, found.confidence]).astype(np.float32)
    named = persons.detections_table(found)["drop_reasons"].to_pylist()
    assert failed_rules(boxes, RulesConfig()) == named
    assert len({reason for reasons in named for reason in reasons}) == 4


def test_pictures_are_real(folder: Path) -> None:
    path = next((folder / "crops").iterdir())
    jpegs: list[Any] = Corpus(str(folder)).read_table(f"crops/{path.name}")["jpeg"].slice(0, 20).to_pylist()
    for jpeg in jpegs:
        image = decode(jpeg)
        assert image is not None
        assert image.shape[0] == 32


def test_what_is_missing_is_made_again_and_nothing_else(tmp_path: Path) -> None:
    folder = _grown(tmp_path / "corpus", 24)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in _data(folder)}
    lost = sorted(before)[::5]
    for path in lost:
        path.unlink()
    # A ledger that stops in the middle of a run, as a kill leaves it.
    (ledger,) = (folder / "ledger" / "dedup").iterdir()
    ledger.unlink()
    rows = len(Ledger(Corpus(str(folder)), "detect").history())
    (folder / "made.json").unlink()
    _grown(folder, 24)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in _data(folder)}
    assert {path: content for path, (content, _) in after.items()} == {p: c for p, (c, _) in before.items()}
    assert all(after[path] == before[path] for path in before if path not in lost)
    assert len(Ledger(Corpus(str(folder)), "detect").history()) == rows
    assert Ledger(Corpus(str(folder)), "dedup").history().num_rows >= 22


def _data(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.parquet") if path.relative_to(folder).parts[0] != "ledger"]


def test_numbers_follow_from_seed_name_and_position() -> None:
    positions = np.arange(100_000)
    some = noise.uniform(1, "some", positions)
    assert np.array_equal(noise.uniform(1, "some", positions[::7]), some[::7])
    assert abs(some.mean() - 0.5) < 0.005
    for other in (noise.uniform(2, "some", positions), noise.uniform(1, "other", positions)):
        assert abs(np.corrcoef(some, other)[0, 1]) < 0.02


def test_one_command_makes_measures_and_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--videos", "24", "--looks", "8", "--processes", "1", "--no-publish", "--keep", str(tmp_path / "corpus")]
    assert scale.main([*small, "--only", "plan", "idle"]) == 0
    output = capsys.readouterr().out
    assert "24 videos" in output
    assert "plan: detect done, embed a third done" in output
    assert output.count("met (") == 3
    assert not (tmp_path / "corpus-copy").exists()
    assert scale.main([*small, "--seed", "2", "--only"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"scale: {tmp_path / 'corpus'} was made with" in error
    assert "give these, or another folder" in error


def test_a_goal_that_is_missed_is_called_missed() -> None:
    spent = Spent(clock=9.0, processor=7.5, megabytes=800.0)
    half = line("plan", spent, {"processor": 5, "megabytes": 1000})
    assert (half.met, half.verdict) == (False, "missed (1.50 of it), met (0.80 of it)")
    assert line("plan", spent, {"clock": 9.0}).met
    assert str(half).startswith("plan: 9 s by the clock, 7.5 s of processor time, 800 MB; missed (1.50 of it)")
    failed = Line(what="trace", goals={"clock": 1}, failed="out of memory")
    assert (failed.met, failed.verdict) == (False, "missed: out of memory")
