"""Rows of the tracks table."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.tables
from stages.detect.crops import crop_id
from stages.track.config import TrackConfig
from stages.track.tracker import track_video

DETECTION_COLUMNS: Final = ("detection_id", "video_id", "frame_index", "x1", "y1", "x2", "y2", "confidence")
"""Columns of detections that tracking reads."""


def tracks_table(
    detections: pa.Table,
    config: TrackConfig,
    *,
    unit_id: str,
    step: int,
    fps: float,
    features: Mapping[str, int] | None = None,
    vectors: npt.NDArray[np.floating] | None = None,
) -> pa.Table:
    """Track one video.

    Args:
        detections: All of its detections, kept or not, at least ``DETECTION_COLUMNS``, in any order.
        config: Tracker and thresholds.
        unit_id: Unit that the rows will belong to.
        step: Frames from one sampled frame to the next.
        fps: Mean frames per second.
        features: Row of ``vectors`` by crop_id, for ``config.appearance``.
        vectors: float16 or float32 [M, D], rows of unit L2 norm.

    Returns:
        Rows of ``schemas.tables.TRACKS``, by frame: every detection that belongs to a tracklet.
    """
    ids = np.asarray(detections["detection_id"].to_pylist(), dtype="U")
    # One order, whatever files the rows come from: the tracker breaks ties by position.
    order = np.lexsort((ids, detections["frame_index"].to_numpy()))
    rows = detections.take(order)
    frames = rows["frame_index"].to_numpy()
    boxes = np.stack([rows[name].to_numpy() for name in DETECTION_COLUMNS[3:]], axis=1).astype(np.float32)
    names: list[Any] = rows["detection_id"].to_pylist()
    looks = (
        _looks(names, features or {}, vectors) if config.appearance and vectors is not None and len(vectors) else None
    )
    numbers = track_video(frames, boxes, config, step=step, fps=fps, features=looks)
    seen = np.bincount(numbers[numbers >= 0], minlength=1) * step
    chosen = np.flatnonzero(numbers >= 0)
    found = [
        {"track_id": f"{video}/t{number}", "track_frames": int(seen[number]), "unit_id": unit_id}
        for video, number in zip(rows["video_id"].take(chosen).to_pylist(), numbers[chosen], strict=True)
    ]
    kept = rows.select(["detection_id", "video_id", "frame_index"]).take(chosen).to_pylist()
    merged = [one | other for one, other in zip(kept, found, strict=True)]
    return pa.Table.from_pylist(merged, schema=schemas.tables.TRACKS)


def _looks(names: list[str], features: Mapping[str, int], vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    rows = np.array([features.get(crop_id(name), -1) for name in names], np.int64)
    looks = vectors[rows].astype(np.float32)
    looks[rows < 0] = 0
    return looks
