"""From a table of crops to a table of embeddings and a table of evidence."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.tables
from stages.arrays import Image, Keypoints
from stages.embed.config import Region
from stages.embed.garment_colours import NAMES, ColourNames, name_colours
from stages.embed.regions import CLOTH, cut_cloth, cut_region
from stages.pictures import decode

# Crops taken out of their table at a time. A file holds many thousands, too many to decode into memory at once.
SLICE = 512


@dataclass(frozen=True)
class Embedded:
    """What was computed from the pixels of some crops.

    Args:
        embeddings: Rows of ``schemas.tables.embeddings``, ordered as the crops, then as the regions.
        evidence: Rows of ``schemas.tables.EVIDENCE``, ordered as the crops.
    """

    embeddings: pa.Table
    evidence: pa.Table


class ImageEncoder(Protocol):
    """The model of ``embed_crops``."""

    def encode_images(self, images: Iterable[Image]) -> npt.NDArray[np.float32]:
        """RGB uint8 crops to float32 [N, D] of unit L2 norm."""
        ...


def embed_crops(
    crops: pa.Table, model: ImageEncoder, regions: Sequence[Region], unit_id: str, *, evidence: bool = True
) -> Embedded:
    """Embed the regions of every crop, and name the colours of its clothes.

    Args:
        crops: Columns crop_id, video_id and jpeg, optionally keypoints and objects as detect writes them. A JPEG that
            cannot be decoded has no row in the result; other crops are not affected.
        model: The image encoder.
        regions: Regions to embed.
        unit_id: Unit that the rows belong to.
        evidence: Whether to name colours; if not, the evidence has no rows.
    """
    cut = _Cut(crops, regions, evidence=evidence)
    # A generator: the model pulls one batch of images at a time, which decodes the crops and cuts their regions.
    features = model.encode_images(cut.images()).astype(np.float16)
    readable = crops.select(["crop_id", "video_id"]).take(pa.array(cut.readable, pa.int64()))
    if not readable.num_rows:
        return Embedded(schemas.tables.embeddings(1).empty_table(), schemas.tables.EVIDENCE.empty_table())
    rows = pa.array(np.repeat(np.arange(readable.num_rows), len(regions)), pa.int64())
    columns: dict[str, Any] = {
        "crop_id": readable["crop_id"].take(rows),
        "video_id": readable["video_id"].take(rows),
        "unit_id": pa.repeat(unit_id, len(rows)),
        "region": pa.array(list(regions) * readable.num_rows),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1]),
    }
    embeddings = pa.table(columns, schema=schemas.tables.embeddings(features.shape[1]))
    parts = [_evidence(part, colours, unit_id) for part, colours in cut.coloured]
    return Embedded(embeddings, pa.concat_tables([schemas.tables.EVIDENCE.empty_table(), *parts]))


class _Cut:
    """Cuts the regions of a table's crops, and collects on the way which crops are readable and their colours."""

    def __init__(self, crops: pa.Table, regions: Sequence[Region], *, evidence: bool) -> None:
        self._crops = crops
        self._regions = regions
        self._evidence = evidence
        self.readable: list[int] = []
        self.coloured: list[tuple[pa.Table, ColourNames]] = []

    def images(self) -> Iterator[Image]:
        """RGB images, ordered as the readable crops, then as the regions."""
        for start in range(0, self._crops.num_rows, SLICE):
            crops = self._crops.slice(start, SLICE)
            jpegs: list[Any] = crops["jpeg"].to_pylist()
            kept, cloths = [], []
            for row, (jpeg, pose) in enumerate(zip(jpegs, _keypoints(crops), strict=True)):
                image = decode(jpeg)
                if image is None:
                    continue
                kept.append(row)
                if self._evidence:
                    # Copies: a view would keep the whole image in memory.
                    cloths += [cut_cloth(image, region, pose).copy() for region in CLOTH]
                yield from (cut_region(image, region, pose) for region in self._regions)
            self.readable += [start + row for row in kept]
            if self._evidence:
                named = crops.drop_columns("jpeg").take(pa.array(kept, pa.int64()))
                self.coloured.append((named, name_colours(cloths)))


def _keypoints(crops: pa.Table) -> list[Keypoints | None]:
    """Keypoints of each crop, float32 [17, 3]; None where there is no pose."""
    if "keypoints" not in crops.column_names:
        return [None] * crops.num_rows
    flat = crops["keypoints"].to_pylist()
    return [None if numbers is None else np.array(numbers, np.float32).reshape(-1, 3) for numbers in flat]


def _evidence(crops: pa.Table, found: ColourNames, unit_id: str) -> pa.Table:
    count, width = crops.num_rows, len(CLOTH)
    fields: list[pa.Array[Any]] = [
        pa.array(list(CLOTH) * count, pa.string()),
        pa.array(NAMES).take(pa.array(found.name, pa.int64())),
        pa.array(found.share),
        pa.array(found.margin),
    ]
    colours = pa.StructArray.from_arrays(fields, fields=list(schemas.tables.COLOUR))
    objects = crops["objects"] if "objects" in crops.column_names else pa.nulls(count, pa.list_(schemas.tables.OBJECT))
    columns: dict[str, Any] = {
        "crop_id": crops["crop_id"],
        "video_id": crops["video_id"],
        "unit_id": pa.repeat(unit_id, count),
        "colours": pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * width, pa.int32()), colours),
        "objects": objects,
    }
    return pa.table(columns, schema=schemas.tables.EVIDENCE)
