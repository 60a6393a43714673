"""Rows of one table by the key of another, for tables that are read whole."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.arrays import Column


def look_up(table: pa.Table, key: str, values: Column, column: str) -> "pa.ChunkedArray[Any]":
    """Column of a table, in the order of ``values`` of its key; null if the table has no such row."""
    return table[column].take(pc.index_in(values, value_set=table[key].combine_chunks()))
