"""Rendered pedestrians as rows of a manifest."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from evaluation.render.person import render_sample
from evaluation.render.textures import Picture
from schemas.tables import MANIFEST
from stages.arrays import Grey
from stages.detect.quality import sharpness
from stages.errors import UnitError

Describe = Callable[[Mapping[str, str], int], list[str]]
"""Writes the captions of a person from its truth and its index in the series."""

LICENSE = "AGPL-3.0-or-later"

_REGIONS: Mapping[str, str] = {
    "hair": "head",
    "glasses": "head",
    "hat": "head",
    "smoke": "head",
    "upper": "upper",
    "upper_colour": "upper",
    "upper_pattern": "upper",
    "lower": "lower",
    "lower_colour": "lower",
}


def render_table(
    seed: int,
    start: int,
    count: int,
    *,
    jpeg_quality: int = 85,
    split: str = "train",
    describe: Describe | None = None,
) -> pa.Table:
    """Render a stretch of a series as a manifest.

    Args:
        seed: Seed of the series.
        start: Index of the first crop.
        count: Number of crops.
        jpeg_quality: Quality of the stored JPEG, 1 to 100.
        split: Split of all rows.
        describe: Writes the captions of a crop from its truth and index; None = no captions.

    Returns:
        A table of ``schemas.tables.MANIFEST``, ``count`` rows in order.

    Raises:
        UnitError: A number is out of range.
    """
    if seed < 0 or start < 0 or count < 0 or not 1 <= jpeg_quality <= 100:
        message = (
            f"seed {seed}, start {start}, count {count}, jpeg_quality {jpeg_quality}: the first three must not be "
            "negative, the quality is 1 to 100"
        )
        raise UnitError(message, kind="bad_range")
    rows = list(_rows(seed, range(start, start + count), jpeg_quality, split, describe))
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def _rows(seed: int, indices: range, quality: int, split: str, describe: Describe | None) -> Iterator[dict[str, Any]]:
    """The rows of these indices; other columns are null."""
    for index in indices:
        picture, truth = render_sample(seed, index)
        height, width = picture.shape[:2]
        yield {
            "crop_id": hashlib.sha1(f"render:{seed}/{index}".encode(), usedforsecurity=False).hexdigest()[:16],
            "video_id": f"render:{seed}",
            "unit_id": f"render:{seed}/{indices.start}",
            "frame_index": index,
            "pts_s": float(index),
            "x1": 0.0,
            "y1": 0.0,
            "x2": float(width),
            "y2": float(height),
            "frame_width": width,
            "frame_height": height,
            "confidence": 1.0,
            "width": width,
            "height": height,
            "sharpness": sharpness(_grey(picture)),
            "split": split,
            "captions": describe(truth, index) if describe else [],
            "attributes": [_reading(attribute, value) for attribute, value in truth.items()],
            "license": LICENSE,
            "jpeg": _jpeg(picture, quality),
        }


def _reading(attribute: str, value: str) -> dict[str, Any]:
    """A truth in the form of a captioner's readings, with probability 1."""
    return {
        "attribute": attribute,
        "region": _REGIONS.get(attribute, "whole"),
        "phrase": value,
        "value": value,
        "probability": 1.0,
        "margin": 1.0,
        "used": True,
    }


def _grey(picture: Picture) -> Grey:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _jpeg(picture: Picture, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise UnitError(f"OpenCV could not encode a crop of {picture.shape} as JPEG", kind="encode")
    return bytes(data)
