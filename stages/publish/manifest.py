"""The manifest of a variant: crops, captions, split and provenance in one table."""

from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import CROPS, MANIFEST
from stages.arrays import Column
from stages.errors import UnitError
from stages.publish.lookup import look_up

_ORDER: Final[list[tuple[str, Literal["ascending", "descending"]]]] = [
    ("video_id", "ascending"),
    ("pts_s", "ascending"),
    ("frame_index", "ascending"),
    ("confidence", "descending"),
    ("crop_id", "ascending"),
]


def crop_columns(*, self_contained: bool) -> list[str]:
    """Columns of crops that a manifest takes over; the bytes only if it is to be read without the crops."""
    left_out = {"unit_id"} if self_contained else {"unit_id", "jpeg"}
    return [name for name in MANIFEST.names if name in CROPS.names and name not in left_out]


def manifest_table(chosen: pa.Table, crops: pa.Table, captions: pa.Table, videos: pa.Table, unit_id: str) -> pa.Table:
    """Build the manifest of some crops.

    Args:
        chosen: Rows of ``stages.publish.selection.ManifestPlan.chosen``.
        crops: ``crop_columns`` of these crops; others are ignored. With ``jpeg`` the manifest has the bytes, without it
            the file that has them.
        captions: The variant's rows of ``schemas.tables.CAPTIONS`` of these crops; others are ignored.
        videos: Rows of ``schemas.tables.VIDEOS``, at least those of these crops.
        unit_id: Unit of the rows.

    Returns:
        Rows of ``schemas.tables.MANIFEST``, sorted by video, time and descending confidence.

    Raises:
        UnitError: A chosen crop is not in ``crops``.
    """
    found = pc.index_in(chosen["crop_id"], value_set=crops["crop_id"].combine_chunks())
    if found.null_count:
        crop_id = chosen["crop_id"].filter(pc.is_null(found))[0]
        raise UnitError(f"crop {crop_id} is no longer in its file of crops", kind="crop_gone", retryable=True)
    # The bytes are copied once, when the order is known.
    keys = crops.select([name for name, _ in _ORDER]).take(found).append_column("row", pa.array(np.arange(len(found))))
    order = keys.sort_by(_ORDER)["row"]
    chosen, rows = chosen.take(order), crops.take(found.take(order))
    named: dict[str, Column] = {
        **{name: rows[name] for name in rows.column_names},
        **{
            name: chosen[name]
            for name in chosen.column_names
            if name != "crops_path" or "jpeg" not in rows.column_names
        },
        "unit_id": pa.repeat(pa.scalar(unit_id, pa.string()), len(rows)),
        **_captions(rows["crop_id"], captions),
        **{name: look_up(videos, "video_id", rows["video_id"], name) for name in ("source_url", "license", "query")},
    }
    nothing = pa.nulls(len(rows))
    return pa.table([named.get(name, nothing) for name in MANIFEST.names], names=MANIFEST.names).cast(MANIFEST)


def _captions(crop_ids: Column, captions: pa.Table) -> dict[str, Column]:
    rows = captions.select(["captions", "attributes"]).take(
        pc.index_in(crop_ids, value_set=captions["crop_id"].combine_chunks())
    )
    return {"captions": _texts(rows["captions"].combine_chunks()), "attributes": rows["attributes"]}


def _texts(sentences: "pa.Array[Any]") -> "pa.ListArray[Any]":
    """Lists of caption structs to lists of their texts; null becomes an empty list."""
    lengths = pc.list_value_length(sentences).fill_null(0)
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths))]).astype(np.int32)
    texts: pa.ListArray[Any] = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pc.struct_field(pc.list_flatten(sentences), "text")
    )
    return texts
