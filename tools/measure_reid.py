"""Measure how well features find a person again, on hand-labelled crops of a street video. Do not train on them.

    python -m tools.measure_reid osnet_x1_0_msmt17.pt

Each crop is searched among the others, except those of the same person within ``gap`` frames. Prints rank-1 and mean
average precision, as on Market-1501 (Zheng et al., ICCV 2015).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluation.captions.labelled_sets import read_street
from stages.embed.clip_model import ClipModel
from stages.embed.config import EMBEDDED, EmbedConfig
from stages.embed.embed_crops import ImageEncoder
from stages.embed.reid_model import ReidConfig, ReidModel
from stages.pictures import decode

ROOT = Path(__file__).resolve().parents[1]
GAPS = (0, 20, 100, 200)


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
    parser.add_argument("weights", help="OSNet x1.0; docs/dedup.md says where to get it")
    parser.add_argument("--labels", type=Path, default=ROOT / "benchmarks" / "captions" / "street.json")
    parser.add_argument("--video", type=Path, default=ROOT / "demo" / "street.mp4")
    options = parser.parse_args(arguments)
    try:
        crops = list(read_street(options.labels, options.video))
        network = ReidModel(ReidConfig(model=options.weights))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    images = [image for image in (decode(crop.read()) for crop in crops) if image is not None]
    # A crop's name is its frame and its person.
    frames, people = zip(*(crop.name.split("/") for crop in crops), strict=True)
    times = [int(frame) for frame in frames]
    clip = ClipModel(EmbedConfig(model=EMBEDDED, pretrained=None))
    models: dict[str, ImageEncoder] = {"embedded CLIP": clip, "OSNet": network}
    for name, model in models.items():
        features = model.encode_images(images)
        for gap in GAPS:
            queries, rank1, precision = search(features, people, times, gap)
            print(f"{name:14} gap {gap:4}  {queries:3.0f} queries  rank-1 {rank1:.4f}  mAP {precision:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
