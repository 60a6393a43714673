"""Tab completion, asked for as bash asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.completion import complete_stage
from pipeline.flow.order import NAMES
from tests.runs import ROOT

SHIPPED = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


def complete(line: str, folder: Path) -> list[str]:
    words = line.split(" ")
    environment = os.environ | {
        "_REIDFORGE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pipeline"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_stages_are_offered_by_their_beginning() -> None:
    assert complete_stage("de") == ["detect", "dedup", "dedup_across"]
    assert complete_stage("pu") == ["publish"]
    assert complete_stage("x") == []
    assert complete_stage("") == list(NAMES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "corpora/street/ledger").mkdir(parents=True)
    (tmp_path / "corpora/other").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("reidforge ca", ["catalog", "calibrate"]),
        ("reidforge cal", ["calibrate"]),
        ("reidforge run ", [*SHIPPED, "corpora/", "mine.yaml"]),
        ("reidforge run lup", [name for name in SHIPPED if name.startswith("lup")]),
        ("reidforge recipe show m", ["mine.yaml"]),
        ("reidforge run demo --until p", ["publish", "pretrain"]),
        ("reidforge plan demo --from ", list(NAMES)),
        ("reidforge status ", ["corpora/"]),
        ("reidforge status corpora/", ["corpora/other/", "corpora/street"]),
        ("reidforge run demo --corpus corpora/s", ["corpora/street"]),
        ("reidforge status /nowhere/", []),
    ],
)
def test_what_is_offered(line: str, offered: list[str], folder: Path) -> None:
    assert complete(line, folder) == offered
