"""What a command costs: clock, processor seconds and memory, its child processes included."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.captions.reading import root

# Adding up the pages of Ray's processes costs some tenths of a second each time.
_LOOK_SECONDS: Final = 2.0
_GLANCE_SECONDS: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What something cost.

    Args:
        clock: Wall time, seconds.
        processor: User and system time of the process and of those children that it waited for, seconds.
        megabytes: Largest memory: resident of the process itself, or proportional of it and all its children.
        output: What it printed.
        failed: Why it has no result; None if it has one.
    """

    clock: float
    processor: float
    megabytes: float
    output: str = ""
    failed: str | None = None


def reidforge(*arguments: str) -> Spent:
    """Run a command of the project."""
    return spend([sys.executable, "-m", "pipeline", *arguments])


def spend(command: Sequence[str]) -> Spent:
    """Run a command to its end."""
    with tempfile.TemporaryFile("w+") as printed:
        began, peak, done = time.perf_counter(), 0.0, 0
        process = subprocess.Popen(command, cwd=root(), stdout=printed, stderr=printed, env=_environment())
        while not done:
            peak = max(peak, peak_megabytes(process.pid))
            time.sleep(_GLANCE_SECONDS)
            # Popen.wait does not return what the process used.
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        clock = time.perf_counter() - began
        printed.seek(0)
        output = printed.read()
    return Spent(
        clock=clock, processor=usage.ru_utime + usage.ru_stime, megabytes=peak, output=output,
        failed=_failure(process.returncode, output),
    )  # fmt: skip


def watch(command: Sequence[str]) -> Spent:
    """Run a command that starts a cluster; its memory is that of all its processes, and so is its processor time.

    Both are read every two seconds, so the processor time of the last two is missing.
    """
    with tempfile.TemporaryFile("w+") as printed:
        began, most = time.perf_counter(), 0.0
        processor: dict[int, float] = {}
        process = subprocess.Popen(command, cwd=root(), stdout=printed, stderr=printed, env=_environment())
        while process.poll() is None:
            memory, times = _tree(process.pid)
            most, processor = max(most, memory), processor | times
            time.sleep(_LOOK_SECONDS)
        clock = time.perf_counter() - began
        printed.seek(0)
        output = printed.read()
    return Spent(
        clock=clock, processor=sum(processor.values()), megabytes=most / 1e6, output=output,
        failed=_failure(process.returncode, output),
    )  # fmt: skip


def peak_megabytes(pid: int | str) -> float:
    """Largest resident memory of a process so far.

    Not ``ru_maxrss``: a process begins with that of the one that started it.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def ask(module: str, *arguments: str) -> Any:
    """Run a module of the benchmark in a process of its own; returns what its last line says, as JSON."""
    spent = spend([sys.executable, "-m", module, *arguments])
    if spent.failed:
        raise RuntimeError(f"{module}: {spent.failed}")
    return json.loads(spent.output.splitlines()[-1])


def _tree(pid: int) -> tuple[float, dict[int, float]]:
    """Proportional set size of a process and all below it, bytes, and the processor seconds of each by its id."""
    total = 0.0
    times: dict[int, float] = {}
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return total, times
    for process in processes:
        try:
            total += process.memory_full_info().pss
            used = process.cpu_times()
            times[process.pid] = used.user + used.system
        except psutil.Error:
            continue
    return total, times


def _failure(code: int, output: str) -> str | None:
    lines = output.strip().splitlines()
    return f"exit code {code}: {lines[-1] if lines else ''}" if code else None


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root()), "RAY_USAGE_STATS_ENABLED": "0"}
