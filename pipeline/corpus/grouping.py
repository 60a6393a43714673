"""Rows of a table grouped by keys, in Arrow: a corpus has a million units, so no row becomes a Python object."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.arrays import Column, arrow, table_of

_DIGEST_LENGTH = 16

# Any: the stubs of these functions do not admit columns of Any, nor constants beside columns.
_compute: Any = pc
_compute_structs: Any = pa.StructArray.from_arrays


def grouped(table: pa.Table, keys: Sequence[str], column: str) -> pa.Table:
    """Collect a column by keys.

    Args:
        table: Rows.
        keys: Columns of strings to group by.
        column: Column of strings to collect.

    Returns:
        One row per key, sorted by the keys in the order given: the keys, and ``column`` as lists in ascending order.
    """
    codes = [_ranks(table[name]) for name in keys]
    order = np.lexsort(codes[::-1]) if len(table) else np.empty(0, np.int64)
    borders = _borders(codes, order)
    values = whole(table[column].take(arrow(order)))
    # The units of a pack mostly are in order already; sorting a million strings by value takes seconds.
    if not _ascending(values, borders):
        order = np.lexsort((_ranks(table[column]), *codes[::-1]))
        values = whole(table[column].take(arrow(order)))
    starts = np.flatnonzero(np.concatenate([[len(table) > 0], borders]))
    firsts = arrow(order[starts])
    return table_of({**{name: table[name].take(firsts) for name in keys}, column: lists_of(values, starts)})


def _borders(codes: Sequence[npt.NDArray[np.int64]], order: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether any key changes between each row and the next."""
    return np.asarray(np.logical_or.reduce([np.diff(code[order]) != 0 for code in codes]), bool)


def whole(column: Column) -> "pa.Array[Any]":
    """The column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def joined(separator: str, *parts: "Column | str") -> "pa.Array[Any]":
    """Strings joined row by row; a constant stands for a column of it."""
    columns = [pa.scalar(part) if isinstance(part, str) else whole(part) for part in parts]
    strings: pa.Array[Any] = _compute.binary_join_element_wise(*columns, separator)
    return strings


def joined_lists(lists: Column, separator: str) -> "pa.Array[Any]":
    """The strings of each list, joined."""
    strings: pa.Array[Any] = _compute.binary_join(whole(lists), separator)
    return strings


def lists_of(values: Column, starts: npt.NDArray[np.int64]) -> "pa.Array[Any]":
    """Consecutive values as lists: one begins at each of the positions."""
    offsets = pa.array(np.append(starts, len(values)).astype(np.int32), pa.int32())
    return pa.ListArray.from_arrays(offsets, whole(values))


def one_list(values: Column) -> "pa.Array[Any]":
    """All values as one list: the column of a table of one row."""
    return lists_of(values, np.zeros(1, np.int64))


def flattened(lists: Column) -> "tuple[pa.Array[Any], pa.Array[Any]]":
    """The values of all lists, and for each the position of its list."""
    return _compute.list_flatten(whole(lists)), _compute.list_parent_indices(whole(lists))


def structs(
    table: pa.Table, fields: "Sequence[pa.Field[Any]]", missing: "pa.Array[Any] | None" = None
) -> "pa.Array[Any]":
    """Columns of a table as one column of structs; null where ``missing`` is true."""
    columns = [whole(table[field.name]).cast(field.type) for field in fields]
    column: pa.Array[Any] = _compute_structs(columns, fields=list(fields), mask=missing)
    return column


def places_of(values: Column, table: pa.Table, key: str) -> "pa.Array[Any]":
    """Row of a table that has each value as its key, int32; null where no row has."""
    places: pa.Array[Any] = _compute.index_in(whole(values), value_set=whole(table[key]))
    return places


def filled(column: Column, value: str | int | bool) -> "pa.Array[Any]":
    """The column with a value in place of nulls."""
    values: pa.Array[Any] = _compute.fill_null(whole(column), value)
    return values


def changes(values: Column) -> npt.NDArray[np.bool_]:
    """Whether each value but the first differs from the one before it."""
    column = whole(values)
    if len(column) < 2:
        return np.zeros(0, bool)
    return np.asarray(_compute.not_equal(column[:-1], column[1:]).to_numpy(zero_copy_only=False), bool)


def runs(values: Column) -> npt.NDArray[np.int64]:
    """Where runs of equal values begin."""
    return np.flatnonzero(np.concatenate([[len(values) > 0], changes(values)]))


def digest_lists(lists: Column) -> "pa.Array[Any]":
    """``pipeline.corpus.files.digest`` of each list of strings."""
    return sha256(digest_text(lists))


def digest_text(lists: Column) -> "pa.Array[Any]":
    """What ``pipeline.corpus.files.digest`` hashes for each list of strings; texts of several lists can be joined."""
    values, _ = flattened(lists)
    sizes: pa.Array[Any] = _compute.cast(_compute.utf8_length(values), pa.string())
    lengths = _compute.list_value_length(whole(lists)).fill_null(0).to_numpy()
    # From the lengths, as the offsets of a slice do not begin at 0.
    return joined_lists(lists_of(joined(":", sizes, values), np.cumsum(lengths) - lengths), "")


def sha256(texts: Column) -> "pa.Array[Any]":
    """First 16 hex digits of the SHA-256 of each string."""
    with duckdb.connect() as connection:
        connection.register("texts", table_of({"text": texts, "position": arrow(np.arange(len(texts)))}))
        rows = connection.sql("SELECT sha256(text) AS digest FROM texts ORDER BY position").to_arrow_table()
    digests: pa.Array[Any] = _compute.utf8_slice_codeunits(whole(rows["digest"]), 0, _DIGEST_LENGTH)
    return digests


def _ranks(column: Column) -> npt.NDArray[np.int64]:
    """Rank of each value among the distinct values, in the order of strings."""
    # Any: a dictionary array has its own attributes.
    encoded: Any = whole(column).dictionary_encode()
    ranks = np.empty(len(encoded.dictionary), np.int64)
    ranks[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(ranks))
    codes: npt.NDArray[np.int64] = ranks[encoded.indices.to_numpy()]
    return codes


def _ascending(values: "pa.Array[Any]", borders: npt.NDArray[np.bool_]) -> bool:
    if len(values) < 2:
        return True
    return bool(np.all(borders | _compute.less_equal(values[:-1], values[1:]).to_numpy(zero_copy_only=False)))
