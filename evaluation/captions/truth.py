"""Sentences and prompts from a reading that is known: rendered persons, labelled crops."""

from collections.abc import Mapping

import numpy as np

from stages.arrays import Codes
from stages.caption.bank.bank import Bank
from stages.caption.bank.phrases import NONE
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.read.decisions import without_hidden
from stages.caption.write.combine import write_sentences


def describe(
    attributes: Mapping[str, str], key: str | int, *, bank: Bank, config: CaptionConfig | None = None, n: int = 1
) -> list[str]:
    """Sentences about a person whose attributes are known.

    Args:
        attributes: Value by attribute, e.g. ``{"gender": "woman", "upper": "coat", "upper_colour": "red"}``; an
            attribute that is absent, or ``none``, leaves no trace.
        key: Stands for the crop's id: with the seed it fixes every choice.
        bank: The bank that the attributes and values are of.
        config: Seed, styles, templates; default: as the stage's.
        n: How many sentences.

    Raises:
        BankError: An attribute or a value is not in the bank.
    """
    chosen = (config or CaptionConfig()).model_copy(update={"captions_per_crop": n})
    return write_sentences(told_values(attributes, bank), [str(key)], bank, chosen).texts


def told_values(attributes: Mapping[str, str], bank: Bank) -> Codes:
    """int64 [1, F]: for each facet the index of the value to tell, -1 for none (see ``describe`` for the arguments)."""
    choice = np.full((1, len(bank.facets)), -1, dtype=np.int64)
    for name, value in attributes.items():
        index = value_index(bank, name, value)
        if value != NONE:
            choice[0, bank.column[name]] = index
    used = choice >= 0
    used = without_hidden(bank, choice, used)
    return np.where(used, choice, -1)


def value_index(bank: Bank, name: str, value: str) -> int:
    """Position of a value among those of its attribute; BankError where the bank has no such attribute or value."""
    if name not in bank.by_name:
        raise BankError(f"no attribute {name!r} in bank {bank.name}; accepted: {', '.join(bank.by_name)}")
    index = bank.by_name[name].index
    if value not in index:
        raise BankError(f"{name}: no value {value!r} in bank {bank.name}; accepted: {', '.join(index)}")
    return index[value]
