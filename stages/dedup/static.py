"""Persons that never move: the same box and the same appearance over a whole video."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.boxes import Boxes, iou
from stages.dedup.config import StaticConfig
from stages.detect.phash import hash_distances


@dataclass(frozen=True)
class Static:
    """One poster or mannequin.

    Attributes:
        rows: Its crops, int64 [n], in order of time.
        span_s: Seconds from the first to the last.
        seen_share: Share of the video's frames with crops that contain a crop of it.
    """

    rows: npt.NDArray[np.int64]
    span_s: float
    seen_share: float


def find_statics(
    boxes: Boxes,
    frames: npt.NDArray[np.int64],
    pts_s: npt.NDArray[np.float64],
    hashes: npt.NDArray[np.uint64],
    config: StaticConfig,
) -> list[Static]:
    """Find the crops of persons that never move in a video from a fixed camera.

    Args:
        boxes: float32 [N, 4] of the video's crops: x1, y1, x2, y2, pixels.
        frames: Frame of each crop, int64 [N].
        pts_s: Time of each crop, float64 [N], seconds.
        hashes: Perceptual hash of each crop, uint64 [N].
        config: Thresholds.

    Returns:
        In order of first appearance.
    """
    if not len(frames) or np.ptp(pts_s) < config.min_seconds:
        return []
    total = len(np.unique(frames))
    places = (_of_one_look(rows, hashes, config) for rows in _places(boxes, frames, config.min_iou))
    found = [
        Static(rows, float(np.ptp(pts_s[rows])), len(np.unique(frames[rows])) / total) for rows in places if len(rows)
    ]
    least = max(config.min_seconds, config.min_span * float(np.ptp(pts_s)))
    return [one for one in found if one.span_s >= least and one.seen_share >= config.min_seen]


def _places(boxes: Boxes, frames: npt.NDArray[np.int64], min_iou: float) -> list[npt.NDArray[np.int64]]:
    """Crops by place: each joins the place whose first crop it overlaps most, or opens a new one."""
    anchors = np.empty((0, 4), np.float32)
    members: list[list[int]] = []
    for row in np.lexsort((np.arange(len(frames)), frames)):
        overlap = iou(boxes[row], anchors)
        best = int(overlap.argmax()) if len(overlap) else -1
        if best >= 0 and overlap[best] >= min_iou:
            members[best].append(int(row))
        else:
            anchors = np.vstack([anchors, boxes[row]])
            members.append([int(row)])
    return [np.array(rows, np.int64) for rows in members]


def _of_one_look(
    rows: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], config: StaticConfig
) -> npt.NDArray[np.int64]:
    """Crops of a place that look like most of them: their hashes are near the hash of the majority's bits.

    A passer-by in front of a poster fills its box for a moment, and is not the poster.
    """
    bits = np.unpackbits(hashes[rows].astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    typical = np.packbits(bits.mean(0) > 0.5).view(">u8").astype(np.uint64)
    return rows[hash_distances(hashes[rows], typical)[:, 0] <= config.max_hash_distance]
