"""reidforge against the plain ultralytics loop, Daft, Ray Data's documentation, and the bare model; one table.

Usage::

    python -m benchmarks.detect.compare --daft-python /path/to/venv/with/daft/bin/python

Every contender runs twice, over few copies of the clip and over more. The rate is frames over seconds between the
two, so that start-up (Ray, models, imports) is a separate figure and not part of the rate. Start-up varies by ten
seconds and more between runs, so the second run must be long enough to make that negligible.
"""

import argparse
import json
import os
import subprocess
import sys

from benchmarks.detect.measure import ROOT, Reading, Task, machine, rate, run, table

OURS = "ours"
PEERS = {
    "ultralytics_loop": "(a) ultralytics loop",
    "daft_frames": "(b) Daft",
    "ray_docs": "(c) Ray Data, as documented",
}
BARE = {
    ("torch", 1): "PyTorch, all cores in one process",
    ("torch", 0): "PyTorch, one process per core",
    ("onnx", 0): "ONNX Runtime, one process per core",
}
_HEAD = ["", "frames/s", "reidforge is", "CPU ms/frame", "peak MB", "start s", "crops"]


def main() -> None:
    """Run every contender, and print the table."""
    given = _arguments()
    readings = {name: _twice(name, given) for name in [OURS, *PEERS] if name != "daft_frames" or given.daft_python}
    ours = rate(*readings[OURS])
    rows = [_row(PEERS.get(name, "reidforge"), *pair, ours) for name, pair in readings.items()]
    for (backend, processes), words in BARE.items():
        bare = _bare(backend, processes or given.cores, given)
        rows.append([f"(d) bare forward: {words}", f"{bare:.1f}", f"{ours / bare:.2f}x", "", "", "", ""])
    print(machine(given.cores))
    print(f"every {given.every}th frame, {given.copies[0]} and {given.copies[1]} copies of the clip\n")
    print(table(_HEAD, rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--copies", type=int, nargs=2, default=(1, 8))
    parser.add_argument("--bare-seconds", type=float, default=10)
    parser.add_argument("--daft-python", help="Python of an environment with Daft; without it, Daft is skipped")
    return parser.parse_args()


def _twice(name: str, given: argparse.Namespace) -> tuple[Reading, Reading]:
    python = given.daft_python if name == "daft_frames" else sys.executable
    few, many = (
        run(name, Task(copies=copies, every=given.every, cores=given.cores), python) for copies in given.copies
    )
    return few, many


def _row(words: str, few: Reading, many: Reading, ours: float) -> list[str]:
    pace, frames = rate(few, many), many.frames - few.frames
    cpu = (many.cpu_seconds - few.cpu_seconds) / frames * 1e3
    start = few.seconds - few.frames / pace
    numbers = [f"{pace:.1f}", f"{ours / pace:.2f}x", f"{cpu:.0f}", f"{many.peak_mb:.0f}", f"{start:.0f}", many.crops]
    return [words, *map(str, numbers)]


def _bare(backend: str, processes: int, given: argparse.Namespace) -> float:
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[: given.cores]))
    module = ["-m", "benchmarks.detect.contenders.bare", backend, str(processes), str(given.bare_seconds)]
    done = subprocess.run(
        ["taskset", "-c", cores, sys.executable, *module], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
