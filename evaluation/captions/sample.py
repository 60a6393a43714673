"""Told values drawn at random: persons of every kind that a bank can tell of, likely and unlikely alike."""

import numpy as np

from stages.arrays import Codes
from stages.caption.bank.bank import Bank
from stages.caption.bank.phrases import NONE
from stages.caption.read.decisions import without_hidden


def random_told(bank: Bank, count: int, *, known: float, seed: int, optional: float | None = None) -> Codes:
    """int64 [count, F]: for each facet the index of a value, all equally likely, or -1 for untold.

    Args:
        bank: The bank.
        count: How many persons.
        known: Chance that a required attribute is told.
        seed: Seed of the draw.
        optional: Chance that an optional attribute is told, where it is not drawn as absent; null: half of ``known``.
    """
    rng, facets = np.random.default_rng(seed), bank.facets
    choice = np.stack([rng.integers(0, len(facet.phrases), count) for facet in facets], axis=1)
    rare = known / 2 if optional is None else optional
    share = [known if facet.block.kind == "required" else rare for facet in facets]
    none = np.array([facet.index.get(NONE, -1) for facet in facets])
    used = (rng.random(choice.shape) < share) & (choice != none)
    used = without_hidden(bank, choice, used)
    return np.where(used, choice, -1)
