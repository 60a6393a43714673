"""Stated values, as the caption writer takes them: of a person whose attributes are known, or of random persons."""

from collections.abc import Mapping

import numpy as np

from stages.arrays import Codes
from stages.caption.bank.bank import Bank
from stages.caption.bank.phrases import NONE
from stages.caption.bank.problems import BankError
from stages.caption.read.decisions import without_hidden


def stated_values(attributes: Mapping[str, str], bank: Bank) -> Codes:
    """The stated values of one person.

    Args:
        attributes: Value by attribute, e.g. ``{"gender": "woman", "upper": "coat", "upper_colour": "red"}``; an
            attribute that is absent, or ``none``, is not stated.
        bank: The bank that has these attributes and values.

    Returns:
        int64 [1, F], for each facet the index of the stated value, -1 for none.

    Raises:
        BankError: An attribute or a value is not in the bank.
    """
    choice = np.full((1, len(bank.facets)), -1, dtype=np.int64)
    for name, value in attributes.items():
        index = _value_index(bank, name, value)
        if value != NONE:
            choice[0, bank.column[name]] = index
    return np.where(without_hidden(bank, choice, choice >= 0), choice, -1)


def random_stated(bank: Bank, count: int, *, known: float, seed: int, optional: float | None = None) -> Codes:
    """The stated values of random persons; every combination that the bank can state occurs, likely or not.

    Args:
        bank: The bank.
        count: Number of persons.
        known: Probability that a required attribute is stated.
        seed: Seed of the random draw.
        optional: Probability that an optional attribute is stated, unless it is drawn as absent; None: half of
            ``known``.

    Returns:
        int64 [count, F], for each facet the index of a value, all equally likely, or -1 for none.
    """
    rng, facets = np.random.default_rng(seed), bank.facets
    choice = np.stack([rng.integers(0, len(facet.phrases), count) for facet in facets], axis=1)
    rare = known / 2 if optional is None else optional
    share = [known if facet.block.kind == "required" else rare for facet in facets]
    none = np.array([facet.index.get(NONE, -1) for facet in facets])
    used = (rng.random(choice.shape) < share) & (choice != none)
    return np.where(without_hidden(bank, choice, used), choice, -1)


def _value_index(bank: Bank, name: str, value: str) -> int:
    if name not in bank.by_name:
        raise BankError(f"no attribute {name!r} in bank {bank.name}; accepted: {', '.join(bank.by_name)}")
    index = bank.by_name[name].index
    if value not in index:
        raise BankError(f"{name}: no value {value!r} in bank {bank.name}; accepted: {', '.join(index)}")
    return index[value]
