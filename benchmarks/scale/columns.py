"""Arrow columns from NumPy arrays, without a Python object per row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.scale.noise import Ints

# Any: the stubs of Arrow do not know which array types its functions take.
Column = Any


def pick(column: Column, rows: Ints) -> Column:
    """Rows of a column, by their positions."""
    return column.take(pa.array(rows))


def joined(separator: str, *parts: Column) -> Column:
    """Strings joined row by row; a part is a column, or one string for all rows."""
    join: Any = pc.binary_join_element_wise
    return join(*parts, separator)


def text(numbers: Ints) -> Column:
    """Whole numbers as strings."""
    return pc.cast(pa.array(numbers), pa.string())


def floats(values: npt.NDArray[Any]) -> Column:
    """Numbers as float32."""
    return pa.array(values.astype(np.float32))


def same(value: Any, count: int, type_: Any = None) -> Column:
    """One value in every row."""
    return pa.repeat(pa.scalar(value, type_), count)


def lists(counts: Ints, values: Column) -> Column:
    """Lists of these lengths, cut from the values one after another."""
    offsets: Any = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values)


def choose(conditions: Sequence[npt.NDArray[np.bool_]], values: Sequence[str | None]) -> Column:
    """The value of the first condition that holds, row by row; null where none does."""
    chosen = np.select(conditions, list(range(len(values))), -1)
    known: Any = pa.array(values, pa.string())
    return known.take(pa.array(chosen, mask=chosen < 0))


def table(columns: Mapping[str, Column], schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, in its order."""
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)


def ranks(counts: Ints) -> Ints:
    """0, 1, 2 ... for each of the counts."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) - np.repeat(ends - counts, counts)


def objects(column: Column) -> npt.NDArray[np.object_]:
    """Strings as a NumPy array that sorts as Python does."""
    return np.array(column.to_pylist(), dtype=object)
