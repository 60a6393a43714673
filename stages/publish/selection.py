"""Which crops enter a manifest, and why others do not."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.arrays import Column
from stages.errors import UnitError
from stages.publish.config import PublishConfig
from stages.publish.lookup import look_up
from stages.publish.marks import mark_column, reasons_by_mark
from stages.publish.splits import SplitPlan, plan_splits
from stages.publish.tracks import keep_tracks_whole, with_tracks_whole

CROP_COLUMNS = ("crop_id", "detection_id", "video_id", "frame_index", "pts_s", "sharpness")
"""Columns of crops that planning reads, without the bytes."""


def plan_manifest(crops: pa.Table, captions: pa.Table, videos: pa.Table, config: PublishConfig) -> SplitPlan:
    """Plan the splits of a variant over all of its crops.

    Args:
        crops: Every crop of the corpus, at least ``CROP_COLUMNS``, with their marks, if any (``marked``).
        captions: The variant's captions, at least crop_id and captions.
        videos: Every video, at least video_id and license.
        config: Selection and splits.

    Raises:
        UnitError: Two detections share one crop_id, or a crop appears in ``crops`` twice.
    """
    require_unique(crops)
    taken = crops.filter(pc.is_null(reasons(crops, captions, videos, config)))
    columns = taken["video_id"].combine_chunks(), taken["pts_s"].to_numpy(), taken["frame_index"].to_numpy()
    plan = plan_splits(*columns, config)
    return keep_tracks_whole(plan, mark_column(taken, "track_id", pa.string()), plan(*columns))


def reasons(crops: pa.Table, captions: pa.Table, videos: pa.Table, config: PublishConfig) -> "pa.Array[Any]":
    """First reason why each crop is left out of the manifest, whatever its split.

    Returns:
        Strings [N]: duplicate, static, track, sharpness, licence or caption; null for crops that enter it.
    """
    licence = look_up(videos, "video_id", crops["video_id"], "license")
    accepted = pa.array(config.licences or (), pa.string())
    sharp = pc.greater_equal(crops["sharpness"], pa.scalar(config.min_sharpness))
    shortest = config.min_track_frames or 0
    track_frames = mark_column(crops, "track_frames", pa.int64())
    rules = {
        **{
            reason: pc.and_(concerned, pa.scalar(not getattr(config, keep)))
            for reason, (keep, concerned) in reasons_by_mark(crops).items()
        },
        "track": pc.less(track_frames, pa.scalar(shortest)).fill_null(shortest > 0),
        "sharpness": pc.invert(sharp).fill_null(config.min_sharpness != 0),
        "licence": pc.and_(pc.invert(pc.is_in(licence, value_set=accepted)), pa.scalar(config.licences is not None)),
        "caption": pc.and_(pc.invert(_has_caption(crops, captions)), pa.scalar(config.require_caption)),
    }
    conditions = pc.make_struct(*rules.values(), field_names=list(rules))
    chosen = pc.case_when(conditions, *(pa.scalar(rule) for rule in rules), pa.scalar(None, pa.string()))
    return chosen.combine_chunks() if isinstance(chosen, pa.ChunkedArray) else chosen


def left_out(
    crops: pa.Table, captions: pa.Table, videos: pa.Table, split_of: SplitPlan, config: PublishConfig
) -> dict[str, int]:
    """How many crops are left out of the manifest, by reason; ``guard`` counts those in no split."""
    why = reasons(crops, captions, videos, config)
    between = pc.and_(pc.is_null(why), pc.is_null(splits_of(crops, split_of)))
    counts = Counter(reason for reason in pc.if_else(between, "guard", why).to_pylist() if reason is not None)
    return dict(sorted(counts.items()))


def splits_of(crops: pa.Table, split_of: SplitPlan) -> "pa.Array[Any]":
    """Split of each crop by the plan."""
    times, frames = (crops[name].to_numpy() for name in ("pts_s", "frame_index"))
    split = split_of(crops["video_id"].combine_chunks(), times, frames)
    return with_tracks_whole(split_of, mark_column(crops, "track_id", pa.string()), split)


def require_unique(crops: pa.Table) -> None:
    """Refuse crops that share a crop_id.

    Raises:
        UnitError: Two crops do; the text names the crop_id and both detections.
    """
    counts = pc.value_counts(crops["crop_id"])
    repeated = counts.filter(pc.greater(counts.field("counts"), pa.scalar(1)))
    if not len(repeated):
        return
    crop_id = repeated.field("values")[0].as_py()
    first, second, *_ = crops.filter(pc.equal(crops["crop_id"], crop_id))["detection_id"].to_pylist()
    if first == second:
        raise UnitError(f"detection {first} was cropped twice: crop_id {crop_id}", kind="crop_twice")
    raise UnitError(
        f"crop_id {crop_id} belongs to two detections, {first} and {second}; remove one of their videos",
        kind="crop_id_collision",
    )


def _has_caption(crops: pa.Table, captions: pa.Table) -> Column:
    sentences = look_up(captions, "crop_id", crops["crop_id"], "captions")
    lengths: Column = pc.list_value_length(sentences)
    return pc.greater(lengths, pa.scalar(0)).fill_null(False)
