"""From a table of crops to a table of embeddings, and to one of evidence."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.tables
from stages.embed.ahead import ahead
from stages.embed.colours import NAMES, name_colours
from stages.embed.config import Region
from stages.embed.regions import CLOTH, Image, Keypoints, cut_cloth, cut_region

SLICE = 512


@dataclass(frozen=True)
class Embedded:
    """What the pixels of some crops gave.

    Args:
        embeddings: Rows of ``schemas.tables.embeddings``, ordered as the crops, then as the regions.
        evidence: Rows of ``schemas.tables.EVIDENCE``, ordered as the crops.
    """

    embeddings: pa.Table
    evidence: pa.Table


class ImageEncoder(Protocol):
    """What ``embed_crops`` needs of a model."""

    def encode_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """RGB uint8 crops to float32 [N, D] of unit L2 norm."""
        ...


def embed_crops(
    crops: pa.Table, model: ImageEncoder, regions: Sequence[Region], unit_id: str, *, evidence: bool = True
) -> Embedded:
    """Embed every crop and region, and name the colours of its clothes.

    Args:
        crops: Columns crop_id, video_id and jpeg, and where detect wrote them keypoints and objects. A JPEG that
            cannot be decoded costs its own row only.
        model: The image encoder.
        regions: Parts to embed.
        unit_id: Unit that the rows will belong to.
        evidence: Whether colours are named; without, the evidence is empty.
    """
    # In slices, so that a file of many thousand crops is never decoded into memory at once; the next one is decoded
    # while the model works on this one.
    slices = (crops.slice(start, SLICE) for start in range(0, crops.num_rows, SLICE))
    with ThreadPoolExecutor(1) as beside:
        parts = [
            _embed_slice(readable, images, model, regions, unit_id, evidence=evidence)
            for readable, images in ahead(slices, _decoded, beside)
        ]
    embeddings = [part.embeddings for part in parts if part.embeddings.num_rows]
    return Embedded(
        pa.concat_tables(embeddings) if embeddings else schemas.tables.embeddings(1).empty_table(),
        pa.concat_tables([schemas.tables.EVIDENCE.empty_table(), *(part.evidence for part in parts)]),
    )


def _decoded(crops: pa.Table) -> tuple[pa.Table, list[Image]]:
    """The crops whose JPEG can be decoded, and their images."""
    images = [decode(jpeg) for jpeg in crops["jpeg"].to_pylist()]
    readable = [index for index, image in enumerate(images) if image is not None]
    return crops.take(pa.array(readable, pa.int64())), [image for image in images if image is not None]


def _embed_slice(
    crops: pa.Table,
    images: Sequence[Image],
    model: ImageEncoder,
    regions: Sequence[Region],
    unit_id: str,
    *,
    evidence: bool,
) -> Embedded:
    keypoints = _keypoints(crops)
    nothing = schemas.tables.EVIDENCE.empty_table()
    if not images:
        return Embedded(schemas.tables.embeddings(1).empty_table(), nothing)
    posed = list(zip(images, keypoints, strict=True))
    parts = [cut_region(image, region, pose) for image, pose in posed for region in regions]
    features = model.encode_images(parts).astype(np.float16)
    rows = pa.array(np.repeat(np.arange(len(images)), len(regions)))
    embeddings = pa.table(
        {
            "crop_id": crops["crop_id"].take(rows),
            "video_id": crops["video_id"].take(rows),
            "unit_id": pa.repeat(unit_id, len(rows)),
            "region": pa.array(list(regions) * len(images)),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1]),
        },
        schema=schemas.tables.embeddings(features.shape[1]),
    )
    return Embedded(embeddings, _evidence(crops, posed, unit_id) if evidence else nothing)


def _keypoints(crops: pa.Table) -> list[Keypoints | None]:
    """float32 [17, 3] of each crop; None without pose."""
    if "keypoints" not in crops.column_names:
        return [None] * crops.num_rows
    flat = crops["keypoints"].to_pylist()
    return [None if numbers is None else np.array(numbers, np.float32).reshape(-1, 3) for numbers in flat]


def _evidence(crops: pa.Table, posed: Sequence[tuple[Image, Keypoints | None]], unit_id: str) -> pa.Table:
    count, width = len(posed), len(CLOTH)
    found = name_colours([cut_cloth(image, region, pose) for image, pose in posed for region in CLOTH])
    fields = [
        pa.array(list(CLOTH) * count, pa.string()),
        pa.array(NAMES).take(pa.array(found.name)),
        pa.array(found.share),
        pa.array(found.margin),
    ]
    colours = pa.StructArray.from_arrays(fields, fields=list(schemas.tables.COLOUR))
    objects = crops["objects"] if "objects" in crops.column_names else pa.nulls(count, pa.list_(schemas.tables.OBJECT))
    return pa.table(
        {
            "crop_id": crops["crop_id"],
            "video_id": crops["video_id"],
            "unit_id": pa.repeat(unit_id, count),
            "colours": pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * width, pa.int32()), colours),
            "objects": objects,
        },
        schema=schemas.tables.EVIDENCE,
    )


def decode(jpeg: bytes) -> npt.NDArray[np.uint8] | None:
    """RGB uint8 [H, W, 3] of an encoded image; None when it cannot be decoded."""
    import cv2

    if not jpeg:
        return None
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.ascontiguousarray(image[:, :, ::-1])
