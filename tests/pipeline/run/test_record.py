"""The record of a run: what is needed to explain a corpus when the files and the code have changed."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.files import Corpus
from pipeline.flow.order import STAGES
from pipeline.recipe import Recipe
from pipeline.run.code_version import code_digest
from pipeline.run.record import recorded
from tests.runs import ROOT

BASE = "models/reidforge-clip-s"


def weights(path: Path, content: bytes) -> str:
    """A file of bytes that are not text."""
    path.write_bytes(b"\xff\x00" + content)
    return str(path)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe that names a file wherever it can; none of them is opened for its meaning."""
    grammar = tmp_path / "grammar.yaml"
    grammar.write_text("name: mine\nversion: 1\nextends: english\n")
    shutil.copy(ROOT / "stages/caption/bank/banks/unipt14.yaml", tmp_path / "bank.yaml")
    shutil.copy(ROOT / "recipes/filters/webperson.yaml", tmp_path / "rules.yaml")
    (tmp_path / "temperatures.yaml").write_text("temperatures: {}\n")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "list.txt").write_text(f"http://example.org/{folder}.mp4\n")
    (tmp_path / "cookies.txt").write_text("session=secret\n")
    return Recipe.model_validate(
        {
            "corpus": str(tmp_path / "corpus"),
            "crawl": {
                "url_files": [str(tmp_path / "one/list.txt"), str(tmp_path / "two/list.txt")],
                "cookies_file": str(tmp_path / "cookies.txt"),
            },
            "detect": {
                "model": weights(tmp_path / "yolo.pt", b"detect"),
                "pose": {"source": "second_pass", "model": weights(tmp_path / "pose.pt", b"pose")},
                "rules": {"preset": str(tmp_path / "rules.yaml")},
            },
            "reid": {"model": weights(tmp_path / "reid.pt", b"reid")},
            "embed": {"model": str(ROOT / BASE), "pretrained": weights(tmp_path / "clip.bin", b"clip")},
            "caption": {
                "bank": str(tmp_path / "bank.yaml"),
                "grammar": str(grammar),
                "calibration": str(tmp_path / "temperatures.yaml"),
                "prior": "reference",
                "reference": weights(tmp_path / "reference.parquet", b"reference"),
            },
            "pretrain": {"model": "ViT-B-16", "init": weights(tmp_path / "init.pt", b"init")},
        }
    )


def record(recipe: Recipe, names: set[str]) -> dict[str, Any]:
    """The environment.json of a run of some stages."""
    corpus = Corpus(recipe.corpus)
    # Fingerprints open the temperatures and the reference, which are not sound here.
    stages = [dataclasses.replace(stage, identity=lambda _: {}) for stage in STAGES if stage.name in names]
    assert {stage.name for stage in stages} == names
    with recorded(corpus, recipe, stages, "r", []):
        pass
    environment: dict[str, Any] = json.loads(corpus.read("runs/r/environment.json"))
    return environment


def test_every_file_that_a_recipe_names_is_in_the_record(recipe: Recipe, tmp_path: Path) -> None:
    files = record(recipe, {stage.name for stage in STAGES})["files"]
    binary = {
        "detect.model": "yolo.pt", "detect.pose.model": "pose.pt", "reid.model": "reid.pt",
        "embed.pretrained": "clip.bin", "caption.reference": "reference.parquet", "pretrain.init": "init.pt",
    }  # fmt: skip
    text = {
        "crawl.url_files.0": "one/list.txt", "crawl.url_files.1": "two/list.txt", "detect.rules.preset": "rules.yaml",
        "caption.bank": "bank.yaml", "caption.grammar": "grammar.yaml", "caption.calibration": "temperatures.yaml",
    }  # fmt: skip
    others = {"embed.model", "caption.grammar.extends", "pretrain.model"}
    assert set(files) == set(binary) | set(text) | others
    for key, name in (binary | text).items():
        assert files[key]["digest"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest(), key
    run = tmp_path / "corpus/runs/r"
    for key, name in text.items():
        assert (run / files[key]["copy"]).read_bytes() == (tmp_path / name).read_bytes(), key
    english = (ROOT / "stages/caption/write/grammars/english.yaml").read_bytes()
    assert (run / files["caption.grammar.extends"]["copy"]).read_bytes() == english
    assert {files[key]["copy"] for key in binary} == {None}
    assert len(files["embed.model"]["digest"]) == 64
    # A hub's name has no file, and so no digest.
    assert files["pretrain.model"] == {"name": "ViT-B-16", "digest": None, "copy": None}
    kept = {path for path in run.rglob("*") if path.is_file() and path.parent != run}
    assert len(kept) == len(text) + 1
    assert not [path for path in kept if b"secret" in path.read_bytes()]


def test_the_record_holds_the_files_of_the_stages_that_run_only(recipe: Recipe) -> None:
    assert set(record(recipe, {"crawl"})["files"]) == {"crawl.url_files.0", "crawl.url_files.1"}
    imported = recipe.model_copy(update={"detect": recipe.detect.model_copy(update={"source": "imported"})})
    assert set(record(imported, {"detect"})["files"]) == {"detect.rules.preset"}


def code_version(root: Path, **variables: str) -> dict[str, Any]:
    """What the code below a folder says of itself, in a process of its own."""
    asked = "import json; from pipeline.run.code_version import code_version; print(json.dumps(code_version()))"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=root, env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", **variables},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", root, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_code_and_none_where_it_is_no_checkout(tmp_path: Path) -> None:
    copy = tmp_path / "outer/site"
    for folder in ("pipeline", "stages", "schemas"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "-q", "outer")
    (tmp_path / "outer/README").write_text("another project\n")
    git(tmp_path / "outer", "add", "README")
    git(tmp_path / "outer", "commit", "-qm", "first")
    stated = code_version(copy)
    assert (stated["commit"], stated["modified"]) == (None, None)
    assert stated["digest"] == code_digest(ROOT)
    assert code_version(copy, REIDFORGE_COMMIT="abc")["commit"] == "abc"
    git(copy, "init", "-q")
    git(copy, "add", ".")
    git(copy, "commit", "-qm", "first")
    stated = code_version(copy, REIDFORGE_COMMIT="abc")
    assert (stated["commit"], stated["modified"]) == (git(copy, "rev-parse", "HEAD"), False)
    (copy / "pipeline/errors.py").write_text((copy / "pipeline/errors.py").read_text() + "# changed\n")
    changed = code_version(copy)
    assert (changed["commit"], changed["modified"]) == (stated["commit"], True)
    assert changed["digest"] != stated["digest"]
