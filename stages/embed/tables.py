"""From a table of crops to a table of embeddings."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.tables
from stages.embed.config import Region
from stages.embed.regions import cut_region

SLICE = 1024


class ImageEncoder(Protocol):
    """What ``embed_crops`` needs of a model."""

    def encode_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """RGB uint8 crops to float32 [N, D] of unit L2 norm."""
        ...


def embed_crops(crops: pa.Table, model: ImageEncoder, regions: Sequence[Region], unit_id: str) -> pa.Table:
    """Embed every crop and region.

    Args:
        crops: Columns crop_id, video_id and jpeg. A JPEG that cannot be decoded costs its own row only.
        model: The image encoder.
        regions: Parts to embed.
        unit_id: Unit that the rows will belong to.

    Returns:
        Rows of ``schemas.tables.embeddings``, ordered as the crops, then as the regions.
    """
    # In slices, so that a file of many thousand crops is never decoded into memory at once.
    slices = (crops.slice(start, SLICE) for start in range(0, crops.num_rows, SLICE))
    parts = [_embed_slice(part, model, regions, unit_id) for part in slices]
    filled = [part for part in parts if part.num_rows]
    return pa.concat_tables(filled) if filled else schemas.tables.embeddings(1).empty_table()


def _embed_slice(crops: pa.Table, model: ImageEncoder, regions: Sequence[Region], unit_id: str) -> pa.Table:
    images = [decode(jpeg) for jpeg in crops["jpeg"].to_pylist()]
    readable = [index for index, image in enumerate(images) if image is not None]
    parts = [cut_region(image, region) for image in images if image is not None for region in regions]
    if not parts:
        return schemas.tables.embeddings(1).empty_table()
    features = model.encode_images(parts).astype(np.float16)
    rows = pa.array(np.repeat(readable, len(regions)))
    return pa.table(
        {
            "crop_id": crops["crop_id"].take(rows),
            "video_id": crops["video_id"].take(rows),
            "unit_id": pa.repeat(unit_id, len(rows)),
            "region": pa.array(list(regions) * len(readable)),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1]),
        },
        schema=schemas.tables.embeddings(features.shape[1]),
    )


def decode(jpeg: bytes) -> npt.NDArray[np.uint8] | None:
    """RGB uint8 [H, W, 3] of an encoded image; None when it cannot be decoded."""
    import cv2

    if not jpeg:
        return None
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.ascontiguousarray(image[:, :, ::-1])
