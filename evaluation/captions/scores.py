"""Scores of readings against known attributes: accuracy, calibration of probabilities, and colour bleed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.arrays import Column
from stages.caption.bank.bank import Bank

Truth = Mapping[str, frozenset[str]]
"""Acceptable values by attribute; absent attributes are not labelled."""

# The number of bins in Guo et al. (ICML 2017).
BINS = 15


@dataclass(frozen=True)
class Score:
    """Scores of one attribute over the crops labelled with it; shares from 0 to 1, NaN where no crop counts.

    Args:
        attribute: The attribute or factor.
        crops: Number of crops labelled with it.
        right: Share whose most probable value is acceptable.
        guess: Share that the best constant answer would get.
        stated: Share whose captions state it.
        stated_right: Share of those that state an acceptable value.
        calibration_error: Expected calibration error (Guo et al., ICML 2017): mean distance between probability and
            accuracy, over 15 bins of probability.
    """

    attribute: str
    crops: int
    right: float
    guess: float
    stated: float
    stated_right: float
    calibration_error: float


def judge(attributes: Column, truths: Sequence[Truth], bank: Bank) -> list[Score]:
    """Score readings attribute by attribute.

    Args:
        attributes: The ``attributes`` column of ``schemas.tables.CAPTIONS``, N rows.
        truths: Acceptable values of the same N crops. Values that the bank does not have are ignored; an attribute
            without any other value is not scored.
        bank: The bank of the readings.

    Returns:
        One score per attribute that some crop is labelled with, in the order of the bank.
    """
    rows: list[Any] = attributes.to_pylist()
    readings = [{item["attribute"]: item for item in row} for row in rows]
    scores = []
    for facet in bank.facets:
        wanted = [truth.get(facet.name, frozenset()) & set(facet.index) for truth in truths]
        pairs = [(row[facet.name], want) for row, want in zip(readings, wanted, strict=True) if want]
        if pairs:
            scores.append(_score(facet.name, pairs))
    return scores


def _score(name: str, pairs: Sequence[tuple[Mapping[str, object], frozenset[str]]]) -> Score:
    right = np.array([reading["value"] in want for reading, want in pairs])
    stated = np.array([bool(reading["used"]) for reading, _ in pairs])
    probability = np.array([reading["probability"] for reading, _ in pairs], dtype=np.float64)
    answers = Counter(value for _, want in pairs for value in want)
    return Score(
        attribute=name,
        crops=len(pairs),
        right=float(right.mean()),
        guess=answers.most_common(1)[0][1] / len(pairs),
        stated=float(stated.mean()),
        stated_right=float(right[stated].mean()) if stated.any() else float("nan"),
        calibration_error=calibration_error(probability, right),
    )


def calibration_error(probability: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error of N readings over equal bins of probability (Guo et al., ICML 2017)."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    sizes = np.bincount(bins, minlength=BINS)
    gaps = np.bincount(bins, weights=probability - right, minlength=BINS)
    return float(np.abs(gaps).sum() / sizes.sum())


def colour_bleed(attributes: Column, truths: Sequence[Truth]) -> tuple[float, int]:
    """How often the same colour is read for both garments of persons who wear two colours.

    Args:
        attributes: As for ``judge``.
        truths: As for ``judge``; only crops whose ``upper_colour`` and ``lower_colour`` have no value in common count.

    Returns:
        The share of those crops with the same colour read for both (NaN without any), and their number.
    """
    same = []
    rows: list[Any] = attributes.to_pylist()
    for row, truth in zip(rows, truths, strict=True):
        upper, lower = truth.get("upper_colour", frozenset()), truth.get("lower_colour", frozenset())
        if upper and lower and not upper & lower:
            read = {item["attribute"]: item["value"] for item in row}
            same.append(read["upper_colour"] == read["lower_colour"])
    return (float(np.mean(same)) if same else float("nan")), len(same)
