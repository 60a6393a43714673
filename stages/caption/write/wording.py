"""Wordings: which words may stand for each value, and the hash that picks one for each caption."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from stages.arrays import Codes
from stages.caption.bank.bank import Facet, compose
from stages.caption.bank.english import Number, with_article
from stages.caption.bank.phrases import Attribute, Phrase, Verb
from stages.caption.write.parts import VerbForms

SLOTS = 256

CACHED = 2**16
"""Entries of each cache of composed wordings, statements and persons; most combinations recur."""

# The golden ratio's 64 bits, SplitMix64's increment: it spreads the captions of one crop over the whole range.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]
T = TypeVar("T")


def crop_hashes(crop_ids: Sequence[str], seed: int, per_crop: int) -> Hashes:
    """One 64-bit number per crop and caption, uint64 [N, per_crop]; independent of machine, order and batch."""
    keyed = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "little"))
    digests = bytearray()
    for crop_id in crop_ids:
        digest = keyed.copy()
        digest.update(crop_id.encode())
        digests += digest.digest()
    first = np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)
    return mix(first[:, None] + np.arange(per_crop, dtype=np.uint64) * _GAMMA)


def mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def salted(hashes: Hashes, purpose: str) -> Hashes:
    """Independent numbers for each purpose, so that a new attribute does not change the choices of the others."""
    salt = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    return mix(hashes ^ np.uint64(int.from_bytes(salt, "little")))


def slots(hashes: Hashes, purpose: str) -> Codes:
    """A slot for each hash, int64 from 0 to 255."""
    return (salted(hashes, purpose) >> np.uint64(56)).astype(np.int64)


def spread(weights: Sequence[float]) -> Codes:
    """Assign the equally likely slots to weighted options: int64 [SLOTS], the option of each; every option gets one."""
    count = len(weights)
    if count > SLOTS:
        raise ValueError(f"{count} wordings of one value; accepted: at most {SLOTS}")
    ends = np.cumsum(weights) / np.sum(weights) * SLOTS
    table = np.searchsorted(ends, np.arange(SLOTS) + 0.5, side="right").clip(0, count - 1)
    table[np.arange(count) * SLOTS // count] = np.arange(count)
    return table.astype(np.int64)


class _Choices:
    """The options of every value of a facet, numbered from 1; 0 is a value that is not stated.

    Args:
        weights: For each value, the weights of its options.
    """

    def __init__(self, weights: Iterable[Sequence[float]]) -> None:
        tables, count = [], 0
        for row in weights:
            tables.append(spread(row) + count + 1)
            count += len(row)
        self._table = np.stack(tables)
        self.size = count + 1
        """How many numbers there are, 0 included."""

    def numbers(self, values: Codes, slot: Codes) -> Codes:
        """The number of the option of each caption, int64 [N], from the index of its value (-1: not stated)."""
        return np.where(values < 0, 0, self._table[values, slot])


class VerbTable:
    """The ways to say one verb."""

    def __init__(self, name: str, ways: Sequence[Verb]) -> None:
        self._name = name
        self.forms = [VerbForms(way.plain, way.third, way.joined, way.progressive) for way in ways]
        self._spread = spread([way.weight for way in ways])

    def codes(self, hashes: Hashes) -> Codes:
        """The way that each caption says it, an index of ``forms``."""
        return self._spread[slots(hashes, f"verb {self._name}")]


class Wording(NamedTuple):
    """The words for a value, and the verb that takes them as its object.

    Words with a verb carry their article.
    """

    text: str
    verb: str | None


class WordTable:
    """The wordings of a simple attribute.

    Args:
        name: Name of the attribute.
        phrases: Its values.
        verb: Verb of which they are objects, unless a phrase names another; None for none.
    """

    def __init__(self, name: str, phrases: Sequence[Phrase], verb: str | None) -> None:
        self._name = name
        options = [_options(phrase, phrase.verb or verb) for phrase in phrases]
        self._wordings = [wording for row in options for wording, _ in row]
        self._choices = _Choices([weight for _, weight in row] for row in options)

    def codes(self, stated: Sequence[Codes], hashes: Hashes) -> Codes:
        """A code for the words of each caption, 0 for none.

        Args:
            stated: One array, int64 [N]: the index of the value, -1 where it is not stated.
            hashes: uint64 [N].
        """
        (values,) = stated
        return self._choices.numbers(values, slots(hashes, self._name))

    def wording(self, code: int) -> Wording:
        """The words of a code other than 0."""
        return self._wordings[code - 1]


def _options(phrase: Phrase, verb: str | None) -> list[tuple[Wording, float]]:
    """The wordings of a phrase with their weights; plural objects also as ``a pair of gloves``, at half the weight."""
    options: list[tuple[Wording, float]] = []
    for text, number, weight in phrase.wordings:
        pairs = (False, True) if verb and number == "plural" else (False,)
        nouns = [_noun_phrase(text, number, pair=pair) if verb else text for pair in pairs]
        options += [(Wording(noun, verb), weight / len(nouns)) for noun in nouns]
    return options


def _noun_phrase(text: str, number: Number, *, pair: bool) -> str:
    return f"a pair of {text}" if number == "plural" and pair else with_article(text, number)


class _Option(NamedTuple):
    """One wording of one value of a factor or modifier."""

    phrase: Phrase
    text: str
    number: Number


class ComposedTable:
    """The wordings of a composed attribute: those of its factors and modifiers, composed on first use.

    A bank may have millions of combinations (colour x pattern x garment, each with its synonyms), so they are not
    listed: the code of a combination packs the numbers of its parts, as the flat index of an array with one axis for
    the pair (``a pair of jeans``) and one for each factor and modifier.

    Args:
        block: The attribute.
        facets: Its factors, then its modifiers.
    """

    def __init__(self, block: Attribute, facets: Sequence[Facet]) -> None:
        self._block = block
        self._facets = facets
        self._blanks = [facet.factor or facet.name for facet in facets]
        self._head = self._blanks.index(str(block.head))
        wordings = [[phrase.wordings for phrase in facet.phrases] for facet in facets]
        self._options = [
            [_Option(phrase, text, number) for phrase in facet.phrases for text, number, _ in phrase.wordings]
            for facet in facets
        ]
        self._choices = [_Choices([weight for _, _, weight in row] for row in rows) for rows in wordings]
        self._shape = (2, *(choices.size for choices in self._choices))
        self._axes = list(zip(self._blanks, self._options, self._shape[1:], strict=True))[::-1]
        # Whether each number has words: a synonym may be the empty text.
        self._speaks = [np.array([False, *(bool(option.text) for option in options)]) for options in self._options]
        self.wording: Callable[[int], Wording] = lru_cache(maxsize=CACHED)(self._composed)
        """The words of a code other than 0."""

    def codes(self, stated: Sequence[Codes], hashes: Hashes) -> Codes:
        """As in WordTable, with one array for each factor and modifier."""
        parts = [
            choices.numbers(values, slots(hashes, facet.name))
            for facet, values, choices in zip(self._facets, stated, self._choices, strict=True)
        ]
        pair = slots(hashes, f"pair {self._block.name}") & 1
        known = parts[self._head] > 0
        if self._block.generic:
            known |= np.any([speaks[part] for speaks, part in zip(self._speaks, parts, strict=True)], axis=0)
        # Known captions have a part above 0, so their flat index is above 0, too.
        return np.where(known, np.ravel_multi_index((pair, *parts), self._shape), 0)

    def _composed(self, code: int) -> Wording:
        chosen: dict[str, _Option] = {}
        # The inverse of ravel_multi_index, axis by axis from the last. np.unravel_index takes four times as long for a
        # single code, and with a rich bank most captions have a new one.
        for blank, options, size in self._axes:
            code, part = divmod(code, size)
            if part:
                chosen[blank] = options[part - 1]
        pair = bool(code)
        head = self._head_option(chosen)
        chosen[str(self._block.head)] = head
        phrases = {blank: chosen[blank].phrase for blank in self._blanks if blank in chosen}
        text = compose(self._block, phrases, {blank: option.text for blank, option in chosen.items()})
        return Wording(_noun_phrase(text, head.number, pair=pair), head.phrase.verb or self._block.verb)

    def _head_option(self, chosen: Mapping[str, _Option]) -> _Option:
        """The head's wording; where the head is unknown, the generic phrase (a red top)."""
        generic = self._block.generic
        head = chosen.get(str(self._block.head))
        if head is None:
            assert generic is not None, "without a generic phrase, codes() gives 0 where the head is unknown"
            head = _Option(generic, generic.text, generic.number)
        return head
