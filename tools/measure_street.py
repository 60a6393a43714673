"""Look at what the embedded CLIP reads from real, hand-labelled crops of a street video. For looking, never training.

    python tools/measure_street.py labels.json vtest.avi

The labels are those of ``stages.caption.readers.read_street``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from build_embedded_clip import ROOT, read

from stages.caption.bank import load_bank
from stages.caption.readers import LabelError, read_street
from stages.embed.config import EmbedConfig
from stages.embed.model import ClipModel

ATTRIBUTES = ("gender", "upper_colour", "lower_colour", "hair", "upper", "lower")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, per attribute, how many of the labelled crops were read rightly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "reidforge-clip-s")
    options = parser.parse_args(arguments)
    try:
        crops = list(read_street(options.labels, options.video))
    except LabelError as error:
        raise SystemExit(str(error)) from error
    model = ClipModel(EmbedConfig(model=str(options.model), pretrained=None))
    attributes = read(model, load_bank("unipt14"), [crop.read() for crop in crops])
    found = [{item["attribute"]: item["value"] for item in row} for row in attributes.to_pylist()]
    for name in ATTRIBUTES:
        right = [row[name] in crop.truth[name] for row, crop in zip(found, crops, strict=True) if name in crop.truth]
        print(f"{name:14} {sum(right):4} of {len(right):4}  {np.mean(right) if right else float('nan'):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
