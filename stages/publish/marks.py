"""Findings of later stages about crops: duplicates, static persons, tracklets. Stored beside the crops, joined here."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from schemas.declaration import Mark
from stages.arrays import Column
from stages.publish.lookup import look_up

# Keys of a column's metadata: why publish leaves out crops that have a value there, and the option that keeps them.
REASON: Final = b"reason"
KEEP: Final = b"keep"


def gather_marks(found: Sequence[tuple[Mark, pa.Table]]) -> pa.Table:
    """Put what several tables say about crops into one.

    Args:
        found: Marks, each with the rows that make it: crop_id and the mark's columns, one row per crop.

    Returns:
        crop_id, and the columns and flags of all marks, one row per crop that has any.
    """
    named = [chunk for _, rows in found for chunk in rows["crop_id"].chunks]
    crops = pa.chunked_array(named, pa.string()).unique()
    table = pa.Table.from_arrays([crops], ["crop_id"])
    for mark, rows in found:
        for field, values in _columns(mark, rows, crops):
            table = table.append_column(field, values)
    return table


def _columns(mark: Mark, rows: pa.Table, crops: Column) -> list[tuple["pa.Field[Any]", Column]]:
    columns: dict[str, Column] = {
        name: look_up(rows, "crop_id", crops, name) for name in (*mark.columns, *mark.selectors)
    }
    if mark.chained:
        first = mark.columns[0]
        columns[first] = pc.coalesce(look_up(rows, "crop_id", columns[first], first), columns[first])
    if mark.flag:
        columns[mark.flag.name] = pc.is_in(crops, value_set=rows["crop_id"].combine_chunks())
    fields = [pa.field(name, values.type) for name, values in columns.items()]
    if mark.reason and mark.keep:
        fields[0] = fields[0].with_metadata({REASON: mark.reason.encode(), KEEP: mark.keep.encode()})
    return list(zip(fields, columns.values(), strict=True))


def marked(crops: pa.Table, marks: pa.Table) -> pa.Table:
    """Crops with the columns of ``gather_marks``; null where nothing was found."""
    for field in marks.schema:
        if field.name != "crop_id":
            crops = crops.append_column(field, look_up(marks, "crop_id", crops["crop_id"], field.name))
    return crops


def mark_column(crops: pa.Table, name: str, kind: pa.DataType) -> "pa.ChunkedArray[Any]":
    """A mark of crops; null throughout where no stage makes it."""
    return crops[name] if name in crops.column_names else pa.chunked_array([pa.nulls(len(crops)).cast(kind)])


def reasons_by_mark(crops: pa.Table) -> dict[str, tuple[str, Column]]:
    """Rules that follow from marks: by reason, the option that switches the rule off, and the crops concerned."""
    rules = {
        field.metadata[REASON].decode(): (field.metadata[KEEP].decode(), _is_marked(crops[field.name]))
        for field in crops.schema
        if field.metadata and REASON in field.metadata
    }
    return dict(sorted(rules.items()))


def _is_marked(values: "pa.ChunkedArray[Any]") -> Column:
    return pc.is_in(values, value_set=pa.array([True])) if pa.types.is_boolean(values.type) else pc.is_valid(values)
