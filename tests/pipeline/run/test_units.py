"""Units of work between operators: one row each, with their images."""

import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pytest

from pipeline.run.units import PICTURES, JointStep, Row, Step, StepActor, pictures, run_step, start

SEEN = pa.schema([pa.field("number", pa.int64()), pa.field("pixels", PICTURES)])
COUNTED = pa.schema([*SEEN, pa.field("brightest", pa.list_(pa.int64()))])


def planned(*numbers: int) -> pa.Table:
    """Units of one block."""
    rows = [{"unit_id": f"u{number}", "inputs": "", "number": number} for number in numbers]
    return pa.concat_tables(start(pa.Table.from_pylist(rows), ""))


def image(value: int, height: int = 3) -> npt.NDArray[np.uint8]:
    return np.full((height, 4, 3), value, np.uint8)


def see(row: Row) -> Row:
    """As many images as the unit's number, each of another size."""
    return {"pixels": [image(10 * row["number"] + n, 3 + n) for n in range(row["number"])]}


def test_pictures_come_back_as_they_were_unit_by_unit() -> None:
    found = run_step(planned(2, 0, 3), see, SEEN)
    assert found["pixels"].type == PICTURES
    back = [[each.reshape(-1, 4, 3) for each in pictures(cell.values)] for cell in found["pixels"]]
    assert [[each[0, 0, 0] for each in unit] for unit in back] == [[20, 21], [], [30, 31, 32]]
    assert [each.shape for each in back[2]] == [(3, 4, 3), (4, 4, 3), (5, 4, 3)]
    assert all((each == each[0, 0, 0]).all() for unit in back for each in unit)


def test_a_step_hands_on_the_pictures_that_it_was_given() -> None:
    def count(row: Row) -> Row:
        return {"brightest": [int(each.max()) for each in pictures(row["pixels"])]}

    found = run_step(run_step(planned(2, 3), see, SEEN).slice(1), count, COUNTED)
    assert found["brightest"].to_pylist() == [[30, 31, 32]]
    assert [len(each) for each in pictures(found["pixels"][0].values)] == [36, 48, 60]


def test_a_unit_that_fails_leaves_no_pictures_and_its_neighbour_keeps_its_own() -> None:
    def fail_first(row: Row) -> Row:
        if row["number"] == 1:
            raise ValueError("no such thing")
        return see(row)

    found = run_step(planned(1, 2), fail_first, SEEN)
    assert found["status"].to_pylist() == ["failed", None]
    assert found["pixels"].is_null().to_pylist() == [True, False]
    assert len(pictures(found["pixels"][1].values)) == 2


def make_end() -> Step:
    def end(_: Row) -> Row:
        os._exit(3)

    return end


def work_in_an_actor(number: int) -> None:
    StepActor(make_end, SEEN, "pool")(planned(number))


def test_a_unit_that_killed_two_actors_is_abandoned_and_its_neighbour_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for number in (1, 1, 2):
        actor = multiprocessing.get_context("spawn").Process(target=work_in_an_actor, args=(number,))
        actor.start()
        actor.join()
        assert actor.exitcode == 3
    found = StepActor(lambda: see, SEEN, "pool")(planned(1, 2, 3))
    assert found["error_type"].to_pylist() == ["worker_lost", None, None]
    assert found["status"].to_pylist() == ["failed", None, None]
    assert StepActor(lambda: see, SEEN, "pool")(planned(1))["status"].to_pylist() == [None]
    assert not list(tmp_path.iterdir())


def test_images_are_released() -> None:
    def see_much(_: Row) -> Row:
        return {"pixels": [np.ones((1000, 1000, 3), np.uint8)] * 10}

    block, process = planned(1), psutil.Process()
    run_step(block, see_much, SEEN)
    before = process.memory_info().rss
    for _ in range(10):
        run_step(block, see_much, SEEN)
    assert process.memory_info().rss - before < 100e6


def test_units_of_a_joint_step_fail_one_by_one() -> None:
    calls: list[list[int]] = []

    def count(rows: list[Row]) -> list[Row]:
        numbers = [row["number"] for row in rows]
        calls.append(numbers)
        if 3 in numbers:
            raise ValueError("three is damaged")
        return [{"number": row["number"], "brightest": [len(rows)]} for row in rows]

    fields = pa.schema([COUNTED.field("number"), COUNTED.field("brightest")])
    assert run_step(planned(1, 2, 4), JointStep(count), fields)["brightest"].to_pylist() == [[3], [3], [3]]
    found = run_step(planned(1, 2, 3, 4), JointStep(count), fields)
    assert calls == [[1, 2, 4], [1, 2, 3, 4], [1], [2], [3], [4]]
    assert found["status"].to_pylist() == [None, None, "failed", None]
    assert found["error_message"][2].as_py() == "three is damaged"
    assert found["brightest"].to_pylist() == [[1], [1], None, [1]]
    again = run_step(found, JointStep(count), fields)
    assert calls[-1] == [1, 2, 4], "a unit that failed before is passed on"
    assert again["status"].to_pylist() == found["status"].to_pylist()
