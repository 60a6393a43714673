"""What later stages found about crops: duplicates, static persons, tracklets. Kept beside the crops, joined here."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

MARKS: Final = pa.schema(
    [
        pa.field("crop_id", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("static", pa.bool_()),
        pa.field("track_id", pa.string()),
        pa.field("track_frames", pa.int64()),
    ]
)
"""One row per crop about which anything was found."""


def gather_marks(tracks: pa.Table, duplicates: pa.Table, statics: pa.Table) -> pa.Table:
    """Marks of crops, from the tables that hold them.

    Args:
        tracks: crop_id, track_id and track_frames.
        duplicates: crop_id and duplicate_of; a crop that is named may itself name the one that stands for both.
        statics: crop_id.
    """
    columns = [tracks["crop_id"], duplicates["crop_id"], statics["crop_id"]]
    crops = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()).unique()
    nearest = _look_up(duplicates, pa.chunked_array([crops]), "duplicate_of")
    return pa.table(
        {
            "crop_id": crops,
            "duplicate_of": pc.coalesce(_look_up(duplicates, nearest, "duplicate_of"), nearest),
            "static": pc.is_in(crops, value_set=statics["crop_id"].combine_chunks()),
            "track_id": _look_up(tracks, pa.chunked_array([crops]), "track_id"),
            "track_frames": _look_up(tracks, pa.chunked_array([crops]), "track_frames"),
        },
        schema=MARKS,
    )


def marked(crops: pa.Table, marks: pa.Table) -> pa.Table:
    """Crops with their marks as columns; null where nothing was found."""
    for name in MARKS.names[1:]:
        crops = crops.append_column(MARKS.field(name), _look_up(marks, crops["crop_id"], name))
    return crops


def mark(crops: pa.Table, name: str) -> pa.ChunkedArray:
    """A mark of crops; null throughout where they were not marked."""
    if name in crops.column_names:
        return crops[name]
    return pa.chunked_array([pa.nulls(len(crops), MARKS.field(name).type)])


def _look_up(table: pa.Table, crops: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    return table[column].take(pc.index_in(crops, value_set=table["crop_id"].combine_chunks()))
