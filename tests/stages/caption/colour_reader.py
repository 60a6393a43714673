"""A reader that looks at crops: the colours of both garments, by their pixels. It reads nothing else."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stages.caption.bank.bank import Bank
from stages.caption.read.reader import CropBatch, Needs
from stages.caption.read.readings import Readings
from stages.embed.config import Region
from stages.embed.garment_colours import NAMES, name_colours
from stages.embed.regions import cut_cloth
from stages.pictures import decode

READ: dict[str, Region] = {"upper_colour": "upper", "lower_colour": "lower"}


@dataclass(frozen=True)
class ColourReader:
    """Attribute reader over crops."""

    bank: Bank
    needs: ClassVar[Needs] = "crops"

    def read(self, batch: CropBatch) -> Readings:
        """The share of a colour's pixels is its probability; a JPEG that cannot be decoded is not read."""
        assert batch.crops is not None
        images = [decode(jpeg) for jpeg in batch.crops["jpeg"].to_pylist()]
        rows = [row for row, image in enumerate(images) if image is not None]
        shape = (len(images), len(self.bank.facets))
        choice, (probability, margin) = np.full(shape, -1), np.zeros((2, *shape), np.float32)
        for name, region in READ.items():
            found = name_colours([cut_cloth(image, region) for image in images if image is not None])
            column, index = self.bank.column[name], self.bank.by_name[name].index
            choice[rows, column] = [index[NAMES[code]] for code in found.name]
            probability[rows, column], margin[rows, column] = found.share, found.margin
        regions = tuple(READ.get(facet.name, "whole") for facet in self.bank.facets)
        return Readings(self.bank, regions, ("colours",) * len(regions), choice, probability, margin)
