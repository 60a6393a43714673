"""A stage's passes in this process: attempts, quarantine, retry and retirement."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.run.stage import Stage, units
from pipeline.run.stream import Operator
from pipeline.run.units import RESULT, Row, result
from stages.errors import UnitError
from tests import local
from tests.local import live_files
from tests.pipeline.run import toys
from tests.pipeline.run.toys import BLOB, THINGS


class Steps:
    """Two steps over toy units, counting how often each unit reaches each of them."""

    def __init__(self) -> None:
        self.first: Counter[str] = Counter()
        self.second: Counter[str] = Counter()
        self.failures = {"busy": 99, "late": 1}

    def load(self, row: Row) -> Row:
        name = row["name"]
        self.first[name] += 1
        if name == "damaged":
            raise UnitError("byte 7 is wrong", kind="damaged")
        if self.first[name] <= self.failures.get(name, 0):
            raise UnitError("come back later", kind="busy", retryable=True)
        return {"name": name, "blob": b"x"}

    def measure(self, row: Row) -> Row:
        self.second[row["name"]] += 1
        return result({"things": pa.table({"unit_id": [row["unit_id"]], "bytes": [len(row["blob"])]})}, "")

    def stage(self, *names: str, identity: str = "") -> Stage:
        """A stage of these units that runs in this process."""
        operators = [
            Operator(make_step=lambda: self.load, fields=BLOB),
            Operator(make_step=lambda: self.measure, fields=RESULT),
        ]
        return dataclasses.replace(
            toys.toy_stage(names, operators),
            execute=lambda job: local.stream(job, operators, 1),
            identity=lambda _: {"identity": identity},
        )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(str(tmp_path))


def latest(corpus: Corpus) -> dict[str, dict[str, Any]]:
    return {row["unit_id"].removeprefix("u/"): row for row in Ledger(corpus, "test").latest().to_pylist()}


def test_a_unit_is_tried_as_often_as_the_recipe_says_and_not_again_where_that_cannot_help(corpus: Corpus) -> None:
    steps = Steps()
    toys.run(corpus, steps.stage("good", "late", "busy", "damaged"), max_attempts=3)
    found = {name: (row["status"], row["attempts"]) for name, row in latest(corpus).items()}
    assert found == {"good": ("ok", 1), "late": ("ok", 2), "busy": ("quarantined", 3), "damaged": ("quarantined", 1)}
    assert steps.first == {"good": 1, "late": 2, "busy": 3, "damaged": 1}
    assert steps.second == {"good": 1, "late": 1}


def test_a_retry_takes_up_quarantined_units_with_all_their_attempts(corpus: Corpus) -> None:
    steps = Steps()
    stage = steps.stage("good", "busy")
    for _ in range(2):
        toys.run(corpus, stage, max_attempts=2)
    assert steps.first == {"good": 1, "busy": 2}
    toys.run(corpus, stage, max_attempts=2, retry=True)
    assert steps.first == {"good": 1, "busy": 4}
    assert latest(corpus)["busy"]["attempts"] == 2


def test_attempts_of_another_configuration_do_not_count(corpus: Corpus) -> None:
    steps = Steps()
    toys.run(corpus, steps.stage("busy", identity="one"), max_attempts=2)
    toys.run(corpus, steps.stage("busy", identity="two"), max_attempts=2)
    assert steps.first == {"busy": 4}


def test_units_that_are_no_longer_wanted_lose_their_rows_and_others_keep_them(corpus: Corpus) -> None:
    steps = Steps()
    toys.run(corpus, steps.stage("a", "b"))
    toys.run(corpus, steps.stage("b"))
    found = {name: (row["status"], row["outputs"] == [], row["rows_out"]) for name, row in latest(corpus).items()}
    assert found == {"a": ("retired", True, 0), "b": ("ok", False, 1)}
    assert list(live_files(corpus, "test", THINGS).values()) == [["u/b"]]
    assert steps.first == {"a": 1, "b": 1}


def test_files_of_another_configuration_are_not_overwritten(corpus: Corpus) -> None:
    toys.run(corpus, Steps().stage("a", identity="one"))
    before = {corpus.relative(info.path) for info in corpus.files("things")}
    toys.run(corpus, Steps().stage("a", identity="two"))
    after = {corpus.relative(info.path) for info in corpus.files("things")}
    assert before < after
    assert set(live_files(corpus, "test", THINGS)) == after - before


def test_a_unit_whose_inputs_changed_gets_a_file_of_its_own(corpus: Corpus) -> None:
    """Readers that planned before the change still read the file that they planned for."""
    written = []
    for inputs in ("one", "two"):
        wanted = units([{"unit_id": "u/a", "inputs": inputs, "name": "a"}], toys.NAMES)
        toys.run(corpus, dataclasses.replace(Steps().stage("a"), wanted=lambda *_, table=wanted: table))
        written.append(set(live_files(corpus, "test", THINGS)))
    assert not written[0] & written[1]
    assert {corpus.relative(info.path) for info in corpus.files("things")} == written[0] | written[1]


def test_units_are_retired_before_the_first_unit_runs(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed in its first hour must not leave rows that no recipe wants."""
    monkeypatch.setattr("pipeline.corpus.ledger.FLUSH_SECONDS", 1e9)
    toys.run(corpus, Steps().stage("old"))
    seen: list[str] = []

    class Watching(Steps):
        def load(self, row: Row) -> Row:
            seen.append(latest(corpus)["old"]["status"])
            return super().load(row)

    toys.run(corpus, Watching().stage("new"))
    assert seen == ["retired"]
