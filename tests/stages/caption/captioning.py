"""What the tests of captions share: a bank, random persons, and a text encoder that needs no weights."""

import functools
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evaluation.captions import stated
from stages.arrays import Codes, Doubles
from stages.caption.bank.bank import Bank, block_facets, load_bank
from stages.caption.bank.phrases import Attribute
from stages.caption.config import CaptionConfig
from stages.caption.read.conquer import BankFeatures, encode_bank, read_attributes
from stages.caption.read.decisions import Decisions, decide
from stages.caption.read.evidence import Evidence
from stages.caption.write.combine import write_sentences

DIM = 512

WALKER = {
    "age": "young",
    "gender": "man",
    "action": "walking",
    "hair": "short",
    "upper": "shirt",
    "upper_colour": "blue",
    "upper_pattern": "striped",
    "lower": "long pants",
    "lower_colour": "black",
    "bag": "backpack",
    "cellphone": "none",
    "glasses": "sunglasses",
    "hat": "none",
    "vehicle": "none",
    "gloves": "none",
    "umbrella": "none",
    "smoke": "none",
}


@functools.cache
def unipt() -> Bank:
    return load_bank("unipt14")


@functools.cache
def street() -> Bank:
    return load_bank("street")


@functools.cache
def _word(word: str) -> npt.NDArray[np.float64]:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal(DIM)


def encode_texts(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Bag of words: every word has a random direction of its own. Texts are as alike as the words they share."""
    sums = np.stack([np.sum([_word(word) for word in text.split()], axis=0) for text in texts])
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), dtype=np.float32)


def decided(
    features: Mapping[str, npt.NDArray[np.floating]],
    encoded: BankFeatures,
    config: CaptionConfig,
    *,
    means: Mapping[str, Doubles] | None = None,
    evidence: Evidence | None = None,
) -> Decisions:
    """What captions state of crops with these features."""
    return decide(read_attributes(features, encoded, config, means), config, evidence)


@functools.cache
def unipt_features() -> BankFeatures:
    return encode_bank(unipt(), encode_texts)


def look(person: Mapping[str, str], region: str | None = None) -> npt.NDArray[np.float32]:
    """Image feature of a person: the sum of what sets its phrases apart, all or one region's; absences do not show."""
    seen = [block for block in unipt().attributes if region in (None, block.region) and person[block.name] != "none"]
    parts = [_mark(block, person) for block in seen]
    return unit(np.sum(parts, axis=0))


def _mark(block: Attribute, person: Mapping[str, str]) -> npt.NDArray[np.float32]:
    matrix, facets = unipt_features().matrices[block.name], block_facets(block)
    values = [facet.index[person[facet.name]] for facet in facets]
    at = np.ravel_multi_index(values, [len(facet.phrases) for facet in facets])
    return unit(matrix[at] - matrix.mean(axis=0))


def unit(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def random_stated(count: int, *, known: float, seed: int = 0) -> Codes:
    """Stated values of random persons; required attributes with this probability, optional ones half as often."""
    return stated.random_stated(unipt(), count, known=known, seed=seed)


def describe(
    attributes: Mapping[str, str], key: str | int, *, bank: Bank, config: CaptionConfig | None = None, n: int = 1
) -> list[str]:
    """Captions of one person whose attributes are known; ``key`` is the crop's id."""
    chosen = (config or CaptionConfig()).model_copy(update={"captions_per_crop": n})
    return write_sentences(stated.stated_values(attributes, bank), [str(key)], bank, chosen).texts


def persons(count: int, seed: int = 0) -> list[Mapping[str, str]]:
    """Random readings, every attribute known."""
    rng, facets = np.random.default_rng(seed), unipt().facets
    return [
        {facet.name: facet.phrases[rng.integers(len(facet.phrases))].value for facet in facets} for _ in range(count)
    ]
