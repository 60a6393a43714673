"""Conquer: read attributes from image features by their similarity to the phrases of a bank.

Follows UniPT (ICCV 2023): prompts for every phrase, cosine similarity, a softmax per attribute; the best phrase of a
required attribute, an optional one when its probability is above 0.9.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.caption.bank import Bank, block_facets, block_prompts
from stages.caption.config import WHOLE, CaptionConfig
from stages.caption.phrases import Attribute
from stages.caption.problems import BankError
from stages.caption.readings import Readings
from stages.errors import UnitError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
EncodeTexts = Callable[[list[str]], Floats]

# Crops per matrix product. Short batches are filled up to it: one shape, so one order of summing.
CHUNK = 1024

# Features become whole numbers of this part of 1 before they are multiplied. Products and sums of whole numbers below
# 2**53 are exact in float64, in any order: with float32 products a crop's similarities changed in their last bits with
# its place in the batch and with the processor, and so, now and then, did its caption.
UNITS = 2.0**24


@dataclass(frozen=True)
class BankFeatures:
    """Text features of a bank under one model.

    Args:
        bank: The bank.
        matrices: For each attribute, float32 [phrases, D], rows of unit norm; composed attributes hold the product of
            their factors, the last varying fastest.
        logit_scale: The model's own factor on cosine similarities.
    """

    bank: Bank
    matrices: Mapping[str, Floats]
    logit_scale: float

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return int(next(iter(self.matrices.values())).shape[1])


def encode_bank(bank: Bank, encode_texts: EncodeTexts, *, logit_scale: float = 100.0) -> BankFeatures:
    """Encode every phrase of a bank: the mean of its prompts' features, normalised again.

    Args:
        bank: The bank.
        encode_texts: Text tower; n strings to float32 [n, D] of unit norm. Called once, each prompt given once.
        logit_scale: The model's own factor on cosine similarities (CLIP's is 100).
    """
    prompts = {block.name: block_prompts(block) for block in bank.attributes}
    distinct = sorted({text for phrases in prompts.values() for texts in phrases for text in texts})
    row = {text: i for i, text in enumerate(distinct)}
    encoded = np.asarray(encode_texts(distinct), dtype=np.float32)
    if encoded.ndim != 2 or len(encoded) != len(distinct):
        raise ValueError(f"encode_texts gave an array of shape {encoded.shape} for {len(distinct)} texts")
    means = {
        name: np.stack([encoded[[row[text] for text in texts]].mean(axis=0) for texts in phrases])
        for name, phrases in prompts.items()
    }
    return BankFeatures(
        bank, {name: normalised(mean).astype(np.float32) for name, mean in means.items()}, float(logit_scale)
    )


def normalised(features: npt.NDArray[np.floating]) -> Doubles:
    """Rows of unit L2 norm, float64; zero rows stay zero."""
    wide = features.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    return np.asarray(wide / np.where(norms > 0, norms, 1), dtype=np.float64)


def read_attributes(
    features: Mapping[str, npt.NDArray[np.floating]], bank_features: BankFeatures, config: CaptionConfig
) -> Readings:
    """Read every attribute of N crops.

    Args:
        features: Image features by region, each [N, D]; an attribute whose region is not among them is read from
            ``whole``, and its reading says so.
        bank_features: The encoded bank, of the same model.
        config: Thresholds, logit scale, temperatures, and whether to be faithful to the paper.

    Raises:
        UnitError: The features do not fit the bank's, or are not finite.
        BankError: The configuration names attributes that the bank does not have.
    """
    bank = bank_features.bank
    check_temperatures(bank, config)
    regions = _regions(bank, features, config)
    _check(features, set(regions.values()), bank_features.dim)
    count = len(next(iter(features.values())))
    readings = Readings.empty(bank, regions, count)
    for region in sorted(set(regions.values())):
        blocks = [block for block in bank.attributes if regions[block.name] == region]
        weights, scales = _weights(blocks, bank_features), _scales(blocks, bank_features, config)
        for start in range(0, count, CHUNK):
            rows = slice(start, min(start + CHUNK, count))
            logits = (_similarities(features[region][rows], weights) * scales).astype(np.float32)
            _read_chunk(logits, blocks, readings, rows, faithful=config.faithful)
    return readings.decide(config)


def check_temperatures(bank: Bank, config: CaptionConfig) -> None:
    """Raise BankError where a temperature is given for an attribute that the bank does not have."""
    names = [block.name for block in bank.attributes]
    for name in config.temperatures:
        if name not in names:
            raise BankError(
                f"caption.temperatures: no attribute {name!r} in bank {bank.name}; accepted: {', '.join(names)}"
            )


def _regions(bank: Bank, present: Mapping[str, object], config: CaptionConfig) -> dict[str, str]:
    whole = {block.name for block in bank.attributes if config.faithful or block.region not in present}
    return {block.name: WHOLE if block.name in whole else block.region for block in bank.attributes}


def _check(features: Mapping[str, npt.NDArray[np.floating]], needed: set[str], dim: int) -> None:
    missing = needed - set(features)
    if missing:
        raise UnitError(
            f"no embedding of region {', '.join(sorted(missing))}; present: {', '.join(sorted(features))}. "
            "Embed that region, or change the bank's regions",
            kind="missing_region",
        )
    shapes = {region: features[region].shape for region in sorted(needed)}
    if any(len(shape) != 2 or shape[1] != dim for shape in shapes.values()) or len({s[0] for s in shapes.values()}) > 1:
        raise UnitError(
            f"embeddings of shape {shapes} do not fit text features of length {dim}; embed and caption with one model",
            kind="embedding_shape",
        )
    if not all(np.isfinite(features[region]).all() for region in needed):
        raise UnitError("an embedding holds NaN or infinity; embed these crops again", kind="embedding_value")


def _weights(blocks: Sequence[Attribute], bank_features: BankFeatures) -> Doubles:
    """The phrases of several attributes one below the other, [phrases, D], in whole UNITS."""
    return np.rint(np.concatenate([normalised(bank_features.matrices[block.name]) for block in blocks]) * UNITS)


def _scales(blocks: Sequence[Attribute], bank_features: BankFeatures, config: CaptionConfig) -> Doubles:
    """[phrases, 1]: from products of whole UNITS to logits."""
    scale = (config.logit_scale or bank_features.logit_scale) / UNITS**2
    sizes = [len(bank_features.matrices[block.name]) for block in blocks]
    return np.repeat([scale / config.temperatures.get(block.name, 1.0) for block in blocks], sizes)[:, None]


def _similarities(features: npt.NDArray[np.floating], weights: Doubles) -> Doubles:
    """[phrases, CHUNK]: crops stand in columns, so that sums over phrases run over whole rows of memory."""
    filled = np.zeros((CHUNK, features.shape[1]))
    filled[: len(features)] = np.rint(normalised(features) * UNITS)
    return np.asarray(weights @ filled.T, dtype=np.float64)


def _read_chunk(
    logits: Floats, blocks: Sequence[Attribute], readings: Readings, rows: slice, *, faithful: bool
) -> None:
    start = 0
    for block in blocks:
        facets = block_facets(block)
        sizes = [len(facet.phrases) for facet in facets]
        stop = start + math.prod(sizes)
        joint = softmax(logits[start:stop])
        best = np.unravel_index(joint.argmax(axis=0), sizes) if faithful else None
        grid = joint.reshape(*sizes, CHUNK)
        for axis, facet in enumerate(facets):
            others = tuple(other for other in range(len(facets)) if other != axis)
            marginal = grid.sum(axis=others) if others else joint
            readings.put(facet.name, rows, marginal, best[axis] if best else marginal.argmax(axis=0))
        start = stop


def softmax(logits: Floats) -> Floats:
    """Along the first axis; float32."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), dtype=np.float32)
