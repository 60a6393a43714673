"""What was read of a batch of crops, as arrays: one row per crop, one column per facet of the bank."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.tables import ATTRIBUTE
from stages.caption.bank import Bank, Facet
from stages.caption.config import CaptionConfig
from stages.caption.phrases import NONE

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Readings:
    """Readings of N crops under a bank of F facets.

    Args:
        bank: The bank; its facets are the columns.
        regions: For each facet, the region that it was read from.
        choice: int64 [N, F], index of the value read.
        probability: float32 [N, F], of the value read.
        margin: float32 [N, F], distance to the most likely other value; below 0 where the best combination of a
            composed attribute holds a value that is not the most likely by itself.
        used: bool [N, F], whether captions tell it.
    """

    bank: Bank
    regions: tuple[str, ...]
    choice: Codes
    probability: Floats
    margin: Floats
    used: Flags

    @classmethod
    def empty(cls, bank: Bank, regions: Mapping[str, str], count: int) -> "Readings":
        """Readings to be filled; regions by attribute."""
        shape = (count, len(bank.facets))
        floats = np.zeros((2, *shape), dtype=np.float32)
        columns = tuple(regions[facet.block.name] for facet in bank.facets)
        return cls(bank, columns, np.zeros(shape, np.int64), floats[0], floats[1], np.zeros(shape, bool))

    def column(self, name: str) -> int:
        """Number of a facet's column."""
        return self.bank.column[name]

    def put(self, name: str, rows: slice, marginal: Floats, values: Codes) -> None:
        """Fill a column.

        Args:
            name: The facet.
            rows: Which crops, n of them.
            marginal: float32 [values, n or more], probability of each value; columns past n are not read.
            values: int64 [n or more], index of the value that is taken.
        """
        column, count = self.column(name), rows.stop - rows.start
        every = np.arange(marginal.shape[1])
        taken = marginal[values, every]
        others = marginal.copy()
        others[values, every] = -np.inf
        self.choice[rows, column] = values[:count]
        self.probability[rows, column] = taken[:count]
        self.margin[rows, column] = (taken - others.max(axis=0))[:count]

    def decide(self, config: CaptionConfig) -> "Readings":
        """Settle what captions tell: likely enough, not a negative, and not hidden by another value."""
        for column, facet in enumerate(self.bank.facets):
            probability, margin = self.probability[:, column], self.margin[:, column]
            if facet.block.kind == "optional":
                sure = (probability > config.optional_threshold) & (self.choice[:, column] != facet.index[NONE])
            else:
                sure = probability >= config.least_required
            # The margin counts in the default alone: in the paper's way a best combination may have one below 0.
            self.used[:, column] = sure if config.faithful else sure & (margin >= config.least_margin)
        hide(self.bank, self.choice, self.used)
        return self

    def told(self) -> Codes:
        """int64 [N, F]: the index of each value that captions tell, -1 for the others."""
        return np.where(self.used, self.choice, -1)

    def to_arrow(self) -> pa.ListArray:
        """The ``attributes`` column: for each crop a list of F structs, in the order of the bank."""
        count, width = self.choice.shape
        flat = pa.array(self._flat_codes().reshape(-1))
        phrases = pa.array([phrase.text for facet in self.bank.facets for phrase in facet.phrases], pa.string())
        values = pa.array([phrase.value for facet in self.bank.facets for phrase in facet.phrases], pa.string())
        names = pa.array([facet.name for facet in self.bank.facets], pa.string())
        columns = pa.array(np.tile(np.arange(width), count))
        fields = [
            names.take(columns),
            pa.array(self.regions, pa.string()).take(columns),
            phrases.take(flat),
            values.take(flat),
            pa.array(self.probability.reshape(-1)),
            pa.array(self.margin.reshape(-1)),
            pa.array(self.used.reshape(-1)),
        ]
        structs = pa.StructArray.from_arrays(fields, fields=list(ATTRIBUTE))
        return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * width, pa.int32()), structs)

    def _flat_codes(self) -> Codes:
        """Positions in the list of all phrases of all facets."""
        sizes = [len(facet.phrases) for facet in self.bank.facets]
        return np.asarray(self.choice + np.concatenate([[0], np.cumsum(sizes[:-1])])[None, :], dtype=np.int64)


def hide(bank: Bank, choice: Codes, used: Flags) -> None:
    """Take back, in place, what another told value hides, and what cannot be told without its head."""
    for column, facet in enumerate(bank.facets):
        for value, phrase in enumerate(facet.phrases):
            hidden = [i for i, other in enumerate(bank.facets) if _part_of(other, phrase.hides)]
            if hidden:
                hides = used[:, column] & (choice[:, column] == value)
                used[:, hidden] &= ~hides[:, None]
    for column, facet in enumerate(bank.facets):
        head = bank.by_name[facet.block.modifies or facet.block.name]
        if facet is not head and head.block.generic is None:
            used[:, column] &= used[:, bank.column[head.name]]


def _part_of(facet: Facet, names: Collection[str]) -> bool:
    return facet.block.name in names or facet.block.modifies in names
