import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.files import TEMPORARY, Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.manifest_pictures import manifest_files
from pipeline.flow.manifest_stream import Share, find_split
from pipeline.flow.pretrain import STAGE, finished, train_share
from pipeline.recipe import Recipe
from pipeline.run.progress import Part
from stages.pretrain.config import PretrainConfig
from stages.pretrain.methods import METHODS
from tests.corpora import VARIANT, small_corpus
from tests.stages.pretrain.momentum_toy import Momentum
from tests.stages.pretrain.pretrain_toys import architecture


class Lost(Exception):
    """Stands for a lost machine."""


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return small_corpus(str(tmp_path / "corpus"), splits={"train": 0.7, "val": 0.3})


def recipe(method: str, **changes: Any) -> Recipe:
    settings: dict[str, Any] = {"batch_size": 8, "max_steps": 4, "device": "cpu", "threads": 1, "log_every_steps": 1}
    config = PretrainConfig(**settings | changes).model_copy(update={"method": method})
    read = Recipe.model_validate({"corpus": "", "crawl": {"urls": ["https://x.org"]}, "caption": {"variant": VARIANT}})
    return read.model_copy(update={"pretrain": config})


def metrics(corpus: Corpus) -> list[dict[str, Any]]:
    return corpus.read_table("run/metrics.parquet").to_pylist()


def rows_of(corpus: Corpus, split: str) -> int:
    return len(find_split(corpus, manifest_files(Snapshot(corpus), VARIANT), split))


def test_any_method_runs_from_the_manifest_to_files_in_the_corpus(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    parts: list[Part] = []
    reports: list[dict[str, Any]] = []
    settings = recipe("momentum", checkpoint_every_steps=1, keep_checkpoints=2)

    def report(entry: dict[str, Any]) -> None:
        reports.append(entry)
        if len(reports) == 4:
            raise Lost

    def run() -> None:
        share = Share(rank=0, world=1)
        train_share(
            corpus=corpus,
            files=manifest_files(Snapshot(corpus), VARIANT),
            recipe=settings,
            folder="run",
            unit="u",
            share=share,
            report=report,
            progress=parts.append,
        )

    with pytest.raises(Lost):
        run()
    assert corpus.exists("run/checkpoints/step-00000003/state.pt")
    run()
    assert [(entry["step"], "loss" in entry) for entry in reports] == [
        (0, False), (1, True), (2, True), (3, True), (4, True), (4, False),
    ]  # fmt: skip
    stored = sorted(corpus.relative(info.path) for info in corpus.files("run"))
    assert [path for path in stored if path.endswith(".pt")] == [
        "run/checkpoints/step-00000003/state.pt",
        "run/checkpoints/step-00000004/state.pt",
        "run/model/encoder.pt",
    ]
    rows = metrics(corpus)
    assert {row["unit_id"] for row in rows} == {"u"}
    assert [row["step"] for row in rows if row["name"] == "similarity"] == [1, 2, 3, 4]
    assert {row["step"] for row in rows if row["phase"] == "val"} == {0, 4}
    assert {row["value"] for row in rows if row["name"] == "gallery"} == {rows_of(corpus, "val")}
    (loss,) = (row["value"] for row in rows if (row["name"], row["step"]) == ("loss", 4))
    assert str(parts[-1]).startswith(f"step 4 of 4, loss {loss:.4g}, ")
    assert re.search(r", [\d,]+ crops/s$", str(parts[-1]))


def train_alone(corpus: Corpus, settings: Recipe, share: Share) -> None:
    train_share(
        corpus=corpus,
        files=manifest_files(Snapshot(corpus), VARIANT),
        recipe=settings,
        folder="run",
        unit="u",
        share=share,
        report=lambda _: None,
        progress=lambda _: None,
    )


def test_a_method_without_evaluation_reads_no_other_split(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Momentum, "evaluation_columns", ())
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    train_alone(corpus, recipe("momentum", max_steps=1), Share())
    assert {row["phase"] for row in metrics(corpus)} == {"train"}


def test_a_manifest_without_a_val_split_is_trained_without_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    corpus = small_corpus(str(tmp_path / "whole"), splits={"train": 1.0})
    train_alone(corpus, recipe("momentum", max_steps=None, epochs=1), Share())
    assert {row["phase"] for row in metrics(corpus)} == {"train"}


def test_an_epoch_counts_the_rows_of_the_training_split(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    train_alone(corpus, recipe("momentum", max_steps=None, epochs=1), Share())
    assert max(row["step"] for row in metrics(corpus)) == rows_of(corpus, "train") // 8


def test_only_the_first_worker_writes_the_results(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    train_alone(corpus, recipe("momentum", max_steps=1), Share(rank=1, world=2))
    assert not corpus.exists("run/metrics.parquet")


def test_the_method_decides_the_fingerprint(tmp_path: Path) -> None:
    model = architecture(tmp_path)
    prints = {STAGE.fingerprint(recipe(method, model=model)) for method in ("clip", "momentum")}
    assert len(prints) == 2


def test_what_a_killed_worker_left_half_written_is_not_an_output(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    train_alone(corpus, recipe("momentum", max_steps=1), Share())
    corpus.put(f"run/checkpoints/step-00000001/{TEMPORARY}5f", b"half of a checkpoint")
    corpus.put("run/ray-train/result.json", b"kept by Ray Train")
    stored = {corpus.relative(info.path) for info in corpus.files("run")}
    facts = finished(corpus, "run")
    assert stored - set(facts["outputs"]) == {
        f"run/checkpoints/step-00000001/{TEMPORARY}5f", "run/ray-train/result.json",
    }  # fmt: skip
    assert "run/metrics.parquet" in facts["outputs"]
