"""Runs a contender in its own process tree and measures it: wall clock, CPU time, memory."""

import dataclasses
import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
VIDEO = ROOT / "demo/street.mp4"
WEIGHTS = ROOT / "models/yolo26n.pt"
WEIGHTS_SHA256 = "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef"

# The demo's rules: its camera is far away, and LUPerson's rules would leave too few crops to matter.
MIN_CONFIDENCE, MIN_WIDTH, MIN_ASPECT, MAX_ASPECT = 0.5, 22, 1.5, 5.0
FLOOR = 0.25
JPEG_QUALITY = 95

_SAMPLE_S = 0.5
_MEMORY_EVERY = 10  # samples; summing the pages of a process tree at each sample takes a tenth of a core


@dataclasses.dataclass(frozen=True)
class Task:
    """The task of a contender."""

    copies: int
    """Number of copies of the video; each is a separate video."""
    every: int
    """Every n-th frame."""
    cores: int
    weights: str = str(WEIGHTS)
    video: str = str(VIDEO)

    @classmethod
    def given(cls) -> "Task":
        """The task on the command line of a contender."""
        return cls(**json.loads(sys.argv[1]))


@dataclasses.dataclass(frozen=True)
class Reading:
    """Measurements of a run."""

    frames: int
    crops: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def keeps(x1: float, y1: float, x2: float, y2: float, confidence: float) -> bool:
    """Whether the rules keep a box; for contenders without rules."""
    width, height = x2 - x1, y2 - y1
    return confidence > MIN_CONFIDENCE and width > MIN_WIDTH and MIN_ASPECT * width <= height <= MAX_ASPECT * width


def run(contender: str, task: Task, python: str = sys.executable) -> Reading:
    """Run a contender on the first cores of this machine, in a scratch folder, and measure it.

    Raises:
        RuntimeError: It failed; the end of its error output is in the message.
    """
    command = [python, "-m", f"benchmarks.detect.contenders.{contender}", json.dumps(dataclasses.asdict(task))]
    with tempfile.TemporaryDirectory(prefix="reidforge-bench-") as scratch, Path(scratch, "said").open("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=scratch, env=_environment(), stdout=subprocess.PIPE, stderr=said, text=True
        )
        os.sched_setaffinity(process.pid, set(sorted(os.sched_getaffinity(0))[: task.cores]))
        watch = _Watch(process.pid)
        printed, _ = process.communicate()
        seconds = time.perf_counter() - began
        cpu_seconds, peak_mb = watch.stop()
        said.seek(0)
        if process.returncode:
            raise RuntimeError(f"{contender} failed: {said.read()[-1500:]}")
    counted = json.loads(printed.strip().splitlines()[-1])
    reading = Reading(counted["frames"], counted["crops"], seconds, cpu_seconds, peak_mb)
    print(f"{contender}, {task.copies} copies: {reading.frames} frames in {seconds:.1f} s", file=sys.stderr)
    return reading


def rate(less: Reading, more: Reading) -> float:
    """Frames per second of a run's additional frames over a smaller run: start-up does not count."""
    return (more.frames - less.frames) / (more.seconds - less.seconds)


def report(frames: int, crops: int) -> None:
    """Print a contender's result as its last line."""
    print(json.dumps({"frames": frames, "crops": crops}))


def machine(cores: int) -> str:
    """This machine and the versions that matter, one line each."""
    names = ("torch", "onnxruntime", "openvino", "ultralytics", "ray", "opencv-python", "av")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} -")
    model = next((line for line in _cpu_info() if line.startswith("model name")), platform.processor())
    return (
        f"{cores} cores of {model.partition(':')[2].strip() or model}, Python {platform.python_version()}\n"
        + ", ".join(found)
    )


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _environment() -> dict[str, str]:
    offline = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**offline, **os.environ, "PYTHONPATH": str(ROOT), "YOLO_VERBOSE": "False"}


class _Watch:
    """Sums CPU time and memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._cpu: dict[tuple[int, float], float] = {}
        self._peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """CPU seconds, and the largest sum of proportional set sizes in MB."""
        self._done.set()
        self._thread.join()
        return sum(self._cpu.values()), self._peak

    def _loop(self) -> None:
        for number in itertools.count():
            if self._done.wait(_SAMPLE_S):
                break
            pss = 0.0
            for process in self._tree():
                try:
                    times = process.cpu_times()
                    self._cpu[process.pid, process.create_time()] = times.user + times.system
                    pss += process.memory_full_info().pss / 1e6 if number % _MEMORY_EVERY == 0 else 0
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self._peak = max(self._peak, pss)

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
