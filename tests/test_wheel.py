"""The wheel works without a checkout: in an empty environment, called from an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.runs import ROOT

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "demo", "models", "recipes")
PACKAGES = ("pipeline", "stages", "evaluation", "schemas")
OURS = ("__editable__", "reidforge", *PACKAGES)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy of the sources: building writes beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*SOURCES, *PACKAGES):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(source, folder / "source")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist", folder / "source")
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``reidforge`` of an environment with the wheel and the locked packages, and without this checkout."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    python = home / "venv/bin/python"
    pip("--python", python, "install", "--no-deps", wheel)
    (home / "packages").mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(OURS):
            (home / "packages" / entry.name).symlink_to(entry)
    (installed,) = (home / "venv").glob("lib/*/site-packages")
    (installed / "locked.pth").write_text(f"{home}/packages\n")
    return home / "venv/bin/reidforge"


def pip(*arguments: str | Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--no-input")
    environment = os.environ | {"PIP_NO_INDEX": "1"}
    subprocess.run([sys.executable, "-m", "pip", *options, *arguments], check=True, env=environment)


def run(command: Path, folder: Path, *arguments: str) -> str:
    """Run ``reidforge`` in a folder; what it prints on stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_it_holds_what_recipes_name_once(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [
        name for name in names if name.startswith(("tests", "tools", "benchmarks", "models", "recipes", "demo"))
    ]
    for name in ("demo/street.mp4", "recipes/towers_xs.json", "recipes/filters/webperson.yaml"):
        assert f"reidforge/{name}" in names
    weights = [Path(name).name for name in names if name.endswith((".pt", ".safetensors"))]
    assert sorted(weights) == ["open_clip_model.safetensors", "yolo11n-pose.pt", "yolo26n.pt"]


def test_every_package_of_the_checkout_is_in_it(wheel: Path) -> None:
    ours = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        assert ours <= set(archive.namelist())


def test_the_version_is_that_of_the_wheel(command: Path, wheel: Path, tmp_path: Path) -> None:
    assert run(command, tmp_path, "--version") == f"reidforge {wheel.name.split('-')[1]}\n"


def test_the_shipped_recipes_go_by_name(command: Path, tmp_path: Path) -> None:
    listed = [line.split()[0] for line in run(command, tmp_path, "recipe", "list").splitlines()[1:]]
    assert listed == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    for name in listed:
        assert run(command, tmp_path, "recipe", "show", name).startswith("corpus: corpora/")


def test_rules_come_by_name_too(command: Path, tmp_path: Path) -> None:
    shown = run(command, tmp_path, "recipe", "show", "demo", "--set", "detect.rules={preset: webperson}")
    assert yaml.safe_load(shown)["detect"]["rules"]["min_width"] == 90


def test_the_default_weights_are_found(command: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("corpus: mine\ncrawl: {urls: ['http://example.org/a.mp4']}\n")
    assert run(command, tmp_path, "plan", "mine.yaml", "--until", "embed").startswith("stage")


@pytest.mark.slow
def test_the_demo_runs(command: Path, tmp_path: Path) -> None:
    short = ("--set", "detect.sampling.every_frames=40", "--set", "pretrain.max_steps=3")
    said = run(command, tmp_path, "demo", "--corpus", "built", *short)
    assert "Try next:" in said
    assert (tmp_path / "built/contact_sheet.png").stat().st_size > 10_000
    counted = run(command, tmp_path, "sql", "built", "SELECT count(*) FROM manifest", "-f", "csv")
    assert int(counted.splitlines()[1]) > 20
    again = run(command, tmp_path, "demo", "--corpus", "built", *short)
    assert "Nothing to do" in again
