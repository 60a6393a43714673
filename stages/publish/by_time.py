"""Splits of a corpus of one video: each is a stretch of its time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.publish.config import PublishConfig

Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64]


class Stretch(NamedTuple):
    """Half-open interval of time: ``start <= t < end``."""

    split: str
    start: float
    end: float


@dataclass(frozen=True)
class ByTime:
    """Split plan of a corpus of one video: each split is a stretch of its time."""

    video: str
    stretches: tuple[Stretch, ...]
    unit: str
    """``s``, or ``frames`` if all crops have the same time."""
    statement: str
    """How the corpus was split, for users."""
    split_of_track: Mapping[str, str] = field(default_factory=dict)
    """Split of the tracklets that cross a border or its guard."""

    def __call__(self, video_id: "pa.Array[Any]", pts_s: Numbers, frame_index: Numbers) -> "pa.Array[Any]":
        """Split of every crop; null in the guard before a border. Arguments as in ``plan_splits``."""
        moments = _clock(pts_s, frame_index, self.unit)
        inside = np.asarray(pc.equal(video_id, pa.scalar(self.video)))
        split = np.full(len(moments), None, dtype=object)
        for stretch in self.stretches:
            split[inside & (moments >= stretch.start) & (moments < stretch.end)] = stretch.split
        return pa.array(split, pa.string())


def plan_by_time(
    video: str, pts_s: Numbers, frame_index: Numbers, shares: Mapping[str, float], config: PublishConfig
) -> ByTime:
    """Cut a video's time into one stretch per split, in the order of ``shares``.

    Args:
        video: The video.
        pts_s: Presentation times of its crops, float64 [N], seconds, N > 0.
        frame_index: Their frame numbers, int64 [N].
        shares: Share of the crops by split, summing to 1.
        config: Length of the segments that are never divided, and of the guard before a border.
    """
    unit = "s" if np.ptp(pts_s) > 0 else "frames"
    moments = _clock(pts_s, frame_index, unit)
    segment = _segment(float(np.ptp(moments)), len(shares), config.time_segment_seconds)
    borders = _borders(moments, shares, segment)
    guards = (min(config.time_guard_seconds, segment / 2), 0.0)
    plans = [_stretches(borders, list(shares), guard) for guard in guards]
    stretches = next((plan for plan in plans if all(_count(moments, plan))), plans[-1])
    return ByTime(video, stretches, unit, _describe(moments, stretches, list(shares), unit))


def _clock(pts_s: Numbers, frame_index: Numbers, unit: str) -> npt.NDArray[np.float64]:
    return np.asarray(pts_s if unit == "s" else frame_index, np.float64)


def _segment(span: float, splits: int, wanted: float) -> float:
    """Length of a segment: as configured, but short enough for two per split."""
    return min(wanted, span / (2 * splits)) or wanted


def _borders(moments: npt.NDArray[np.float64], shares: Mapping[str, float], segment: float) -> list[float]:
    """Starts of the stretches, on the segment borders that match the shares best; ends with infinity."""
    start = float(moments.min())
    numbers, counts = np.unique(np.floor((moments - start) / segment).astype(np.int64), return_counts=True)
    before = np.concatenate([[0.0], np.cumsum(counts) / len(moments)])
    wanted = np.cumsum(list(shares.values()))[:-1]
    edges = [0]
    for position, share in enumerate(wanted):
        low, high = edges[-1] + 1, len(numbers) - (len(wanted) - position)
        if low > high:
            break
        edges.append(low + int(np.abs(before[low : high + 1] - share).argmin()))
    return [start + segment * float(numbers[edge]) for edge in edges] + [np.inf]


def _stretches(borders: list[float], splits: list[str], guard: float) -> tuple[Stretch, ...]:
    pairs = zip(splits, borders, borders[1:], strict=False)
    return tuple(Stretch(split, start, end - guard) for split, start, end in pairs)


def _count(moments: npt.NDArray[np.float64], stretches: tuple[Stretch, ...]) -> list[int]:
    return [int(((moments >= start) & (moments < end)).sum()) for _, start, end in stretches]


def _describe(moments: npt.NDArray[np.float64], stretches: tuple[Stretch, ...], splits: list[str], unit: str) -> str:
    last = float(moments.max())
    counts = _count(moments, stretches)
    parts = [
        f"{split} {start:.1f}-{min(end, last):.1f} {unit} ({count} crops)"
        for (split, start, end), count in zip(stretches, counts, strict=True)
    ]
    left_out = len(moments) - sum(counts)
    guard = f"; {left_out} crops just before a border are in no split" if left_out else ""
    empty = f"; {' and '.join(splits[len(stretches) :])} empty, too few moments" if len(stretches) < len(splits) else ""
    return f"one video, so split by time and not by video: {', '.join(parts)}{guard}{empty}"
