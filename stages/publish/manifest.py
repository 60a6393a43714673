"""The manifest of a variant: crops, captions, split and provenance in one table."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import MANIFEST
from stages.arrays import Column
from stages.publish.config import PublishConfig
from stages.publish.lookup import look_up
from stages.publish.marks import mark_column
from stages.publish.selection import reasons, require_unique, splits_of
from stages.publish.splits import SplitPlan

_ORDER: Final[list[tuple[str, Literal["ascending", "descending"]]]] = [
    ("video_id", "ascending"),
    ("pts_s", "ascending"),
    ("frame_index", "ascending"),
    ("confidence", "descending"),
]


def manifest_table(
    crops: pa.Table,
    captions: pa.Table,
    videos: pa.Table,
    split_of: SplitPlan,
    unit_id: str,
    fingerprints: Mapping[str, Mapping[str, str]],
    config: PublishConfig,
) -> pa.Table:
    """Build the manifest of crops: those of a whole corpus, or of one file at a time.

    Args:
        crops: Rows of ``schemas.tables.CROPS``, with their marks, if any (``stages.publish.marks.marked``).
        captions: The variant's rows of ``schemas.tables.CAPTIONS``; those of other crops are ignored.
        videos: Rows of ``schemas.tables.VIDEOS``.
        split_of: The plan of the whole variant, from ``plan_manifest``.
        unit_id: Unit of the rows.
        fingerprints: Under ``detect`` and ``caption``: fingerprint by unit_id of crops and of captions.
        config: Selection.

    Returns:
        Rows of ``schemas.tables.MANIFEST``, sorted by video, time and descending confidence, without crops that
        the configuration leaves out or that are in no split.

    Raises:
        UnitError: Two detections share one crop_id, or a crop appears in ``crops`` twice.
    """
    require_unique(crops)
    split = splits_of(crops, split_of)
    taken = pc.and_(pc.is_null(reasons(crops, captions, videos, config)), pc.is_valid(split))
    # The bytes are copied once, when the selection and its order are known.
    keys = crops.select([*(name for name, _ in _ORDER), "crop_id"]).append_column(
        "row", pa.array(np.arange(len(crops)))
    )
    rows = keys.filter(taken).sort_by([*_ORDER, ("crop_id", "ascending")])["row"].combine_chunks()
    chosen = crops.take(rows)
    columns = {
        **{name: chosen[name] for name in MANIFEST.names if name in chosen.column_names},
        "unit_id": pa.repeat(unit_id, len(chosen)),
        "split": split.take(rows),
        "track_id": mark_column(chosen, "track_id", pa.string()),
        **_captions(chosen, captions),
        **{name: look_up(videos, "video_id", chosen["video_id"], name) for name in ("source_url", "license", "query")},
        "detect_fingerprint": _fingerprint(chosen["unit_id"], fingerprints["detect"]),
        "caption_fingerprint": _fingerprint(
            look_up(captions, "crop_id", chosen["crop_id"], "unit_id"), fingerprints["caption"]
        ),
    }
    return pa.table([columns[name] for name in MANIFEST.names], names=MANIFEST.names).cast(MANIFEST)


def _captions(crops: pa.Table, captions: pa.Table) -> dict[str, Column]:
    sentences = look_up(captions, "crop_id", crops["crop_id"], "captions").combine_chunks()
    attributes = look_up(captions, "crop_id", crops["crop_id"], "attributes")
    return {"captions": _texts(sentences), "attributes": attributes}


def _texts(sentences: "pa.Array[Any]") -> "pa.ListArray[Any]":
    """Lists of caption structs to lists of their texts; null becomes an empty list."""
    lengths = pc.list_value_length(sentences).fill_null(0)
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths))]).astype(np.int32)
    texts: pa.ListArray[Any] = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pc.struct_field(pc.list_flatten(sentences), "text")
    )
    return texts


def _fingerprint(units: "pa.ChunkedArray[Any]", by_unit: Mapping[str, str]) -> "pa.Array[Any]":
    known = pa.array(list(by_unit), pa.string())
    return pa.array(list(by_unit.values()), pa.string()).take(pc.index_in(units.combine_chunks(), value_set=known))
