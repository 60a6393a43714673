"""Cost is linear: frames per second and memory over 1, 10 and 100 copies of the clip; one table.

Usage::

    python -m benchmarks.detect.linear --copies 1 10 100 --every 100

Sparse sampling keeps a run over hours of video short; what is measured is whether a frame of the hundredth copy costs
what one of the first costs, start-up apart.
"""

import argparse
import os

from benchmarks.detect.measure import Reading, Task, machine, run, table

_HEAD = ["copies", "frames", "seconds", "frames/s, start apart", "peak MB"]


def main() -> None:
    """Run each size, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 10, 100])
    given = parser.parse_args()
    idle = run("ours", Task(copies=1, every=10**6, cores=given.cores)).seconds
    rows = [_row(copies, run("ours", Task(copies, given.every, given.cores)), idle) for copies in given.copies]
    print(f"{machine(given.cores)}\nevery {given.every}th frame; one frame alone takes {idle:.1f} s, taken off below\n")
    print(table(_HEAD, rows))


def _row(copies: int, reading: Reading, idle: float) -> list[str]:
    rate = reading.frames / max(reading.seconds - idle, 1e-9)
    return [f"{copies}", f"{reading.frames}", f"{reading.seconds:.1f}", f"{rate:.1f}", f"{reading.peak_mb:.0f}"]


if __name__ == "__main__":
    main()
