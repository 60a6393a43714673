"""Scaling with the amount of video: frames per second and memory over 1, 10 and 100 copies of the clip; one table.

Usage::

    python -m benchmarks.detect.linear --copies 1 10 100 --every 10

The rate of a run is that of its additional frames over the run before it: it shows whether a frame of the hundredth
copy costs as much as one of the tenth, without start-up.
"""

import argparse
import os
from itertools import pairwise

from benchmarks.detect.measure import Reading, Task, machine, rate, run, table

_HEAD = ["copies", "frames", "seconds", "frames/s of the additional frames", "peak MB"]


def main() -> None:
    """Run each size, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 10, 100])
    given = parser.parse_args()
    readings = [run("ours", Task(copies, given.every, given.cores)) for copies in given.copies]
    rates = ["", *(f"{rate(less, more):.1f}" for less, more in pairwise(readings))]
    rows = [_row(*of) for of in zip(given.copies, readings, rates, strict=True)]
    print(f"{machine(given.cores)}\nevery {given.every}th frame\n")
    print(table(_HEAD, rows))


def _row(copies: int, reading: Reading, pace: str) -> list[str]:
    return [f"{copies}", f"{reading.frames}", f"{reading.seconds:.0f}", pace, f"{reading.peak_mb:.0f}"]


if __name__ == "__main__":
    main()
