"""Faults on a real cluster: nothing is lost or duplicated, and the run continues.

The driver's own death is in ``test_run.py``, a step that crashes each time in ``test_stream.py``.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from tests.local import live_files, read_live
from tests.pipeline.run.faulty import kill_process, killer, stage
from tests.pipeline.run.toys import THINGS, run
from tests.runs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def check(corpus: Corpus, count: int, size: int = 10) -> None:
    """Every unit is done, its row is there once, and at most the one that was hit took a second attempt."""
    ledger = Ledger(corpus, "test")
    latest = ledger.latest().to_pylist()
    assert sorted(row["unit_id"] for row in latest) == [f"u/{n:02d}" for n in range(count)]
    assert {row["status"] for row in latest} == {"ok"}
    done = [row["unit_id"] for row in ledger.history().to_pylist() if row["status"] == "ok"]
    assert len(done) == len(set(done))
    assert sum(row["attempts"] - 1 for row in latest) <= 1
    files = live_files(corpus, "test", THINGS)
    rows = [row for path, ids in files.items() for row in read_live(corpus, THINGS, path, ids).to_pylist()]
    assert sorted(row["unit_id"] for row in rows) == [f"u/{n:02d}" for n in range(count)]
    assert {row["bytes"] for row in rows} == {size}


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("where", ["in_task", "in_actor"], ids=["a worker process", "an actor that holds a batch"])
def test_a_process_that_is_killed_costs_nothing(where: str, tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path / "corpus"))
    thread = killer(tmp_path, kill_process)
    run(corpus, stage(tmp_path, 8, **{where: "03"}))
    thread.join()
    check(corpus, 8)


@pytest.mark.usefixtures("ray_cluster")
def test_units_that_kill_their_actor_each_time_cost_their_neighbours_nothing(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path / "corpus"))
    run(corpus, stage(tmp_path, 12, deadly={"03", "06"}), max_attempts=2)
    latest = {row["unit_id"][2:]: row for row in Ledger(corpus, "test").latest().to_pylist()}
    dead = {name: latest.pop(name) for name in ("03", "06")}
    assert {(row["status"], row["error_type"], row["attempts"]) for row in dead.values()} == {
        ("quarantined", "worker_lost", 2)
    }
    assert len(latest) == 10
    assert {(row["status"], row["attempts"]) for row in latest.values()} == {("ok", 1)}


@pytest.mark.usefixtures("ray_cluster")
def test_units_larger_than_the_object_store_together_go_through_it(tmp_path: Path) -> None:
    size = 120_000_000
    corpus = Corpus(str(tmp_path / "corpus"))
    run(corpus, stage(tmp_path, 8, size=size))
    check(corpus, 8, size)


@pytest.mark.parametrize("where", ["in_task", "in_actor"])
def test_a_node_that_is_lost_costs_nothing(where: str, tmp_path: Path) -> None:
    # Ray notes the newest cluster in its folder, and others on this machine would join it; socket paths must be short.
    with tempfile.TemporaryDirectory(prefix="rf", dir="/tmp", ignore_cleanup_errors=True) as home:
        done = subprocess.run(
            [sys.executable, "-m", "tests.pipeline.run.faulty", str(tmp_path), where],
            cwd=ROOT, capture_output=True, text=True, timeout=560, check=False,
            env=os.environ | {"RAY_TMPDIR": home, "RAY_AUTH_MODE": "disabled"},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 nodes alive" in done.stdout
    check(Corpus(str(tmp_path / "corpus")), 12)
