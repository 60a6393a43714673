"""Look at what the embedded CLIP reads from real, hand-labelled crops of a street video. For looking, never training.

    python tools/measure_street.py labels.json vtest.avi

The labels name persons, each with acceptable answers per attribute, and crops: frame, box (xyxy, pixels), identity.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from build_embedded_clip import ROOT, Reader

from stages.caption.bank import load_bank
from stages.embed.config import EmbedConfig
from stages.embed.model import ClipModel

ATTRIBUTES = ("gender", "upper_colour", "lower_colour", "hair", "upper", "lower")


def crops(labels: dict[str, Any], video: Path) -> Iterator[tuple[dict[str, Any], np.ndarray[Any, Any]]]:
    """The labelled persons, each with one RGB crop."""
    capture, wanted = cv2.VideoCapture(str(video)), {}
    for crop in labels["crops"]:
        wanted.setdefault(crop["frame"], []).append(crop)
    for number in range(max(wanted) + 1):
        found, frame = capture.read()
        if not found:
            raise SystemExit(f"{video}: ended before frame {number}; the labels name frame {max(wanted)}")
        for crop in wanted.get(number, []):
            left, top, right, bottom = (max(0, round(edge)) for edge in crop["box"])
            yield labels["identities"][crop["identity"]], frame[top:bottom, left:right, ::-1].copy()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, per attribute, how many of the labelled crops were read rightly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "reidforge-clip-s")
    options = parser.parse_args(arguments)
    people, images = zip(*crops(json.loads(options.labels.read_text()), options.video), strict=True)
    reader = Reader(ClipModel(EmbedConfig(model=str(options.model), pretrained=None)), load_bank("unipt14"))
    read = reader.read_images(images)
    for name in ATTRIBUTES:
        right = [row[name] in person[name] for row, person in zip(read, people, strict=True) if person.get(name)]
        print(f"{name:14} {sum(right):4} of {len(right):4}  {np.mean(right) if right else float('nan'):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
