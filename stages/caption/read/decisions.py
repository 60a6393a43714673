"""From readings and evidence to what captions state: the rules that hold for every attribute reader."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.tables import ATTRIBUTE
from stages.arrays import Codes, Flags, Floats
from stages.caption.bank.bank import Bank, Facet
from stages.caption.bank.phrases import NONE
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.read.evidence import Evidence, evidence_sources, no_evidence
from stages.caption.read.readings import Readings


@dataclass(frozen=True)
class Decisions:
    """What became of the readings of N crops under a bank of F facets.

    Args:
        readings: What the reader returned.
        evidence: int64 [N, F], index of the value that pixels or detector give, -1 where they give none.
        agrees: int8 [N, F], 1 where reading and evidence are the same value, 0 where not, -1 without evidence.
        preferred: bool [N, F], where the evidence stands in place of the reading.
        choice: int64 [N, F], index of the value that holds: the reading's, or the evidence's where preferred.
        probability: float32 [N, F], of that value.
        margin: float32 [N, F], of that value.
        used: bool [N, F], whether captions state it.
    """

    readings: Readings
    evidence: Codes
    agrees: npt.NDArray[np.int8]
    preferred: Flags
    choice: Codes
    probability: Floats
    margin: Floats
    used: Flags

    def stated(self) -> Codes:
        """int64 [N, F]: the index of each value that captions state, -1 for the others."""
        return np.where(self.used, self.choice, -1)

    def to_arrow(self) -> "pa.ListArray[Any]":
        """The ``attributes`` column: for each crop a list of F structs, in the order of the bank."""
        facets = self.readings.bank.facets
        count, width = self.choice.shape
        phrases = pa.array([phrase.text for facet in facets for phrase in facet.phrases], pa.string())
        values = pa.array([phrase.value for facet in facets for phrase in facet.phrases], pa.string())
        columns = np.tile(np.arange(width), count)
        of_facet = pa.array(columns, pa.int64())
        flat, agrees = _flat_codes(facets, self.choice), self.agrees.reshape(-1)
        sources = pa.array([*self.readings.sources, *evidence_sources(self.readings.bank)], pa.string())
        fields = [
            pa.array([facet.name for facet in facets], pa.string()).take(of_facet),
            pa.array(self.readings.regions, pa.string()).take(of_facet),
            phrases.take(flat),
            values.take(flat),
            pa.array(self.probability.reshape(-1)),
            pa.array(self.margin.reshape(-1)),
            pa.array(self.used.reshape(-1)),
            sources.take(pa.array(columns + width * self.preferred.reshape(-1), pa.int64())),
            values.take(_flat_codes(facets, self.readings.choice)),
            values.take(_flat_codes(facets, self.evidence)),
            pa.array(agrees == 1, mask=agrees < 0),
        ]
        structs = pa.StructArray.from_arrays(fields, fields=list(ATTRIBUTE))
        return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * width, pa.int32()), structs)


def decide(readings: Readings, config: CaptionConfig, evidence: Evidence | None = None) -> Decisions:
    """Decide what captions state.

    A value is stated when it is likely enough, not a negative, not contradicted by evidence that the recipe demands,
    and not hidden by another stated value. Evidence that the recipe prefers takes the reading's place.

    Args:
        readings: What the reader returned.
        config: Thresholds, and what evidence may do.
        evidence: Evidence on the same crops; None for none.
    """
    bank, found = readings.bank, evidence or no_evidence(len(readings.choice), readings.bank)
    agrees = found.agrees(readings.choice)
    preferred = found.value >= 0
    preferred[:, [facet.name not in config.evidence.prefer for facet in bank.facets]] = False
    # Where both agree, the reading stands: of "handbag" and "shoulder bag" CLIP knows the finer one.
    choice = np.where(preferred & (agrees == 0), found.value, readings.choice)
    probability = np.where(preferred, found.weight, readings.probability)
    margin = np.where(preferred, found.margin, readings.margin)
    columns = [
        _is_sure(facet, choice[:, column], probability[:, column], margin[:, column], config)
        for column, facet in enumerate(bank.facets)
    ]
    sure = np.stack(columns, axis=1)
    demanded = [facet.name in config.evidence.demand for facet in bank.facets]
    sure &= (agrees != 0) | ~np.array(demanded)
    # Evidence has passed thresholds of its own.
    used = without_hidden(bank, choice, sure | preferred)
    return Decisions(readings, found.value, agrees, preferred, choice, probability, margin, used)


def check_thresholds(bank: Bank, config: CaptionConfig) -> None:
    """Raise BankError where a threshold is given for an attribute or factor that the bank does not have."""
    for name in config.unknown.attributes:
        if name not in bank.column:
            raise BankError(
                f"caption.unknown.attributes: no attribute {name!r} in bank {bank.name}; "
                f"accepted: {', '.join(bank.column)}"
            )


def without_hidden(bank: Bank, choice: Codes, used: Flags) -> Flags:
    """Drop values that another stated value hides, and factors that cannot be stated without their head.

    Args:
        bank: The bank.
        choice: int64 [N, F], index of each value.
        used: bool [N, F], which of them captions would state.

    Returns:
        bool [N, F], which of them captions state.
    """
    left = used.copy()
    for column, facet in enumerate(bank.facets):
        for value, phrase in enumerate(facet.phrases):
            hidden = [i for i, other in enumerate(bank.facets) if _part_of(other, phrase.hides)]
            if hidden:
                hides = left[:, column] & (choice[:, column] == value)
                left[:, hidden] &= ~hides[:, None]
    for column, facet in enumerate(bank.facets):
        head = bank.by_name[facet.block.modifies or facet.block.name]
        if facet is not head and head.block.generic is None:
            left[:, column] &= left[:, bank.column[head.name]]
    return left


def _is_sure(facet: Facet, choice: Codes, probability: Floats, margin: Floats, config: CaptionConfig) -> Flags:
    """Bool [N]: whether a reading is sure enough for a caption to state it."""
    least, least_margin = config.thresholds(facet.name, optional=facet.block.kind == "optional")
    if facet.block.kind == "optional":
        sure = (probability > least) & (choice >= 0) & (choice != facet.index[NONE])
    else:
        sure = (probability >= least) & (choice >= 0)
    # The paper has no margin: there the best combination may hold a value whose own margin is below 0.
    return np.asarray(sure if config.faithful else sure & (margin >= least_margin))


def _flat_codes(facets: Collection[Facet], codes: Codes) -> "pa.Array[Any]":
    """Positions in the list of all phrases of all facets; null where the code is -1."""
    sizes = [len(facet.phrases) for facet in facets]
    flat = (codes + np.concatenate([[0], np.cumsum(sizes[:-1])])[None, :]).reshape(-1)
    return pa.array(flat, pa.int64(), mask=codes.reshape(-1) < 0)


def _part_of(facet: Facet, names: Collection[str]) -> bool:
    return facet.block.name in names or facet.block.modifies in names
