"""Rows of the duplicates and statics tables."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.tables
from stages.dedup.alike import Best, Looks, Rule
from stages.dedup.config import DedupConfig
from stages.dedup.leaders import follow_leaders
from stages.dedup.pairs import Pairs
from stages.dedup.ranking import QUALITY_COLUMNS, best_first
from stages.dedup.static import find_statics

CROP_COLUMNS: Final = ("crop_id", "video_id", "phash", *QUALITY_COLUMNS)
"""Columns of crops that a comparison needs; the bytes are not among them."""

VIDEO_COLUMNS: Final = (*CROP_COLUMNS, "frame_index", "pts_s", "x1", "y1", "x2", "y2")
"""Columns that finding static persons in a video needs."""


def dedup_video(
    crops: pa.Table, features: Mapping[str, int], vectors: npt.NDArray[np.floating], unit_id: str, config: DedupConfig
) -> tuple[pa.Table, pa.Table]:
    """Find the static persons and the duplicates of one video.

    Args:
        crops: Its crops, at least ``VIDEO_COLUMNS``.
        features: Row of ``vectors`` by crop_id; missing crops have no features.
        vectors: float16 or float32 [M, D], rows of unit L2 norm.
        unit_id: Unit of the rows.
        config: Thresholds.

    Returns:
        ``statics`` and ``duplicates``, by crop_id.
    """
    hashes = _hashes(crops)
    rule = Rule(config.max_hash_distance, config.min_cosine, config.cosine_hash_distance)
    looks = Looks(hashes, _aligned(crops, features, vectors))
    order = best_first(crops)
    best = follow_leaders(order, looks, rule)
    how = np.where(best.by_cosine, "cosine", "phash")
    return _statics(crops, hashes, unit_id, config), _duplicates(crops, best, how, unit_id)


def dedup_across(
    crops: pa.Table, features: Mapping[str, int], vectors: npt.NDArray[np.floating], unit_id: str, config: DedupConfig
) -> pa.Table:
    """Find duplicates between videos.

    Args:
        crops: Crops of all videos that are not duplicates within their video, at least ``CROP_COLUMNS``.
        features: As in ``dedup_video``.
        vectors: As in ``dedup_video``.
        unit_id: Unit of the rows.
        config: Thresholds.

    Returns:
        ``duplicates``, by crop_id; leaders have no row.
    """
    _, videos = np.unique(np.asarray(crops["video_id"].to_pylist(), dtype="U"), return_inverse=True)
    looks = Looks(_hashes(crops), _aligned(crops, features, vectors), videos.astype(np.int64))
    best = follow_leaders(best_first(crops), looks, rule_across(config))
    return _duplicates(crops, best, np.full(len(best.row), "across"), unit_id)


def rule_across(config: DedupConfig) -> Rule:
    """When crops of different videos are alike."""
    return Rule(None, config.min_cosine_across, config.cosine_hash_distance)


def duplicates_of_pairs(crops: pa.Table, pairs: Pairs, unit_id: str) -> pa.Table:
    """Rows of duplicates between videos.

    Args:
        crops: Columns crop_id and video_id of at least the crops of the pairs.
        pairs: Each duplicate with its leader, as rows of ``crops``.
        unit_id: Unit of the rows.

    Returns:
        ``duplicates``, by crop_id.
    """
    best = Best.none(len(crops))
    best.row[pairs.worse] = pairs.better
    best.similarity[pairs.worse] = pairs.cosine
    return _duplicates(crops, best, np.full(len(crops), "across"), unit_id)


def _hashes(crops: pa.Table) -> npt.NDArray[np.uint64]:
    return np.asarray(crops["phash"].to_numpy(), np.uint64)


def _aligned(
    crops: pa.Table, features: Mapping[str, int], vectors: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating] | None:
    """Features in the order of the crops; zeros, which are similar to nothing, if a crop has none."""
    if not len(vectors):
        return None
    names: list[Any] = crops["crop_id"].to_pylist()
    rows = np.array([features.get(name, -1) for name in names], np.int64)
    aligned = vectors[rows]
    aligned[rows < 0] = 0
    return aligned


def _duplicates(crops: pa.Table, best: Best, how: npt.NDArray[np.str_], unit_id: str) -> pa.Table:
    rows = np.flatnonzero(best.row >= 0)
    columns: dict[str, Any] = {
        "crop_id": crops["crop_id"].take(rows),
        "video_id": crops["video_id"].take(rows),
        "unit_id": pa.repeat(unit_id, len(rows)),
        "duplicate_of": crops["crop_id"].take(best.row[rows]),
        "how": pa.array(how[rows].tolist(), pa.string()),
        "similarity": pa.array(best.similarity[rows], pa.float32()),
    }
    return pa.table(columns, schema=schemas.tables.DUPLICATES).sort_by("crop_id")


def _statics(crops: pa.Table, hashes: npt.NDArray[np.uint64], unit_id: str, config: DedupConfig) -> pa.Table:
    if not config.static.enabled:
        return schemas.tables.STATICS.empty_table()
    boxes = np.stack([crops[name].to_numpy() for name in ("x1", "y1", "x2", "y2")], axis=1)
    found = find_statics(boxes, crops["frame_index"].to_numpy(), crops["pts_s"].to_numpy(), hashes, config.static)
    ids, videos = crops["crop_id"].to_pylist(), crops["video_id"].to_pylist()
    rows = [
        {
            "crop_id": ids[row],
            "video_id": videos[row],
            "unit_id": unit_id,
            "static_id": f"{videos[row]}/s{number}",
            "span_s": one.span_s,
            "seen_share": one.seen_share,
        }
        for number, one in enumerate(found)
        for row in one.rows
    ]
    return pa.Table.from_pylist(rows, schema=schemas.tables.STATICS).sort_by("crop_id")
