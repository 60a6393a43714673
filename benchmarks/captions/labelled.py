"""How truly labelled people are read, where you have a labelled set: PA-100K, PETA, Market-1501, or hand labels.

    python -m benchmarks.captions.labelled pa100k /data/PA-100K --model ViT-B-16-quickgelu --pretrained openai
    python -m benchmarks.captions.labelled peta /data/PETA --limit 5000
    python -m benchmarks.captions.labelled market1501 /data/Market-1501-v15.09.15 --split test
    python -m benchmarks.captions.labelled street

evaluation/captions/labelled_sets.py describes the formats. ``street`` comes with the repository: 75 crops of four
persons in the demo's video, labelled by eye; other labels and videos of that format may be given.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.captions.reading import REFUSALS, read_side_by_side, reading_options, root, show_readings
from evaluation.captions.labelled_sets import READERS, LabelError, Labelled, read_street

STREET_LABELS = root() / "benchmarks" / "captions" / "street.json"
STREET_VIDEO = root() / "demo" / "street.mp4"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, score, print; 2 when the set is not there or an option makes no sense."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", choices=[*READERS, "street"])
    parser.add_argument("path", type=Path, nargs="?", help="folder of the set; for street, a file of labels")
    parser.add_argument("--split", default="test")
    parser.add_argument("--video", type=Path, default=STREET_VIDEO, help="for street, the video that is labelled")
    parser.add_argument("--limit", type=int, default=2000, help="crops, drawn with a fixed seed; 0 = all")
    reading_options(parser)
    options = parser.parse_args(arguments)
    if options.set == "street":
        options.path = options.path or STREET_LABELS
    elif options.path is None:
        parser.error(f"{options.set} is not part of the repository; give its folder")
    try:
        crops = _drawn(options)
        readings = read_side_by_side([crop.read() for crop in crops], [crop.truth for crop in crops], options)
    except REFUSALS as error:
        print(f"labelled: {error}", file=sys.stderr)
        return 2
    show_readings(readings, len(crops), f"{options.set}, read by {options.model}")
    return 0


def _drawn(options: argparse.Namespace) -> list[Labelled]:
    street = options.set == "street"
    found = read_street(options.path, options.video) if street else READERS[options.set](options.path, options.split)
    crops = list(found)
    if not crops:
        raise LabelError(f"{options.path}: no labelled image is there")
    return random.Random(0).sample(crops, min(options.limit or len(crops), len(crops)))


if __name__ == "__main__":
    sys.exit(main())
