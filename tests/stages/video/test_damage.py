"""Damaged video: every file ends with frames or a reason, in time, and takes nothing else with it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.video.watch import within
from tests.runs import ROOT
from tests.stages.crawl.serving import CLIP

MUTANTS = 100


def read_mutants(first: int, last: int) -> list[dict[str, object]]:
    """What became of each; a seed whose process died is reported as a crash, and the next begins a new process."""
    outcomes: list[dict[str, object]] = []
    while first < last:
        command = [sys.executable, "-m", "tests.stages.video.mutants", str(CLIP), str(first), str(last)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        outcomes += [line for line in lines if "seed" in line]
        if done.returncode:
            first = max(line.get("begins", first) for line in lines) + 1
            outcomes.append({"seed": first - 1, "kind": "crash", "message": done.stderr[-500:], "seconds": 0.0})
        else:
            first = last
    return outcomes


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_mutations_of_a_clip_give_frames_or_reasons() -> None:
    outcomes = read_mutants(0, MUTANTS)
    assert sorted(line["seed"] for line in outcomes) == list(range(MUTANTS))
    assert [line for line in outcomes if line.get("kind") == "crash"] == []
    assert max(line["seconds"] for line in outcomes) < 60
    failed = [line for line in outcomes if "kind" in line]
    kinds = {line["kind"] for line in failed}
    assert kinds <= {"truncated", "damaged", "no_video_stream", "unsupported_codec", "not_a_video", "too_large"}
    assert all(len(str(line["message"])) > 20 for line in failed)
    # The damage is real, and most of the clip survives it.
    assert 20 < len(failed) < 80


def test_a_call_that_ends_in_time_gives_its_value_or_its_error() -> None:
    assert within(10, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 // 0)


HANGING = """
import ctypes, sys, time
from stages.errors import UnitError
from stages.video import watch
watch._LEAVE_AFTER_S, watch._LAST_RESORT_S = {leave}, {last}
began = time.monotonic()
try:
    watch.within(0.5, lambda: {call})
except UnitError as error:
    print(error.kind, error.retryable, round(time.monotonic() - began), error, flush=True)
{then}
"""


def hanging(call: str, then: str = "time.sleep(60)", leave: float = 0.5, last: float = 30) -> tuple[int, str, float]:
    began = time.monotonic()
    script = HANGING.format(call=call, then=then, leave=leave, last=last)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, time.monotonic() - began


def test_a_file_that_never_answers_is_given_up_and_the_process_leaves(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    code, said, seconds = hanging(f"open({str(tmp_path / 'fifo')!r}, 'rb')")
    assert said.startswith("timeout False ")
    assert "not finished after 0.5 s, the limit of detect.limits.max_seconds" in said
    assert code == 1
    assert seconds < 30


def test_work_that_reaches_a_process_that_gave_up_ends_it_at_once() -> None:
    code, said, _ = hanging("time.sleep(60)", "watch.within(5, lambda: print('worked', flush=True))", leave=50)
    assert (code, "worked" in said, "timeout" in said) == (1, False, True)


def test_a_call_that_keeps_python_itself_from_running_ends_the_process() -> None:
    code, said, seconds = hanging("ctypes.PyDLL(None).sleep(50)", last=1)
    assert code == 1
    assert said == ""
    assert seconds < 30
