"""Names for the NumPy arrays that modules pass to each other: what each holds, its shape and its dtype."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Column: TypeAlias = "pa.ChunkedArray[Any] | pa.Array[Any]"
"""A column of an Arrow table, in chunks or whole."""

Image = npt.NDArray[np.uint8]
"""Pixels, uint8 [H, W, 3]. BGR from a decoded frame to the crop's JPEG, RGB from the decoded crop on."""

Grey = npt.NDArray[np.uint8]
"""Luma, uint8 [H, W]."""

Mask = npt.NDArray[np.bool_]
"""Which pixels belong to something, bool [H, W]."""

Keypoints = npt.NDArray[np.float32]
"""COCO's 17 points, float32 [17, 3] or [N, 17, 3]: x, y in pixels and the confidence; NaN where no person was found."""

Features = npt.NDArray[np.float32]
"""Vectors of unit L2 norm, float32 [N, D]."""

Floats = npt.NDArray[np.float32]
"""float32, of any shape."""

Doubles = npt.NDArray[np.float64]
"""float64, of any shape: sums whose last digits count."""

Codes = npt.NDArray[np.int64]
"""Positions of rows or of a facet's values, int64, of any shape; -1 = not stated."""

Flags = npt.NDArray[np.bool_]
"""Yes or no, bool, of any shape."""


def arrow(values: "npt.NDArray[Any]") -> "pa.Array[Any]":
    """The same values as an Arrow array; the stubs of ``pa.array`` see Booleans in every NumPy array."""
    array: Any = pa.array(values)
    whole: pa.Array[Any] = array
    return whole


def table_of(columns: Mapping[str, Column]) -> pa.Table:
    """A table of columns, in chunks or whole, which the stubs of ``pa.table`` do not admit."""
    arrays: Any = list(columns.values())
    return pa.Table.from_arrays(arrays, names=list(columns))
