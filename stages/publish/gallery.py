"""Selection of a few crops that represent a corpus."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.pictures import decode

# Number of the sharpest crops of each stretch of time that are compared.
_CANDIDATES: Final = 8

# Width and height of the thumbnail that distinguishes persons: so coarse that a step or a turn changes little.
_THUMBNAIL: Final = (4, 8)


def choose_rows(rows: pa.Table, count: int) -> pa.Table:
    """Choose crops spread over time and people, sharp ones first.

    The rows, ordered by video and time, are cut into ``count`` stretches. Each yields one crop: among its sharpest,
    the one whose colours differ most from those chosen before. The same rows always yield the same choice.

    Args:
        rows: Columns crop_id, video_id, pts_s, sharpness and jpeg.
        count: Number of crops.

    Returns:
        At most ``count`` of the rows, ordered by video and time.
    """
    order = rows.select(["video_id", "pts_s", "crop_id"]).append_column("row", pa.array(np.arange(len(rows))))
    ordered = order.sort_by([(name, "ascending") for name in ("video_id", "pts_s", "crop_id")])["row"].to_numpy()
    sharpness = np.nan_to_num(np.asarray(rows["sharpness"].to_numpy(), np.float64))
    chosen: list[int] = []
    seen: list[npt.NDArray[np.float32]] = []
    stretches = min(count, len(ordered))
    for stretch in np.array_split(ordered, stretches) if stretches else ():
        best = stretch[np.argsort(-sharpness[stretch], kind="stable")][:_CANDIDATES]
        looks = [_look(rows["jpeg"][int(row)].as_py()) for row in best]
        novelty = [_novelty(look, seen) for look in looks]
        pick = int(np.argmax(novelty))
        chosen.append(int(best[pick]))
        seen.append(looks[pick])
    return rows.take(pa.array(chosen, pa.int64()))


def _look(jpeg: bytes) -> npt.NDArray[np.float32]:
    import cv2

    image = decode(jpeg)
    if image is None:
        return np.full((_THUMBNAIL[1], _THUMBNAIL[0], 3), np.nan, np.float32)
    return np.asarray(cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA), np.float32)


def _novelty(look: npt.NDArray[np.float32], seen: list[npt.NDArray[np.float32]]) -> float:
    """Distance to the nearest chosen crop; -1 for a crop that cannot be decoded."""
    if np.isnan(look).any():
        return -1.0
    return min((float(np.abs(look - other).mean()) for other in seen if not np.isnan(other).any()), default=0.0)
