"""Which of several similar crops is the best one."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

QUALITY_COLUMNS: Final = ("confidence", "width", "height", "sharpness")

# Crops of this size lose nothing when they are scaled to the input of re-identification models.
_FULL_PIXELS: Final = 128 * 256

# Sharpness that counts half; the median of street video is near it.
_HALF_SHARP: Final = 200.0


def quality(crops: pa.Table) -> npt.NDArray[np.float64]:
    """Quality of each crop, 0 to 1: the product of its confidence, size and sharpness, each from 0 to 1.

    Args:
        crops: At least ``QUALITY_COLUMNS`` of ``schemas.tables.CROPS``; an unknown confidence or sharpness counts
            as half.

    Returns:
        float64 [N].
    """
    confidence, width, height, sharp = (_numbers(crops[name]) for name in QUALITY_COLUMNS)
    size = np.minimum(width * height / _FULL_PIXELS, 1)
    return np.nan_to_num(confidence, nan=0.5) * size * np.nan_to_num(sharp / (sharp + _HALF_SHARP), nan=0.5)


def best_first(crops: pa.Table) -> npt.NDArray[np.int64]:
    """Rows from the best crop to the worst; ties by crop_id, so that the order is unique."""
    return in_order(crops["crop_id"], quality(crops))


def in_order(crop_ids: "pa.ChunkedArray[Any]", qualities: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """As ``best_first``, from the qualities: int64 [N]."""
    columns: dict[str, Any] = {"crop_id": crop_ids, "quality": qualities}
    table = pa.table(columns)
    order = pc.sort_indices(table, sort_keys=[("quality", "descending"), ("crop_id", "ascending")])
    return np.asarray(order.to_numpy(), np.int64)


def _numbers(column: "pa.ChunkedArray[Any]") -> npt.NDArray[np.float64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
