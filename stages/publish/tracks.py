"""Tracklets and splits: a tracklet that crosses a border in time is assigned to the side of most of its crops."""

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pyarrow as pa

from stages.publish.by_time import ByTime
from stages.publish.config import SPLITS
from stages.publish.splits import SplitPlan


def keep_tracks_whole(plan: SplitPlan, tracks: "pa.ChunkedArray[Any]", splits: "pa.Array[Any]") -> SplitPlan:
    """Add to a plan the split of tracklets that would be in several. Splits by video have no such tracklets.

    Args:
        plan: Plan of the corpus.
        tracks: track_id of each crop that may enter the manifest.
        splits: Split of each by the plan; null in the guard before a border.
    """
    if not isinstance(plan, ByTime):
        return plan
    seen: dict[str, Counter[str | None]] = defaultdict(Counter)
    for track, split in zip(tracks.to_pylist(), splits.to_pylist(), strict=True):
        if track is not None:
            seen[track][split] += 1
    crossing = {track: counts for track, counts in sorted(seen.items()) if len(counts) > 1}
    if not crossing:
        return plan
    chosen = {track: max(SPLITS, key=lambda split: counts[split]) for track, counts in crossing.items()}
    statement = f"{plan.statement}; {len(chosen)} tracklets that cross a border or its guard are whole on one side"
    return replace(plan, split_of_track=chosen, statement=statement)


def with_tracks_whole(plan: SplitPlan, tracks: "pa.ChunkedArray[Any]", splits: "pa.Array[Any]") -> "pa.Array[Any]":
    """Splits of crops, with each tracklet in one split."""
    if not isinstance(plan, ByTime) or not plan.split_of_track:
        return splits
    track_ids: list[Any] = tracks.to_pylist()
    named = (plan.split_of_track.get(track) for track in track_ids)
    return pa.array([name or split for name, split in zip(named, splits.to_pylist(), strict=True)], pa.string())
