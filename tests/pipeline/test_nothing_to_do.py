"""A run over a finished corpus: quick, without a cluster, and yet it does what is left to do at its end."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.lease import holders
from pipeline.flow.order import NAMES
from pipeline.run import cluster
from tests.runs import ask

pytestmark = pytest.mark.slow


@pytest.fixture
def finished(captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished corpus, on a machine where no cluster may start."""

    def refuse(*_: object) -> str:
        raise AssertionError("a run with nothing to do needs no cluster")

    monkeypatch.setattr(cluster, "connect", refuse)
    return Path(shutil.copytree(captioned, tmp_path / "corpus"))


def run(corpus: Path, *options: str) -> int:
    return execute(["run", str(corpus / "recipe.yaml"), "--corpus", str(corpus), "--until", "caption", *options])


def test_each_stage_is_planned_once(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned: list[str] = []
    plan_stage = commands.plan_stage

    def note(snapshot: Any, recipe: Any, stage: Any) -> Any:
        planned.append(stage.name)
        return plan_stage(snapshot, recipe, stage)

    monkeypatch.setattr(commands, "plan_stage", note)
    before = sorted(path for path in finished.rglob("*") if path.is_file())
    assert run(finished) == 0
    assert capsys.readouterr().out.startswith(f"Nothing to do: {finished} is up to date")
    assert planned == list(NAMES[: NAMES.index("caption") + 1])
    assert sorted(path for path in finished.rglob("*") if path.is_file()) == before
    assert holders(Corpus(str(finished))) == []


def test_media_that_the_recipe_no_longer_keeps_goes(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list((finished / "media").iterdir())) == 1
    for _ in range(2):
        assert run(finished, "--set", "crawl.keep_media=false") == 0
        assert capsys.readouterr().out.startswith("Nothing to do")
        assert list((finished / "media").iterdir()) == []


def test_a_catalog_that_a_killed_run_did_not_write_is_written(finished: Path) -> None:
    (finished / "catalog.duckdb").unlink()
    assert run(finished) == 0
    assert (finished / "catalog.duckdb").exists()
    assert ask(finished, "SELECT count(*) > 0 FROM captions") == [(True,)]
