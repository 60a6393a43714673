"""Fit temperatures to crops whose attributes are known: how overconfident a model is about each attribute.

Temperature scaling (Guo et al., ICML 2017): one divisor of the logits per attribute, the one that makes the labels most
likely. It changes the probability of a reading, never the value that a simple attribute takes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.arrays import Codes, Doubles, Flags, Floats
from stages.caption.bank.bank import Bank, block_facets
from stages.caption.bank.phrases import Attribute
from stages.caption.config import CaptionConfig
from stages.caption.read.conquer import BankFeatures, logit_chunks

COLDEST, HOTTEST = 0.05, 20.0
"""Range in which temperatures are searched."""

_STEPS = 40


@dataclass(frozen=True)
class Fit:
    """Temperature of one attribute.

    Args:
        temperature: Divisor of the logits.
        before: Mean negative log likelihood of the labels at temperature 1.
        after: The same at this temperature.
        crops: Number of labelled crops.
    """

    temperature: float
    before: float
    after: float
    crops: int


def label_codes(truths: Sequence[Mapping[str, str]], bank: Bank) -> Codes:
    """int64 [N, F]: index of the true value of each facet; -1 where it is not known or not in the bank."""
    return np.array([[facet.index.get(truth.get(facet.name, ""), -1) for facet in bank.facets] for truth in truths])


def fit_temperatures(
    features: Mapping[str, npt.NDArray[np.floating]],
    bank_features: BankFeatures,
    labels: Codes,
    config: CaptionConfig,
    means: Mapping[str, Doubles] | None = None,
) -> dict[str, Fit]:
    """Fit a temperature for every attribute that has labels.

    Args:
        features: Image features of N crops by region, each [N, D].
        bank_features: The encoded bank, of the same model.
        labels: int64 [N, F] from ``label_codes``. If only some factors of a composed attribute are known, the
            likelihood is that of all phrases that fit them.
        config: How attributes are read; its own temperatures are not applied.
        means: Mean features of the prior.

    Returns:
        A fit by attribute.
    """
    bank, plain = bank_features.bank, config.model_copy(update={"calibration": {}})
    logits: dict[str, list[Floats]] = {block.name: [] for block in bank.attributes}
    for rows, blocks, chunk in logit_chunks(features, bank_features, plain, means):
        start = 0
        for block in blocks:
            stop = start + len(bank_features.matrices[block.name])
            logits[block.name].append(chunk[start:stop, : rows.stop - rows.start])
            start = stop
    fits = {
        block.name: _fit(np.concatenate(logits[block.name], axis=1), _fitting(block, labels, bank))
        for block in bank.attributes
    }
    return {name: fit for name, fit in fits.items() if fit}


def _fitting(block: Attribute, labels: Codes, bank: Bank) -> Flags:
    """[phrases, N]: whether a phrase fits the labels of a crop; every phrase fits where no label is known."""
    facets = block_facets(block)
    sizes = [len(facet.phrases) for facet in facets]
    grid = np.ones((*sizes, len(labels)), bool)
    for axis, facet in enumerate(facets):
        known = labels[:, bank.column[facet.name]]
        true = (np.arange(sizes[axis])[:, None] == known) | (known < 0)
        grid &= true.reshape(*(size if at == axis else 1 for at, size in enumerate(sizes)), len(labels))
    return grid.reshape(math.prod(sizes), len(labels))


def _fit(logits: Floats, fitting: Flags) -> Fit | None:
    labelled = ~fitting.all(axis=0)
    if not labelled.any():
        return None
    wide, true = logits[:, labelled].astype(np.float64), fitting[:, labelled]

    def loss(logarithm: float) -> float:
        scaled = wide / math.exp(logarithm)
        labelled = np.where(true, scaled, -np.inf)
        return float((_log_sum(scaled) - _log_sum(labelled)).mean())

    best = _least(loss, math.log(COLDEST), math.log(HOTTEST))
    return Fit(math.exp(best), loss(0.0), loss(best), int(labelled.sum()))


def _log_sum(logits: Doubles) -> Doubles:
    most = logits.max(axis=0)
    return np.asarray(most + np.log(np.exp(logits - most).sum(axis=0)))


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    """Minimum of a unimodal function, by golden-section search."""
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return (low + high) / 2
