"""Look at how well features find a person again, on hand-labelled crops of a street video. For looking, never training.

    python tools/measure_reid.py labels.json vtest.avi osnet_x1_0_msmt17.pt

Each crop is searched among the others, those of the same person within ``gap`` frames left out; rank-1 and mean
average precision, as on Market-1501 (Zheng et al., ICCV 2015).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from build_embedded_clip import ROOT

from stages.embed.config import EmbedConfig
from stages.embed.model import ClipModel
from stages.embed.reid import ReidConfig, ReidModel
from stages.embed.tables import ImageEncoder

GAPS = (0, 20, 100, 200)


def read_crops(labels: list[dict[str, Any]], video: Path) -> list[npt.NDArray[np.uint8]]:
    """RGB crops in the order of the labels."""
    capture, frames = cv2.VideoCapture(str(video)), {}
    wanted = {crop["frame"] for crop in labels}
    for number in range(max(wanted) + 1):
        found, frame = capture.read()
        if not found:
            raise SystemExit(f"{video}: ended before frame {number}; the labels name frame {max(wanted)}")
        if number in wanted:
            frames[number] = frame
    boxes = [[max(0, round(edge)) for edge in crop["box"]] for crop in labels]
    return [
        frames[crop["frame"]][top:bottom, left:right, ::-1].copy()
        for crop, (left, top, right, bottom) in zip(labels, boxes, strict=True)
    ]


def search(features: npt.NDArray[np.float32], people: Sequence[str], frames: Sequence[int], gap: int) -> list[float]:
    """Queries that have somebody to find, their rank-1 and their mean average precision."""
    names, times = np.array(people), np.array(frames)
    first: list[bool] = []
    precision: list[float] = []
    for query, likeness in enumerate(features @ features.T):
        others = np.flatnonzero((names != names[query]) | (abs(times - times[query]) > gap))
        hits = (names[others] == names[query])[np.argsort(-likeness[others], kind="stable")]
        if hits.any():
            first.append(hits[0])
            precision.append((np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)).mean())
    return [len(first), float(np.mean(first)), float(np.mean(precision))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print rank-1 and mAP of the embedded CLIP and of OSNet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("weights", help="OSNet x1.0")
    options = parser.parse_args(arguments)
    labels = json.loads(options.labels.read_text())["crops"]
    images = read_crops(labels, options.video)
    people, frames = [crop["identity"] for crop in labels], [crop["frame"] for crop in labels]
    clip = ClipModel(EmbedConfig(model=str(ROOT / "models" / "reidforge-clip-s"), pretrained=None))
    models: dict[str, ImageEncoder] = {"embedded CLIP": clip, "OSNet": ReidModel(ReidConfig(model=options.weights))}
    for name, model in models.items():
        features = model.encode_images(images)
        for gap in GAPS:
            queries, rank1, precision = search(features, people, frames, gap)
            print(f"{name:14} gap {gap:4}  {queries:3.0f} queries  rank-1 {rank1:.4f}  mAP {precision:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
