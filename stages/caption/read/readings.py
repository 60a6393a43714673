"""What was read of a batch of crops, as arrays: one row per crop, one column per facet of the bank."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.tables import ATTRIBUTE
from stages.arrays import Codes, Flags, Floats
from stages.caption.bank.bank import Bank, Facet
from stages.caption.bank.phrases import NONE
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.read.evidence import CLIP, SOURCES, Evidence, sources

Bytes = npt.NDArray[np.int8]


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
        source: int8 [N, F], whose reading the value is, of ``stages.caption.read.evidence.SOURCES``.
        clip: int64 [N, F], index of the value that CLIP read.
        evidence: int64 [N, F], index of the value that pixels or detector say, -1 where they say nothing.
        agrees: int8 [N, F], 1 where CLIP and the evidence say the same, 0 where not, -1 without evidence.
    """

    bank: Bank
    regions: tuple[str, ...]
    choice: Codes
    probability: Floats
    margin: Floats
    used: Flags
    source: Bytes
    clip: Codes
    evidence: Codes
    agrees: Bytes

    @classmethod
    def empty(cls, bank: Bank, regions: Mapping[str, str], count: int) -> "Readings":
        """Readings to be filled; regions by attribute."""
        shape = (count, len(bank.facets))
        columns = tuple(regions[facet.block.name] for facet in bank.facets)
        return cls(
            bank=bank,
            regions=columns,
            choice=np.zeros(shape, np.int64),
            probability=np.zeros(shape, np.float32),
            margin=np.zeros(shape, np.float32),
            used=np.zeros(shape, bool),
            source=np.full(shape, CLIP, np.int8),
            clip=np.zeros(shape, np.int64),
            evidence=np.full(shape, -1, np.int64),
            agrees=np.full(shape, -1, np.int8),
        )

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

    def weigh(self, evidence: Evidence | None, config: CaptionConfig) -> "Readings":
        """Put the evidence beside what CLIP read, and in its place where the recipe prefers it."""
        self.clip[:] = self.choice
        if evidence is None:
            return self
        self.evidence[:] = evidence.value
        self.agrees[:] = evidence.agrees(self.choice)
        able = sources(self.bank)
        for column in (self.column(name) for name in config.evidence.prefer):
            rows = evidence.value[:, column] >= 0
            self.source[rows, column] = able[column]
            # Where both say the same, CLIP's value stands: of "handbag" and "shoulder bag" it knows the finer one.
            moved = rows & (self.agrees[:, column] == 0)
            self.choice[moved, column] = evidence.value[moved, column]
            self.probability[rows, column] = evidence.weight[rows, column]
            self.margin[rows, column] = evidence.margin[rows, column]
        return self

    def decide(self, config: CaptionConfig) -> "Readings":
        """Settle what captions tell: likely enough, not a negative, not contradicted, not hidden by another value."""
        for column, facet in enumerate(self.bank.facets):
            probability, margin = self.probability[:, column], self.margin[:, column]
            least, least_margin = config.thresholds(facet.name, optional=facet.block.kind == "optional")
            if facet.block.kind == "optional":
                sure = (probability > least) & (self.choice[:, column] != facet.index[NONE])
            else:
                sure = probability >= least
            # The margin counts in the default alone: in the paper's way a best combination may have one below 0.
            sure = sure if config.faithful else sure & (margin >= least_margin)
            if facet.name in config.evidence.demand:
                sure &= self.agrees[:, column] != 0
            # Evidence has passed thresholds of its own.
            self.used[:, column] = sure | (self.source[:, column] != CLIP)
        hide(self.bank, self.choice, self.used)
        return self

    def told(self) -> Codes:
        """int64 [N, F]: the index of each value that captions tell, -1 for the others."""
        return np.where(self.used, self.choice, -1)

    def to_arrow(self) -> pa.ListArray:
        """The ``attributes`` column: for each crop a list of F structs, in the order of the bank."""
        count, width = self.choice.shape
        flat = self._flat_codes(self.choice)
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
            pa.array(SOURCES).take(pa.array(self.source.reshape(-1))),
            values.take(self._flat_codes(self.clip)),
            values.take(self._flat_codes(self.evidence)),
            pa.array(self.agrees.reshape(-1) == 1, mask=self.agrees.reshape(-1) < 0),
        ]
        structs = pa.StructArray.from_arrays(fields, fields=list(ATTRIBUTE))
        return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * width, pa.int32()), structs)

    def _flat_codes(self, codes: Codes) -> pa.Array:
        """Positions in the list of all phrases of all facets; null where the code is -1."""
        sizes = [len(facet.phrases) for facet in self.bank.facets]
        flat = (codes + np.concatenate([[0], np.cumsum(sizes[:-1])])[None, :]).reshape(-1)
        return pa.array(flat, mask=codes.reshape(-1) < 0)


def check_thresholds(bank: Bank, config: CaptionConfig) -> None:
    """Raise BankError where a threshold is given for an attribute or factor that the bank does not have."""
    for name in config.unknown.attributes:
        if name not in bank.column:
            raise BankError(
                f"caption.unknown.attributes: no attribute {name!r} in bank {bank.name}; "
                f"accepted: {', '.join(bank.column)}"
            )


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
