"""The seam of reading: what an attribute reader needs, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.caption.read.readings import Readings

Needs = Literal["embeddings", "crops"]
"""Stored embeddings of the crops' regions, or the crops themselves with their JPEGs and keypoints."""


@dataclass(frozen=True)
class CropBatch:
    """N crops, with what a reader needs of them.

    Args:
        crop_ids: Their ids, N strings.
        video_ids: The video of each, string [N].
        features: For a reader that needs embeddings: by region float16 [N, D], rows in the order of ``crop_ids``.
        crops: For a reader that needs crops: ``schemas.tables.CROPS``, at least its columns crop_id, video_id, jpeg
            and keypoints, rows in the order of ``crop_ids``.
    """

    crop_ids: list[str]
    video_ids: "pa.Array[Any]"
    features: Mapping[str, npt.NDArray[np.float16]] = field(default_factory=dict)
    crops: pa.Table | None = None


class AttributeReader(Protocol):
    """Reads the attributes of crops in the terms of a bank.

    A reader decides nothing: thresholds, evidence and hidden values are applied to what it returns, the same way for
    every reader (``stages.caption.read.decisions``).
    """

    @property
    def needs(self) -> Needs:
        """What ``read`` uses of a batch."""
        ...

    def read(self, batch: CropBatch) -> Readings:
        """Read every facet of the N crops of a batch; -1 where the reader cannot say.

        The readings of a crop depend on that crop alone, not on the others in its batch, and are the same on every
        machine: captions are regenerated from recipe and seed.

        Raises:
            UnitError: The batch does not fit the reader.
        """
        ...
