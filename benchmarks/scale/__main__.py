"""What work on a corpus of LUPerson's size costs: a synthetic corpus is made, or used again, and measured.

python -m benchmarks.scale --keep /tmp/luperson
python -m benchmarks.scale --keep /tmp/luperson --only plan queries
python -m benchmarks.scale --videos 463
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.captions.reading import about
from benchmarks.scale.corpus_growth import grow
from benchmarks.scale.looks import COUNT
from benchmarks.scale.parts import PARTS, count_files, linked, publish
from benchmarks.scale.settings import EMBEDDED_SHARE, VIDEOS
from benchmarks.scale.verdicts import show
from pipeline.errors import UserError

log = logging.getLogger("reidforge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the corpus, measure the parts, print one table; returns 1 if a goal is missed."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)
    if options.keep:
        try:
            return _measure(options.keep.absolute(), options)
        except UserError as error:
            print(f"scale: {error}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="reidforge-scale-") as folder:
        return _measure(Path(folder) / "corpus", options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="corpus folder to make and keep; one that is there is used again")
    parser.add_argument("--only", nargs="*", choices=[*PARTS], help="parts to measure; none: only make the corpus")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="LUPerson has 46,260; each is 22 chunks")
    parser.add_argument("--embedded", type=float, default=EMBEDDED_SHARE, help="share of the packs that are embedded")
    parser.add_argument(
        "--publish", action=argparse.BooleanOptionalAction, default=True, help="whether to write a manifest"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jpeg-height", type=int, default=32, help="height of the stored pictures, pixels")
    parser.add_argument("--looks", type=int, default=COUNT, help="number of different persons")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes that make the corpus")
    return parser


def _measure(folder: Path, options: argparse.Namespace) -> int:
    began = time.perf_counter()
    grow(
        folder, videos=options.videos, embedded=options.embedded, seed=options.seed, jpeg_height=options.jpeg_height,
        looks=options.looks, processes=options.processes,
    )  # fmt: skip
    if options.publish:
        publish(folder)
    log.info("the corpus took %.0f s", time.perf_counter() - began)
    parts = PARTS if options.only is None else options.only
    if not parts:
        return 0
    lines = []
    with linked(folder) as place:
        for name in parts:
            log.info("measuring %s", name)
            for line in PARTS[name](place):
                # A part may take minutes, and a later one may fail.
                log.info("%s", line)
                lines.append(line)
    files = count_files(folder)
    title = f"{options.videos:,} videos, {files['crops']:,} packs of crops, {sum(files.values()):,} files"
    show(lines, title)
    print(f"load while measured {os.getloadavg()[0]:.1f}; {about()}")
    return 0 if all(line.met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
