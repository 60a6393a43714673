"""What an attribute reader returns for a batch of crops: one row per crop, one column per facet of the bank."""

from dataclasses import dataclass

from stages.arrays import Codes, Floats
from stages.caption.bank.bank import Bank


@dataclass(frozen=True)
class Readings:
    """Readings of N crops under a bank of F facets; the arrays cannot be written to afterwards.

    Args:
        bank: The bank; its facets are the columns.
        regions: For each facet, the region that it was read from.
        sources: For each facet, the name of its reader: the column ``source`` of the view ``attributes``.
        choice: int64 [N, F], index of the value read; -1 where nothing was read.
        probability: float32 [N, F], of the value read; 0 where nothing was read.
        margin: float32 [N, F], distance to the most likely other value; below 0 where the best combination of a
            composed attribute holds a value that is not the most likely by itself.

    Raises:
        ValueError: An array has another shape, or a choice is not a value of its facet.
    """

    bank: Bank
    regions: tuple[str, ...]
    sources: tuple[str, ...]
    choice: Codes
    probability: Floats
    margin: Floats

    def __post_init__(self) -> None:
        width = len(self.bank.facets)
        shape = (len(self.choice), width)
        shapes = [array.shape for array in (self.choice, self.probability, self.margin)]
        if any(found != shape for found in shapes) or {len(self.regions), len(self.sources)} != {width}:
            raise ValueError(f"readings of shapes {shapes} do not fit the {width} facets of bank {self.bank.name}")
        sizes = [len(facet.phrases) for facet in self.bank.facets]
        if len(self.choice) and (self.choice.min() < -1 or (self.choice.max(axis=0) >= sizes).any()):
            raise ValueError(f"readings hold a value that bank {self.bank.name} does not have")
        for array in (self.choice, self.probability, self.margin):
            array.setflags(write=False)
