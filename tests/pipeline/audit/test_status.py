"""How far a corpus is, and what a run tells Prometheus."""

import datetime as dt
import io
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from pipeline.audit import status
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.run.metrics import METRICS, exported
from schemas.tables import LEDGER
from tests.runs import ROOT

BOARD = ROOT / "deploy/grafana/reidforge.json"

ROW: dict[str, Any] = {
    "stage": "detect", "scope": "", "fingerprint": "f", "inputs": "i", "status": "ok", "attempts": 1, "outputs": [],
    "rows_out": 30, "frames": 40, "crops": 10, "seconds": 5.0, "node": "here", "run_id": "r2",
}  # fmt: skip


def corpus_with(root: Path, rows: list[dict[str, Any]]) -> Corpus:
    corpus = Corpus(str(root))
    corpus.write_table(pa.Table.from_pylist(rows, schema=LEDGER), "ledger/detect/a.parquet")
    return corpus


def half_done(root: Path, since: float = 100, ago: float = 0) -> Corpus:
    """A run that settled 10 of 30 units in so many seconds, the last so many seconds ago; one failed first."""
    last = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago)
    began = last - dt.timedelta(seconds=since)
    steps = [began + dt.timedelta(seconds=since * (n + 1) / 10) for n in range(10)]
    rows = [ROW | {"unit_id": f"v/{n}", "finished_at": at} for n, at in enumerate(steps)]
    rows[3] |= {
        "status": "quarantined",
        "error_type": "damaged",
        "error_message": "[bold] byte 7",
        "frames": None,
        "crops": None,
    }
    rows.append(ROW | {"unit_id": "v/9", "status": "failed", "finished_at": began, "frames": 0, "crops": None})
    rows.append(ROW | {"unit_id": "v/old", "run_id": "r1", "finished_at": began - dt.timedelta(days=1)})
    corpus = corpus_with(root, rows)
    corpus.put(
        "runs/r2/stages/detect.json", json.dumps({"began": began.isoformat(), "wanted": 31, "todo": 30}).encode()
    )
    return corpus


def test_rates_and_time_left_come_from_the_run_under_way(tmp_path: Path) -> None:
    (stage,) = status.gather(half_done(tmp_path)).stages
    assert (stage.ok, stage.quarantined, stage.failed, stage.left) == (10, 1, 0, 20)
    assert stage.frames_per_second == pytest.approx(9 * 40 / 100)
    assert stage.crops_per_second == pytest.approx(9 * 10 / 100)
    assert stage.units_per_second == pytest.approx(0.1)
    assert stage.seconds_left == pytest.approx(200)


def test_a_run_that_is_over_has_nothing_left(tmp_path: Path) -> None:
    corpus = half_done(tmp_path)
    corpus.put("runs/r2/statistics.json", b"[]")
    (stage,) = status.gather(corpus).stages
    assert (stage.left, stage.seconds_left) == (0, None)
    assert stage.frames_per_second == pytest.approx(3.6)


def test_a_run_that_was_killed_has_units_left_and_no_time(tmp_path: Path) -> None:
    (stage,) = status.gather(half_done(tmp_path, ago=7200)).stages
    assert (stage.left, stage.seconds_left) == (20, None)


def test_the_command_prints_it_and_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = half_done(tmp_path)
    assert execute(["status", corpus.uri]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "frames/s",
        "crops/s",
        "time left",
        "detect 10 0 0 1 330 20",
        "detect 3.6 0.9 55.0 3 min",
        "detect: 1 unit damaged, such as v/3",
        "[bold] byte 7",
    ):
        assert part in said


def announced(corpus: Corpus, run_id: str, stage: str, todo: int, began: dt.datetime | None = None) -> None:
    plan = {"began": (began or dt.datetime.now(dt.UTC)).isoformat(), "wanted": todo, "todo": todo}
    corpus.put(f"runs/{run_id}/recipe.yaml", b"corpus: x")
    corpus.put(f"runs/{run_id}/stages/{stage}.json", json.dumps(plan).encode())


def test_a_run_in_its_first_stage_is_shown_before_its_first_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = Corpus(str(tmp_path / "corpus"))
    corpus.put("runs/r1/recipe.yaml", b"corpus: x")
    assert execute(["status", corpus.uri]) == 0
    assert "Run r1 has started and has not announced a stage yet" in capsys.readouterr().out
    announced(corpus, "r1", "discover", 7)
    assert execute(["status", corpus.uri]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["discover", "0", "0", "0", "0", "0", "7"] in said
    assert ["discover", "-", "-", "0.0", "-", "-"] in said


def test_a_folder_that_nothing_ran_in_is_no_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status", str(tmp_path)]) == 2
    assert "not a corpus (it has no ledger/ and no runs/)" in capsys.readouterr().err


def test_a_second_run_is_shown_before_its_first_unit_beside_what_the_first_settled(tmp_path: Path) -> None:
    corpus = half_done(tmp_path, ago=7200)
    announced(corpus, "r3", "detect", 20)
    (stage,) = status.gather(corpus).stages
    assert (stage.ok, stage.quarantined, stage.run_id, stage.left) == (10, 1, "r3", 20)
    assert (stage.frames_per_second, stage.seconds_left) == (None, None)


def test_a_run_that_settled_nothing_and_is_over_is_not_shown(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path))
    announced(corpus, "r1", "discover", 7)
    corpus.put("runs/r1/statistics.json", b"[]")
    assert status.gather(corpus).stages == ()


def test_nothing_wraps_in_a_terminal_of_80_columns(tmp_path: Path) -> None:
    corpus = half_done(tmp_path)
    row = ROW | {
        "unit_id": "v/1",
        "finished_at": dt.datetime.now(dt.UTC),
        "rows_out": 437_662_623,
        "seconds": 9_999_999,
    }
    Ledger(corpus, "dedup_across").append([row | {"crops": 40_000_000, "frames": 400_000_000}])
    output = io.StringIO()
    console = Console(file=output, width=80, force_terminal=True, color_system=None)
    for part in status.render(status.gather(corpus)):
        console.print(part, highlight=False, markup=False)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    names = ("stage", "ok", "empty", "failed", "quarantined", "rows", "left")
    assert lines[0].split() == list(names)
    assert [line.split()[0] for line in lines[1:3]] == ["detect", "dedup_across"]
    assert "437662623" in lines[2].split()
    assert lines[4].split() == ["stage", "frames/s", "crops/s", "busy", "s", "time", "left", "last", "unit"]
    assert "9999999.0" in lines[6]
    assert max(map(len, lines)) <= 80


def test_a_ledger_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path))
    old = pa.schema([field for field in LEDGER if field.name not in ("frames", "crops")])
    row = ROW | {"unit_id": "v/0", "finished_at": dt.datetime.now(dt.UTC)}
    corpus.write_table(pa.Table.from_pylist([row], schema=old), "ledger/detect/a.parquet")
    Ledger(corpus, "detect").append([row | {"unit_id": "v/1"}])
    Ledger(corpus, "detect").compact()
    assert Ledger(corpus, "detect").latest().sort_by("unit_id")["frames"].to_pylist() == [None, 40]
    (stage,) = status.gather(corpus).stages
    assert (stage.ok, stage.frames, stage.left) == (2, 40, 0)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(None, "-"), (40, "40 s"), (200, "3 min"), (7500, "2 h 5 min"), (280_000, "3 d 5 h")]
)
def test_durations_read_well(seconds: float | None, expected: str) -> None:
    assert status._duration(seconds) == expected


def board_metrics() -> set[str]:
    return set(re.findall(r"ray_\w+", BOARD.read_text()))


def test_the_board_asks_for_what_is_exported_and_for_all_of_it() -> None:
    assert board_metrics() == {exported(name) for name in METRICS}
    board = json.loads(BOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    used = set(re.findall(r"by \(([\w, ]+)\)", BOARD.read_text()))
    labels = {"stage", "run", *(label for _, more, _ in METRICS.values() for label in more)}
    assert {label for group in used for label in group.split(", ")} <= labels


SCRAPED = """
import sys, time, urllib.request
from pipeline.recipe import RunConfig
from pipeline.run import cluster
from pipeline.run.metrics import Meter

port = int(sys.argv[1])
cluster.connect(None, RunConfig(cpus=1, object_store_mb=128, metrics_port=port))
meter = Meter("detect", "run1", 3)
row = {"status": "ok", "rows_out": 5, "seconds": 1.5, "frames": 40, "crops": 4, "error_type": None}
meter.count(row)
meter.count(row | {"status": "quarantined", "error_type": "damaged", "frames": None, "crops": None})
# Two units say nothing about the time left; a stage that is over has none.
Meter("embed", "run1", 1).count(row)
for _ in range(60):
    time.sleep(1)
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except OSError:
        continue
    if "reidforge" in text:
        break
print("\\n".join(line for line in text.splitlines() if "reidforge" in line and not line.startswith("#")))
cluster.disconnect()
"""


@pytest.mark.slow
def test_the_metrics_come_out_of_a_running_cluster() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRAPED, str(port)], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    names = set(re.findall(r"^(ray_\w+)\{", done.stdout, re.MULTILINE))
    assert board_metrics() <= names, done.stdout
    value = {
        (line.partition("{")[0], *re.findall(r'(?:status|reason)="(\w+)"', line)): float(line.rpartition(" ")[2])
        for line in done.stdout.splitlines()
        if 'stage="detect"' in line and 'run="run1"' in line
    }
    assert value["ray_reidforge_units_total", "ok"] == value["ray_reidforge_units_total", "quarantined"] == 1
    assert value["ray_reidforge_failures_total", "damaged"] == 1
    assert value["ray_reidforge_frames_total",] == 40
    assert value["ray_reidforge_units_left",] == 1
    assert value["ray_reidforge_rows_total",] == 10
