"""Units on Ray: whatever a unit does, its neighbours go on and nothing is lost from sight."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.run.plan import make_plan
from pipeline.run.stage import Stage, units
from pipeline.run.stream import Operator
from pipeline.run.units import RESULT, Row, Step, result
from stages.errors import EmptyUnit, UnitError
from tests.local import live_files, read_live
from tests.pipeline.run import toys
from tests.pipeline.run.toys import BLOB, NAMES, THINGS, toy_stage

pytestmark = pytest.mark.usefixtures("ray_cluster")


def make_read() -> Step:
    def read(row: Row) -> Row:
        if row["name"] == "crash":
            os._exit(1)
        if row["name"] == "empty":
            raise EmptyUnit("there is nothing in it")
        if row["name"] == "damaged":
            raise UnitError("byte 7 is wrong", kind="damaged")
        if row["name"] == "busy":
            raise UnitError("come back later", kind="busy", retryable=True)
        return {"name": row["name"], "blob": b"x" * (200_000_000 if row["name"] == "large" else 10)}

    return read


def make_count() -> Step:
    def count(row: Row) -> Row:
        if row["name"] == "bug":
            raise ZeroDivisionError("division by zero")
        rows = 0 if row["name"] == "nobody" else len(row["blob"])
        table = pa.table({"unit_id": [row["unit_id"]], "bytes": [rows]}).slice(0, min(rows, 1))
        return result({THINGS.name: table}, "no person was seen")

    return count


def stage_over(names: list[str], actors: int | None = None, units_per_task: int = 1) -> Stage:
    operators = [
        Operator(make_step=make_read, fields=BLOB, cpus=0.5, tasks=2),
        Operator(make_step=make_count, fields=RESULT, cpus=0.5, actors=actors),
    ]
    return toy_stage(names, operators, units_per_task)


def run(corpus: Corpus, stage: Stage, *, retry: bool = False) -> dict[str, dict[str, object]]:
    toys.run(corpus, stage, max_attempts=2, retry=retry)
    return {row["unit_id"].removeprefix("u/"): row for row in Ledger(corpus, "test").latest().to_pylist()}


def test_every_unit_reaches_the_ledger_whatever_becomes_of_it(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path))
    names = ["good", "large", "empty", "nobody", "damaged", "busy", "bug", "crash", "fine"]
    ledger = run(corpus, stage_over(names, actors=1))
    status = {name: row["status"] for name, row in ledger.items()}
    assert status == {
        "good": "ok", "large": "ok", "fine": "ok", "empty": "empty", "nobody": "empty",
        "damaged": "quarantined", "busy": "quarantined", "bug": "quarantined", "crash": "quarantined",
    }  # fmt: skip
    assert ledger["damaged"]["attempts"] == 1
    assert ledger["busy"]["attempts"] == ledger["bug"]["attempts"] == ledger["crash"]["attempts"] == 2
    assert ledger["damaged"]["error_message"] == "byte 7 is wrong"
    assert ledger["empty"]["error_message"] == "there is nothing in it"
    assert ledger["nobody"]["error_message"] == "no person was seen"
    assert ledger["bug"]["error_type"] == "ZeroDivisionError"
    assert ledger["crash"]["error_type"] == "worker_lost"
    files = live_files(corpus, "test", THINGS)
    rows = [row for path, ids in files.items() for row in read_live(corpus, THINGS, path, ids).to_pylist()]
    assert sorted(row["unit_id"] for row in rows) == ["u/fine", "u/good", "u/large"]


def test_units_that_share_a_task_do_not_share_their_fate(tmp_path: Path) -> None:
    """A crash ends the task of twelve units; the eleven others come out of the same attempt."""
    names = ["crash", "damaged", "bug", *(f"n{number}" for number in range(93))]
    ledger = run(Corpus(str(tmp_path)), stage_over(names, units_per_task=12))
    done = {name: row["attempts"] for name, row in ledger.items() if row["status"] == "ok"}
    assert done == dict.fromkeys(names[3:], 1)
    assert {name: (ledger[name]["error_type"], ledger[name]["attempts"]) for name in names[:3]} == {
        "crash": ("worker_lost", 2), "damaged": ("damaged", 1), "bug": ("ZeroDivisionError", 2),
    }  # fmt: skip


def test_a_second_run_does_nothing_and_a_retry_takes_up_what_was_given_up(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path))
    stage = stage_over(["good", "damaged"])
    first = run(corpus, stage)
    assert run(corpus, stage) == first
    again = run(corpus, stage, retry=True)
    assert again["good"] == first["good"]
    assert again["damaged"]["finished_at"] > first["damaged"]["finished_at"]  # type: ignore[operator]


def test_rows_of_a_unit_that_was_redone_in_another_file_count_once(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path))
    run(corpus, stage_over(["a", "b", "c"]))
    latest = Ledger(corpus, "test").latest().to_pylist()
    redone = next(row for row in latest if row["unit_id"] == "u/b")
    corpus.write_table(pa.table({"unit_id": ["u/b"], "bytes": [99]}), "things/new.parquet")
    Ledger(corpus, "test").append([redone | {"outputs": ["things/new.parquet"]}])
    files = live_files(corpus, "test", THINGS)
    rows = [row for path, ids in files.items() for row in read_live(corpus, THINGS, path, ids).to_pylist()]
    assert {row["unit_id"]: row["bytes"] for row in rows} == {"u/a": 10, "u/b": 99, "u/c": 10}


def test_a_plan_of_nothing_is_no_error(tmp_path: Path) -> None:
    assert run(Corpus(str(tmp_path)), stage_over([])) == {}
    empty = units([], NAMES)
    assert make_plan(Snapshot(Corpus(str(tmp_path))), "test", "", "f", empty, retires=True).counts() == {}


def test_workers_that_idle_are_kept() -> None:
    """Ray's default ends those beyond one a CPU after a second; each new one pays seconds for its imports."""
    import ray

    @ray.remote(num_cpus=0.25)
    def pid() -> int:
        time.sleep(3)
        return os.getpid()

    def several() -> set[int]:
        return set(ray.get([pid.remote() for _ in range(5)]))

    before = several()
    time.sleep(5)
    assert len(before) > 2
    assert len(before & several()) > 2
