"""Make a synthetic corpus of LUPerson's size.

python -m benchmarks.scale /tmp/luperson
python -m benchmarks.scale /tmp/small --videos 463
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scale.corpus_growth import grow
from benchmarks.scale.looks import COUNT
from benchmarks.scale.settings import EMBEDDED_SHARE, VIDEOS


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the corpus."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--embedded", type=float, default=EMBEDDED_SHARE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jpeg-height", type=int, default=32)
    parser.add_argument("--looks", type=int, default=COUNT)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    logging.getLogger("reidforge").setLevel(logging.INFO)
    began = time.perf_counter()
    grow(**vars(options))
    print(f"{time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
