"""The report of a corpus: its numbers, how they read, and the contact sheet."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

import schemas.tables as tables
from pipeline.audit import report
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.errors import UserError
from tests.corpora import MODEL, ledger_row, small_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = small_corpus(str(tmp_path_factory.mktemp("corpora") / "street"), variants=["one", "two"])
    for run, seconds in (("run-1", 10.0), ("run-2", 12.5)):
        statistics = [
            {"stage": "detect", "units_ran": {"ok": 6}, "seconds": seconds},
            {"stage": "embed", "units_ran": {} if run == "run-2" else {"ok": 1}, "seconds": 0.5},
        ]
        corpus.put(f"runs/{run}/statistics.json", json.dumps(statistics).encode())
    return corpus


def text_of(found: report.CorpusReport) -> str:
    sink = io.StringIO()
    Console(file=sink, width=120).print(report.render(found))
    return sink.getvalue()


def test_numbers_are_those_of_the_corpus(corpus):
    found = report.gather(corpus, "one")
    assert (found.videos, found.frames_with_persons, found.detections, found.crops) == (3, 66, 66, 60)
    assert found.dropped == {"confidence": 6}
    assert (found.captioned, found.captions) == (60, 61)
    assert found.splits == {"train": 20, "val": 20, "test": 20}
    assert found.captioner == MODEL
    assert len(set(found.examples)) == 3


def test_stages_tell_units_and_times(corpus):
    stages = {stage.stage: stage for stage in report.gather(corpus, "one").stages}
    assert list(stages) == ["discover", "crawl", "detect", "embed", "caption", "publish", "pretrain"]
    assert (stages["crawl"].ok, stages["crawl"].failed) == (3, 1)
    assert stages["caption"].ok == 1
    assert stages["detect"].busy_seconds == 9.0
    assert stages["detect"].wall_seconds == 12.5
    assert stages["embed"].wall_seconds == 0.5
    assert stages["crawl"].wall_seconds is None


def test_the_newest_variant_is_told_unless_another_is_asked_for(corpus):
    assert report.gather(corpus).variant == "two"
    assert report.gather(corpus, "one").variant == "one"
    with pytest.raises(UserError, match="there are one, two"):
        report.gather(corpus, "three")


def test_retrieval_is_told_before_and_after(corpus):
    scores = {score.name: score for score in report.gather(corpus, "one").scores}
    assert list(scores) == ["r1", "r5", "map"]
    assert (scores["r1"].before, scores["r1"].after) == (0.1, 0.4)
    assert {score.split for score in scores.values()} == {"val"}


def test_a_second_training_takes_the_place_of_the_first(tmp_path):
    corpus = small_corpus(str(tmp_path / "c"), videos=["x:a"])
    rows = [
        {"unit_id": "again", "step": step, "epoch": 1.0, "phase": "val", "name": name, "value": value}
        for step, name, value in [(9, "r1", 0.6), (9, "queries", 12.0), (9, "gallery", 30.0)]
    ]
    corpus.write_table(pa.Table.from_pylist(rows, tables.METRICS), "checkpoints/base/again/metrics.parquet")
    Ledger(corpus, "pretrain").append([ledger_row("again", ["checkpoints/base/again/metrics.parquet"], scope="base")])
    found = report.gather(corpus)
    assert [(score.name, score.before, score.after) for score in found.scores] == [("r1", None, 0.6)]
    assert found.gallery == (12, 30)
    assert "12 texts among 30 crops" in text_of(found)


def test_report_reads_well(corpus):
    text = text_of(report.gather(corpus, "one"))
    for part in (
        "66: 60 kept; dropped 6 confidence",
        "61 about 60 crops",
        "train 20, val 20, test 20",
        "split by video: 1 in train, 1 in val, 1 in test",
        "R@1",
        "mAP",
        "0.400",
        f"read from the crops by {MODEL}, not checked by a person",
        "wearing a",
    ):
        assert part in text
    assert "wrong about real ones" not in text


def test_one_video_is_said_to_be_split_by_time(tmp_path):
    corpus = small_corpus(str(tmp_path / "c"), videos=["x:a"], splits={"train": 0.8, "val": 0.2})
    found = report.gather(corpus)
    assert found.split_statement.startswith("one video, so split by time and not by video: train 0.0-")
    assert f"left out {20 - sum(found.splits.values())}" in text_of(found)


def test_the_embedded_captioner_is_told_for_what_it_is():
    assert "trained on rendered pedestrians only" in report.about("reidforge-clip-s")
    assert "drawn" not in report.about("vit-b-16-openai")


def test_an_empty_corpus_has_a_report(tmp_path):
    found = report.gather(Corpus(str(tmp_path / "nothing")))
    assert found.variant is None
    assert found.stages == ()
    assert "nothing published" in text_of(found)


def test_contact_sheet_is_a_picture_of_24_crops(corpus, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    report.write_contact_sheet(corpus, "one", path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[1] > 1200
    assert picture.shape[0] > 6 * 200
    before = path.read_bytes()
    report.write_contact_sheet(corpus, "one", path)
    assert path.read_bytes() == before


def test_contact_sheet_that_cannot_be_made_says_why(corpus, tmp_path):
    with pytest.raises(UserError, match="has published no crop to show"):
        report.write_contact_sheet(Corpus(str(tmp_path / "nothing")), None, tmp_path / "sheet.png")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        report.write_contact_sheet(corpus, None, Path(tmp_path / "file" / "sheet.png"))
