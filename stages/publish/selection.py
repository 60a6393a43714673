"""Which crops enter a manifest, why others do not, and the split of each: one query over metadata, without bytes."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.declaration import Mark
from stages.arrays import table_of
from stages.errors import UnitError
from stages.publish.config import PublishConfig
from stages.publish.splits import plan_splits, split_videos
from stages.publish.tracks import keep_tracks_whole, with_tracks_whole

Rows: TypeAlias = pa.Table | pa.RecordBatchReader
"""A table, or a reader of one that need not fit into memory; it is read once."""

CROP_COLUMNS = ("crop_id", "detection_id", "video_id", "unit_id", "frame_index", "pts_s", "sharpness")
"""Columns of crops that planning reads."""

MEMORY_MB: Final = 512
"""What planning holds in memory; the rest of its tables spills to disk."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a corpus knows about its crops.

    Args:
        crops: Every crop that may have captions: ``CROP_COLUMNS``, and path, the file that the row is in.
        captions: The variant's captions: crop_id, unit_id, and sentences, their number.
        videos: Every video, at least video_id and license.
        marks: Declared marks, each with its rows: its key, columns and selectors.
        crop_units: Where the crops of a unit are: unit_id, path, fingerprint. Rows of crops that are elsewhere do not
            count.
        caption_units: Where the captions of a unit are, likewise.
    """

    crops: Rows
    captions: Rows
    videos: pa.Table
    marks: Sequence[tuple[Mark, Rows]]
    crop_units: pa.Table
    caption_units: pa.Table


@dataclass(frozen=True, kw_only=True)
class ManifestPlan:
    """What a manifest will hold.

    Args:
        chosen: One row per crop: crop_id, track_id, split, crops_path, detect_fingerprint, captions_path,
            caption_fingerprint; rows with the same files are adjacent.
        statement: How the corpus was split, for users.
        left_out: Crops that stay out, by reason: duplicate, static, track, sharpness, licence, caption, or guard, in no
            split.
    """

    chosen: pa.Table
    statement: str
    left_out: Mapping[str, int]


def plan_manifest(found: Found, config: PublishConfig, *, memory_mb: int = MEMORY_MB) -> ManifestPlan:
    """Plan the manifest of a variant over all crops of a corpus.

    Args:
        found: What is known about the crops.
        config: Selection and splits.
        memory_mb: Memory of the query, MB.

    Raises:
        UnitError: Two detections share one crop_id, or a crop was cut twice.
    """
    with _database(memory_mb) as database:
        _load(database, found)
        _require_unique(database)
        database.execute(_judge(found.marks, config))
        statement = _split(database, config)
        reasons = database.execute("SELECT reason, count(*) FROM judged_in_split WHERE reason IS NOT NULL GROUP BY ALL")
        left_out = dict(sorted(reasons.fetchall()))
        chosen = _with_names(database.sql(_CHOSEN).to_arrow_table(), found)
    return ManifestPlan(chosen=chosen, statement=statement, left_out=left_out)


@contextmanager
def _database(memory_mb: int) -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        tempfile.TemporaryDirectory(prefix="reidforge-") as spill,
        duckdb.connect(config={"memory_limit": f"{memory_mb}MB", "temp_directory": spill}) as database,
    ):
        database.execute("SET preserve_insertion_order = false")
        yield database


def _load(database: duckdb.DuckDBPyConnection, found: Found) -> None:
    for name, units in (("crop_units", found.crop_units), ("caption_units", found.caption_units)):
        codes = {f"{column}_code": _codes(units[column]) for column in ("path", "fingerprint")}
        _copy(database, name, table_of({"unit_id": units["unit_id"], "path": units["path"], **codes}), "FROM rows")
    _copy(database, "crops", found.crops, _LIVE_CROPS)
    # A crop that was captioned again by another unit has rows of both until the older one is retired.
    captions = "SELECT crop_id, min(unit_id) AS unit_id, max(sentences) AS sentences FROM rows GROUP BY crop_id"
    _copy(database, "captions", found.captions, captions)
    _copy(database, "videos", found.videos, "SELECT video_id, min(license) AS license FROM rows GROUP BY video_id")
    for position, (mark, rows) in enumerate(found.marks):
        columns = "".join(f', min("{name}") AS "{name}"' for name in (*mark.columns, *mark.selectors))
        # Of a dense sampling, most detections have no crop.
        select = f"SELECT {mark.key}{columns} FROM rows SEMI JOIN crops USING ({mark.key}) GROUP BY {mark.key}"  # noqa: S608 - declared
        _copy(database, f"mark_{position}", rows, select)


def _copy(database: duckdb.DuckDBPyConnection, name: str, rows: Rows, select: str) -> None:
    database.register("rows", rows)
    database.execute(f"CREATE TABLE {name} AS {select}")
    database.unregister("rows")


def _codes(column: "pa.ChunkedArray[Any]") -> "pa.Array[Any]":
    return _dictionary(column).indices


def _dictionary(column: "pa.ChunkedArray[Any]") -> "pa.DictionaryArray[Any, Any]":
    coded: pa.DictionaryArray[Any, Any] = column.combine_chunks().dictionary_encode()
    return coded


def _require_unique(database: duckdb.DuckDBPyConnection) -> None:
    repeated = database.execute(
        "SELECT crop_id, min(detection_id), max(detection_id) FROM crops GROUP BY crop_id HAVING count(*) > 1 "
        "ORDER BY crop_id LIMIT 1"
    ).fetchone()
    if repeated is None:
        return
    crop_id, first, second = repeated
    if first == second:
        raise UnitError(f"detection {first} was cropped twice: crop_id {crop_id}", kind="crop_twice")
    raise UnitError(
        f"crop_id {crop_id} belongs to two detections, {first} and {second}; remove one of their videos",
        kind="crop_id_collision",
    )


def _judge(marks: Sequence[tuple[Mark, Rows]], config: PublishConfig) -> str:
    """Statement that gives each crop the first reason why it stays out; null for crops that enter the manifest."""
    joins = "".join(f" LEFT JOIN mark_{n} USING ({mark.key})" for n, (mark, _) in enumerate(marks))
    columns = {
        name: f'mark_{n}."{name}"' for n, (mark, _) in enumerate(marks) for name in mark.columns + mark.selectors
    }
    rules = _rules(marks, config, columns.get("track_frames", "NULL::BIGINT"))
    cases = "".join(f" WHEN {condition} THEN '{reason}'" for reason, condition in rules.items())
    return f"""
        CREATE TABLE judged AS
        SELECT
            crops.crop_id, crops.video_id, crops.pts_s, crops.frame_index, crops.crops_path, crops.detect_fingerprint,
            captions.unit_id AS caption_unit, {columns.get("track_id", "NULL::VARCHAR")} AS track_id,
            CASE{cases} END AS reason
        FROM crops LEFT JOIN captions USING (crop_id) LEFT JOIN videos USING (video_id){joins}
    """  # noqa: S608 - names are declared, values are numbers or quoted


def _rules(marks: Sequence[tuple[Mark, Rows]], config: PublishConfig, track_frames: str) -> dict[str, str]:
    """Conditions by reason, in the order in which they are checked."""
    marked = {
        mark.reason: f'mark_{n}."{mark.columns[0] if mark.columns else mark.key}" IS NOT NULL'
        for n, (mark, _) in enumerate(marks)
        if mark.reason and mark.keep and not getattr(config, mark.keep)
    }
    rules = dict(sorted(marked.items()))
    if config.min_track_frames:
        rules["track"] = f"coalesce({track_frames}, 0) < {config.min_track_frames}"
    sharpness = "if(isnan(crops.sharpness), NULL, crops.sharpness)"
    rules["sharpness"] = f"NOT coalesce({sharpness} >= {config.min_sharpness!r}, {config.min_sharpness == 0})"
    if config.licences is not None:
        accepted = ", ".join("'" + licence.replace("'", "''") + "'" for licence in config.licences)
        rules["licence"] = f"NOT coalesce(list_contains([{accepted}]::VARCHAR[], videos.license), false)"
    if config.require_caption:
        rules["caption"] = "coalesce(captions.sentences, 0) = 0"
    return rules


def _split(database: duckdb.DuckDBPyConnection, config: PublishConfig) -> str:
    """Make the view ``judged_in_split``; returns how the corpus was split."""
    counts = dict(
        database.execute("SELECT video_id, count(*) FROM judged WHERE reason IS NULL GROUP BY ALL").fetchall()
    )
    if len(counts) == 1 and len(config.splits) > 1:
        key = "crop_id"
        splits, statement = _split_in_time(database.sql(_MOMENTS).to_arrow_table(), config)
    else:
        key, plan = "video_id", split_videos(counts, config)
        columns = [pa.array(list(values), pa.string()) for values in (plan.split_of, plan.split_of.values())]
        splits, statement = pa.Table.from_arrays(columns, [key, "split"]), plan.statement
    _copy(database, "splits", splits, "FROM rows")
    database.execute(_IN_SPLIT.format(key=key))
    return statement


def _split_in_time(taken: pa.Table, config: PublishConfig) -> tuple[pa.Table, str]:
    times: npt.NDArray[np.float64] = taken["pts_s"].to_numpy()
    frames: npt.NDArray[np.int64] = taken["frame_index"].to_numpy()
    columns = taken["video_id"].combine_chunks(), times, frames
    plan = plan_splits(*columns, config)
    splits = plan(*columns)
    plan = keep_tracks_whole(plan, taken["track_id"], splits)
    split = with_tracks_whole(plan, taken["track_id"], splits)
    return table_of({"crop_id": taken["crop_id"], "split": split}), plan.statement


def _with_names(chosen: pa.Table, found: Found) -> pa.Table:
    """The chosen crops, with paths and fingerprints in place of their codes."""
    dictionaries = {
        "crops_path": found.crop_units["path"],
        "detect_fingerprint": found.crop_units["fingerprint"],
        "captions_path": found.caption_units["path"],
        "caption_fingerprint": found.caption_units["fingerprint"],
    }
    for name, column in dictionaries.items():
        names = pa.DictionaryArray.from_arrays(chosen[name].combine_chunks(), _dictionary(column).dictionary)
        chosen = chosen.set_column(chosen.schema.get_field_index(name), name, names)
    return chosen


_LIVE_CROPS: Final = """
SELECT rows.* EXCLUDE (path), path_code AS crops_path, fingerprint_code AS detect_fingerprint
FROM rows JOIN crop_units USING (unit_id, path)
"""

_MOMENTS: Final = "SELECT crop_id, video_id, pts_s, frame_index, track_id FROM judged WHERE reason IS NULL"

_IN_SPLIT: Final = """
CREATE VIEW judged_in_split AS
SELECT judged.* REPLACE (if(reason IS NULL AND split IS NULL, 'guard', reason) AS reason), split
FROM judged LEFT JOIN splits USING ({key})
"""

_CHOSEN: Final = """
SELECT
    crop_id, track_id, split, crops_path, detect_fingerprint,
    caption_units.path_code AS captions_path, caption_units.fingerprint_code AS caption_fingerprint
FROM judged_in_split
    LEFT JOIN caption_units ON caption_units.unit_id = judged_in_split.caption_unit
WHERE reason IS NULL
ORDER BY captions_path NULLS LAST, crops_path
"""
