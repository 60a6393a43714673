"""Conquer: read attributes from image features by their similarity to the phrases of a bank.

Follows UniPT (ICCV 2023): prompts for every phrase, cosine similarity, a softmax per attribute; the best phrase of a
required attribute, an optional one when its probability is above 0.9.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from stages.arrays import Doubles, Floats
from stages.caption.bank.bank import Bank, block_facets, block_prompts
from stages.caption.bank.phrases import Attribute
from stages.caption.bank.problems import BankError
from stages.caption.config import WHOLE, CaptionConfig
from stages.caption.read.calibration import load_temperatures
from stages.caption.read.exact import UNITS, in_units, normalised
from stages.caption.read.prior import prior_rows
from stages.caption.read.reader import CropBatch, Needs
from stages.caption.read.readings import Readings
from stages.errors import UnitError

Blend = tuple[tuple[str, float], ...]
EncodeTexts = Callable[[list[str]], Floats]

SOURCE = "clip"
"""Name of this reader in the column ``source`` of the view ``attributes``."""

# Crops per matrix product. Short batches are filled up to it: one shape, so one order of summing.
CHUNK = 1024


@dataclass(frozen=True)
class BankFeatures:
    """Text features of a bank under one model.

    Args:
        bank: The bank.
        matrices: For each attribute, float32 [phrases, D], rows of unit norm. The phrases of a composed attribute are
            the product of its factors, the last varying fastest.
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
    """Encode every phrase of a bank as the mean of its prompts' features, normalised again.

    Args:
        bank: The bank.
        encode_texts: Text tower: n strings to float32 [n, D] of unit norm. Called once; no prompt occurs twice.
        logit_scale: The model's own factor on cosine similarities (CLIP's is 100).
    """
    prompts = {block.name: block_prompts(block) for block in bank.attributes}
    distinct = sorted({text for phrases in prompts.values() for texts in phrases for text in texts})
    row = {text: i for i, text in enumerate(distinct)}
    encoded = np.asarray(encode_texts(distinct), dtype=np.float32)
    if encoded.ndim != 2 or len(encoded) != len(distinct):
        raise ValueError(f"encode_texts returned an array of shape {encoded.shape} for {len(distinct)} texts")
    means = {
        name: np.stack([encoded[[row[text] for text in texts]].mean(axis=0) for texts in phrases])
        for name, phrases in prompts.items()
    }
    return BankFeatures(
        bank, {name: normalised(mean).astype(np.float32) for name, mean in means.items()}, float(logit_scale)
    )


def pack_bank(encoded: BankFeatures) -> bytes:
    """The features of a bank as the bytes of an NPZ file, which ``unpack_bank`` reads."""
    buffer = io.BytesIO()
    arrays = {f"matrix_{name}": matrix for name, matrix in encoded.matrices.items()}
    np.savez(buffer, allow_pickle=False, logit_scale=np.float64(encoded.logit_scale), **arrays)
    return buffer.getvalue()


def unpack_bank(content: bytes, bank: Bank) -> BankFeatures:
    """Inverse of ``pack_bank``, for the bank that was packed."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        matrices = {block.name: arrays[f"matrix_{block.name}"] for block in bank.attributes}
        return BankFeatures(bank, matrices, float(arrays["logit_scale"]))


@dataclass(frozen=True)
class ClipReader:
    """Attribute reader over stored CLIP embeddings; ``read_attributes`` describes the arguments."""

    bank_features: BankFeatures
    config: CaptionConfig
    means: Mapping[str, Doubles] = field(default_factory=dict)
    needs: ClassVar[Needs] = "embeddings"

    def read(self, batch: CropBatch) -> Readings:
        """Read every attribute of the batch's crops."""
        return read_attributes(batch.features, self.bank_features, self.config, self.means)


def read_attributes(
    features: Mapping[str, npt.NDArray[np.floating]],
    bank_features: BankFeatures,
    config: CaptionConfig,
    means: Mapping[str, Doubles] | None = None,
) -> Readings:
    """Read every attribute of N crops.

    Args:
        features: Image features by region, each [N, D]. An attribute is read from ``whole`` where none of its regions
            was embedded; ``Readings.regions`` names what was read.
        bank_features: The encoded bank, of the same model.
        config: Logit scale, calibration, prior, and whether to read as the paper does.
        means: Mean features of the prior by region, as ``prior`` computes them; regions without one are not corrected.

    Raises:
        UnitError: The features do not fit the bank's, or are not finite.
        BankError: The configuration names attributes that the bank does not have.
    """
    bank, chunks = bank_features.bank, logit_chunks(features, bank_features, config, means)
    shape = (len(next(iter(features.values()))), len(bank.facets))
    choice, (probability, margin) = np.zeros(shape, np.int64), np.zeros((2, *shape), np.float32)
    for rows, blocks, logits in chunks:
        for name, marginal, taken in _marginals(logits, blocks, faithful=config.faithful):
            found, column, count = _likelihood(marginal, taken), bank.column[name], rows.stop - rows.start
            choice[rows, column] = taken[:count]
            probability[rows, column], margin[rows, column] = (values[:count] for values in found)
    regions = tuple(_label(_present(facet.block, features, config)) for facet in bank.facets)
    return Readings(bank, regions, (SOURCE,) * len(bank.facets), choice, probability, margin)


def logit_chunks(
    features: Mapping[str, npt.NDArray[np.floating]],
    bank_features: BankFeatures,
    config: CaptionConfig,
    means: Mapping[str, Doubles] | None = None,
) -> Iterator[tuple[slice, list[Attribute], Floats]]:
    """Logits of every phrase, CHUNK crops at a time; arguments and errors as for ``read_attributes``.

    Yields:
        The rows of some crops; attributes that are read from one blend of regions; and float32 [phrases, CHUNK], the
        phrases of these attributes stacked. Columns past the last crop have no meaning.
    """
    bank = bank_features.bank
    blends = {block.name: _present(block, features, config) for block in bank.attributes}
    regions = sorted({region for blend in blends.values() for region, _ in blend})
    _check(features, regions, bank_features.dim)
    _check_means(means or {}, bank_features.dim)
    count = len(next(iter(features.values())))
    priors = prior_rows(means or {}, config)
    asked = []
    for blend in sorted(set(blends.values())):
        blocks = [block for block in bank.attributes if blends[block.name] == blend]
        weights, scales = _weights(blocks, bank_features), _scales(blocks, bank_features, config)
        offsets = _offsets(blocks, bank_features, weights, blend, priors, every=config.prior == "reference")
        asked.append((blend, blocks, weights, scales, offsets))
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        wholes = {region: _filled_up(features[region][rows]) for region in regions}
        for blend, blocks, weights, scales, offsets in asked:
            # In place: thousands of phrases by CHUNK crops are tens of megabytes.
            logits = weights @ _blended(wholes, blend).T
            if priors:
                logits -= offsets
            logits *= scales
            yield rows, blocks, logits.astype(np.float32)


def blend_of(block: Attribute) -> Blend:
    """The regions that an attribute is read from, each with its share, largest share first."""
    return tuple(sorted(block.blend.items(), key=lambda part: (-part[1], part[0])))


def _present(block: Attribute, features: Mapping[str, object], config: CaptionConfig) -> Blend:
    """The blend, reduced to the regions that were embedded; the whole crop if none of them was."""
    parts = [] if config.faithful else [part for part in blend_of(block) if part[0] in features]
    total = sum(share for _, share in parts)
    return tuple((region, share / total) for region, share in parts) or ((WHOLE, 1.0),)


def _label(blend: Blend) -> str:
    return "+".join(region for region, _ in blend)


def _check(features: Mapping[str, npt.NDArray[np.floating]], needed: Sequence[str], dim: int) -> None:
    missing = set(needed) - set(features)
    if missing:
        raise UnitError(
            f"no embedding of region {', '.join(sorted(missing))}; present: {', '.join(sorted(features))}. "
            "Embed that region, or change the bank's regions",
            kind="missing_region",
        )
    shapes = {region: features[region].shape for region in needed}
    if any(len(shape) != 2 or shape[1] != dim for shape in shapes.values()) or len({s[0] for s in shapes.values()}) > 1:
        raise UnitError(
            f"embeddings of shape {shapes} do not fit text features of length {dim}; embed and caption with one model",
            kind="embedding_shape",
        )


def _check_means(means: Mapping[str, Doubles], dim: int) -> None:
    for region, mean in means.items():
        if mean.shape != (dim,):
            raise BankError(
                f"caption.reference: its features of region {region} have length {mean.size}, those of the model "
                f"length {dim}; make the reference set with the recipe's model"
            )


def _weights(blocks: Sequence[Attribute], bank_features: BankFeatures) -> Doubles:
    """The phrases of several attributes, stacked: [phrases, D], in whole UNITS."""
    return np.concatenate([in_units(bank_features.matrices[block.name]) for block in blocks])


def _scales(blocks: Sequence[Attribute], bank_features: BankFeatures, config: CaptionConfig) -> Doubles:
    """[phrases, 1]: factors from products of whole UNITS to logits."""
    temperatures = load_temperatures(config, bank_features.bank)
    scale = (config.logit_scale or bank_features.logit_scale) / UNITS**2
    sizes = [len(bank_features.matrices[block.name]) for block in blocks]
    return np.repeat([scale / temperatures.get(block.name, 1.0) for block in blocks], sizes)[:, None]


def _offsets(
    blocks: Sequence[Attribute],
    bank_features: BankFeatures,
    weights: Doubles,
    blend: Blend,
    priors: Mapping[str, Doubles],
    *,
    every: bool,
) -> Doubles:
    """[phrases, 1]: mean similarity of each phrase, to be subtracted; 0 where the prior does not apply.

    In a corpus, "none" rightly wins nearly everywhere, so the means of a corpus are subtracted for required attributes
    only. A reference set shows all values, so its means are subtracted for ``every`` attribute.
    """
    nothing = np.zeros(weights.shape[1])
    mean = np.rint(np.sum([share * priors.get(region, nothing) for region, share in blend], axis=0))
    sizes = [len(bank_features.matrices[block.name]) for block in blocks]
    damped = np.repeat([every or block.kind == "required" for block in blocks], sizes)
    return np.where(damped, weights @ mean, 0.0)[:, None]


def _filled_up(features: npt.NDArray[np.floating]) -> Doubles:
    """float64 [CHUNK, D], unit features in whole UNITS, padded with rows of zeros."""
    # NaN and infinity propagate, so one sum is enough to find them.
    with np.errstate(invalid="ignore"):
        wholes = in_units(features)
    if not np.isfinite(wholes.sum()):
        raise UnitError("an embedding holds NaN or infinity; embed these crops again", kind="embedding_value")
    missing = CHUNK - len(wholes)
    return np.pad(wholes, ((0, missing), (0, 0))) if missing else wholes


def _blended(wholes: Mapping[str, Doubles], blend: Blend) -> Doubles:
    """float64 [CHUNK, D], whole UNITS: the weighted sum of the regions' unit features.

    It is not normalised again, so its similarities are the weighted sums of the regions' similarities.
    """
    if len(blend) == 1:
        return wholes[blend[0][0]]
    return np.asarray(np.rint(sum(wholes[region] * share for region, share in blend)), dtype=np.float64)


def _marginals(
    logits: Floats, blocks: Sequence[Attribute], *, faithful: bool
) -> Iterator[tuple[str, Floats, npt.NDArray[np.intp]]]:
    """For each facet of some attributes: its name, float32 [values, CHUNK], and the index of the value taken, [CHUNK].

    The paper takes the best combination of a composed attribute, our default the best value of each factor.
    """
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
            yield facet.name, marginal, best[axis] if best else marginal.argmax(axis=0)
        start = stop


def _likelihood(marginal: Floats, taken: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Probability of the value taken, and its distance to the most likely other value: float32 [CHUNK] each."""
    every = np.arange(marginal.shape[1])
    probability = marginal[taken, every]
    others = marginal.copy()
    others[taken, every] = -np.inf
    return probability, probability - others.max(axis=0)


def softmax(logits: Floats) -> Floats:
    """Along the first axis; float32."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), dtype=np.float32)
