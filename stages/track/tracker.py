"""Tracklets of one video, from its detections alone."""

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.track.assignment import provide_lap
from stages.track.config import TrackConfig

Numbers = npt.NDArray[np.int64]


def track_video(
    frames: Numbers,
    boxes: npt.NDArray[np.float32],
    config: TrackConfig,
    *,
    step: int,
    fps: float,
    features: npt.NDArray[np.float32] | None = None,
) -> Numbers:
    """Join the detections of a video to tracklets.

    The whole video is one pass, so tracklets do not depend on the chunks in which detections were found.

    Args:
        frames: Frame of each detection, int64 [N], ascending.
        boxes: float32 [N, 5]: x1, y1, x2, y2 in pixels, confidence.
        config: Tracker and thresholds.
        step: Frames from one sampled frame to the next.
        fps: Mean frames per second.
        features: float32 [N, D], one row per detection, zeros if unknown; for ``appearance``.

    Returns:
        Number of each detection's tracklet, int64 [N], from 0 in order of appearance; -1 for none. A tracklet begins
        with the second detection of a person, and with the first only in the first frame. A detection without a
        successor therefore has no tracklet.
    """
    tracker = _make_tracker(config, lost_steps=round(config.lost_seconds * fps / step))
    numbers = np.full(len(frames), -1, np.int64)
    for rows in _steps(frames, step, tracker.max_frames_lost):
        looks = None if features is None else features[rows]
        found = tracker.update(_results(boxes[rows]), feats=looks)
        if len(found):
            numbers[rows[found[:, -1].astype(np.int64)]] = found[:, 4].astype(np.int64)
    return _by_appearance(numbers)


def _steps(frames: Numbers, step: int, patience: int) -> Iterator[Numbers]:
    """Rows of each sampled frame. Frames without detections are steps too, until every tracklet is lost."""
    last: int | None = None
    for frame in np.unique(frames):
        silent = 0 if last is None else (int(frame) - last) // step - 1
        yield from (np.empty(0, np.int64) for _ in range(min(silent, patience + 2)))
        yield np.flatnonzero(frames == frame)
        last = int(frame)


def _by_appearance(numbers: Numbers) -> Numbers:
    known, first = np.unique(numbers[numbers >= 0], return_index=True)
    order = {int(known[position]): rank for rank, position in enumerate(np.argsort(first))}
    return np.array([order.get(int(number), -1) for number in numbers], np.int64)


def _make_tracker(config: TrackConfig, lost_steps: int) -> Any:
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    provide_lap()
    from ultralytics.trackers.bot_sort import BOTSORT
    from ultralytics.trackers.byte_tracker import BYTETracker

    arguments = SimpleNamespace(
        track_high_thresh=config.high_confidence,
        track_low_thresh=config.low_confidence,
        new_track_thresh=config.new_confidence,
        track_buffer=lost_steps,
        match_thresh=config.max_cost,
        fuse_score=True,
        # Camera motion is not compensated: that needs the frames, and only detections are stored.
        gmc_method="none",
        proximity_thresh=config.min_overlap,
        appearance_thresh=config.min_appearance,
        with_reid=config.appearance,
        model="auto",
    )
    return BOTSORT(arguments) if config.tracker == "botsort" else BYTETracker(arguments)


def _results(boxes: npt.NDArray[np.float32]) -> Any:
    """Detections of a frame in the form that ultralytics' trackers take."""
    from ultralytics.engine.results import Boxes

    person = np.zeros((len(boxes), 1), np.float32)
    return Boxes(np.hstack([boxes, person]), (1, 1))
