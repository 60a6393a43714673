"""Train, val and test: by video, or by stretches of time if a corpus has one video."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.publish.by_time import ByTime, Numbers, plan_by_time
from stages.publish.config import SPLITS, PublishConfig


@dataclass(frozen=True)
class ByVideo:
    """Split plan of a corpus of several videos: each is in one split."""

    split_of: Mapping[str, str]
    statement: str
    """How the corpus was split, for users."""

    def __call__(self, video_id: "pa.Array[Any]", pts_s: Numbers, frame_index: Numbers) -> "pa.Array[Any]":  # noqa: ARG002
        """Split of every crop; null if the plan does not know its video. Arguments as in ``plan_splits``."""
        known = pa.array(list(self.split_of), pa.string())
        splits = pa.array(list(self.split_of.values()), pa.string())
        return splits.take(pc.index_in(video_id, value_set=known))


SplitPlan = ByVideo | ByTime
"""Called with the columns video_id, pts_s and frame_index of crops, returns their splits."""


def plan_splits(video_id: "pa.Array[Any]", pts_s: Numbers, frame_index: Numbers, config: PublishConfig) -> SplitPlan:
    """Plan the splits of a corpus.

    Args:
        video_id: Strings [N], one per crop that may enter the manifest.
        pts_s: Presentation times, float64 [N], seconds.
        frame_index: Frame numbers, int64 [N].
        config: Shares, seed, and how one video is cut.

    Returns:
        A plan to call with the columns of any of those crops, in any order; its ``statement`` says what was done.
    """
    videos: list[Any]
    crops: list[Any]
    videos, crops = (column.to_pylist() for column in pc.value_counts(video_id).flatten())
    counts = dict(zip(videos, crops, strict=True))
    shares = _shares(config)
    if len(counts) == 1 and len(shares) > 1:
        return plan_by_time(next(iter(counts)), pts_s, frame_index, shares, config)
    return split_videos(counts, config)


def split_videos(counts: Mapping[str, int], config: PublishConfig) -> ByVideo:
    """Plan the splits of a corpus of several videos.

    Args:
        counts: Crops that may enter the manifest, by video.
        config: Shares and seed.
    """
    shares = _shares(config)
    split_of = assign_splits(list(counts.items()), shares, config.split_seed)
    return ByVideo(split_of, _describe(counts, split_of, list(shares)))


def _shares(config: PublishConfig) -> dict[str, float]:
    return {str(split): config.splits[split] for split in SPLITS if split in config.splits}


def assign_splits(videos: Sequence[tuple[str, int]], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Assign videos to splits so that the number of crops in each split is close to its share.

    Large videos are assigned first, each to the split that lacks most crops. The last videos are reserved for splits
    that would otherwise be empty.

    Args:
        videos: (video_id, crops), in any order. Videos without crops are not assigned.
        shares: Share of the crops by split, summing to 1; ties go to the split named first.
        seed: Determines the order of videos of about the same size.

    Returns:
        Split by video_id. With fewer videos than splits, those with the smallest shares are empty.
    """
    dealt = sorted((item for item in videos if item[1] > 0), key=lambda item: _rank(item[0], item[1], seed))
    lacking = {split: share * sum(crops for _, crops in dealt) for split, share in shares.items()}
    empty = list(shares)
    result: dict[str, str] = {}
    for left, (video, crops) in zip(range(len(dealt), 0, -1), dealt, strict=True):
        split = max(empty if len(empty) >= left else shares, key=lambda name: lacking[name])
        lacking[split] -= crops
        empty = [name for name in empty if name != split]
        result[video] = split
    return result


def _rank(video: str, crops: int, seed: int) -> tuple[int, str]:
    # The seed orders videos within a factor of two; after sorting by exact size it would have no effect.
    return -crops.bit_length(), hashlib.sha256(f"{seed}/{video}".encode()).hexdigest()


def _describe(counts: Mapping[str, int], split_of: Mapping[str, str], splits: Sequence[str]) -> str:
    members = {split: [counts[video] for video, where in split_of.items() if where == split] for split in splits}
    parts = [f"{split} {sum(crops)} crops of {len(crops)}" for split, crops in members.items() if crops]
    empty = [split for split, crops in members.items() if not crops]
    shortage = f"; {' and '.join(empty)} empty, as there are {len(counts)} videos" if empty else ""
    return f"split by video: {', '.join(parts) or 'no crops'}{' videos' if parts else ''}{shortage}"
