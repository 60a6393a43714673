"""Which words stand for each value: tables of wordings, from which the hash of a crop picks."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from stages.arrays import Codes
from stages.caption.bank.bank import Facet, compose
from stages.caption.bank.english import Number, with_article
from stages.caption.bank.phrases import Attribute, Phrase, Verb
from stages.caption.write.sentences import VerbForms

SLOTS = 256

_KEPT = 2**16

Hashes = npt.NDArray[np.uint64]
K = TypeVar("K")
V = TypeVar("V")


def crop_hashes(crop_ids: Sequence[str], seed: int, per_crop: int) -> Hashes:
    """One 64-bit number per crop and caption, [N, per_crop]; the same on any machine, in any order and batch."""
    keyed = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "little"))
    digests = bytearray()
    for crop_id in crop_ids:
        digest = keyed.copy()
        digest.update(crop_id.encode())
        digests += digest.digest()
    first = np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)
    return mix(first[:, None] + np.arange(per_crop, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def salted(hashes: Hashes, purpose: str) -> Hashes:
    """Independent numbers for each purpose, so that an attribute more leaves the choices of the others as they are."""
    salt = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    return mix(hashes ^ np.uint64(int.from_bytes(salt, "little")))


def slots(hashes: Hashes, purpose: str) -> Codes:
    """A slot, 0 to 255, for each hash."""
    return (salted(hashes, purpose) >> np.uint64(56)).astype(np.int64)


def spread(weights: Sequence[float]) -> Codes:
    """Which of the weighted options each of the equally likely slots stands for; every option gets at least one."""
    count = len(weights)
    if count > SLOTS:
        raise ValueError(f"{count} wordings of one value; accepted: at most {SLOTS}")
    ends = np.cumsum(weights) / np.sum(weights) * SLOTS
    table = np.searchsorted(ends, np.arange(SLOTS) + 0.5, side="right").clip(0, count - 1)
    table[np.arange(count) * SLOTS // count] = np.arange(count)
    return table.astype(np.int64)


class Kept(dict[K, V]):
    """What was put together, as most of it comes again; emptied when it holds too much."""

    def keep(self, key: K, value: V) -> V:
        """Take in one entry and give it back."""
        if len(self) >= _KEPT:
            self.clear()
        self[key] = value
        return value


class VerbTable:
    """The ways to say one verb."""

    def __init__(self, name: str, ways: Sequence[Verb]) -> None:
        self._name = name
        self.forms = [VerbForms(way.plain, way.third, way.joined, way.progressive) for way in ways]
        self._spread = spread([way.weight for way in ways])

    def codes(self, hashes: Hashes) -> Codes:
        """The way that each caption says it."""
        return self._spread[slots(hashes, f"verb {self._name}")]


class Wording(NamedTuple):
    """Words for a value, with their article where they are the object of a verb; that verb's name."""

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
        self._wordings: list[Wording] = []
        spreads = []
        for phrase in phrases:
            options = _options(phrase, phrase.verb or verb)
            spreads.append(spread([weight for _, weight in options]) + len(self._wordings) + 1)
            self._wordings += [wording for wording, _ in options]
        self._spread = np.stack(spreads)

    def codes(self, told: Sequence[Codes], hashes: Hashes) -> Codes:
        """A number for the words of each caption, 0 for none.

        Args:
            told: One array, int64 [N]: the index of the value, -1 where it is not told.
            hashes: uint64 [N].
        """
        (values,) = told
        return np.where(values < 0, 0, self._spread[values, slots(hashes, self._name)])

    def wording(self, code: int) -> Wording:
        """The words of a number from 1."""
        return self._wordings[code - 1]


def _options(phrase: Phrase, verb: str | None) -> list[tuple[Wording, float]]:
    options: list[tuple[Wording, float]] = []
    for text, number, weight in phrase.wordings:
        pairs = (False, True) if verb and number == "plural" else (False,)
        nouns = [_noun_phrase(text, number, pair=pair) if verb else text for pair in pairs]
        options += [(Wording(noun, verb), weight / len(nouns)) for noun in nouns]
    return options


def _noun_phrase(text: str, number: Number, *, pair: bool) -> str:
    return f"a pair of {text}" if number == "plural" and pair else with_article(text, number)


class ComposedTable:
    """The wordings of a composed attribute: those of its factors and modifiers, put together when they are met.

    Args:
        block: The attribute.
        facets: Its factors, then its modifiers.
    """

    def __init__(self, block: Attribute, facets: Sequence[Facet]) -> None:
        self._block = block
        self._facets = facets
        self._blanks = [facet.factor or facet.name for facet in facets]
        self._head = self._blanks.index(str(block.head))
        self._wordings: list[list[tuple[Phrase, str, Number]]] = []
        self._spreads: list[Codes] = []
        for facet in facets:
            wordings: list[tuple[Phrase, str, Number]] = []
            spreads = []
            for phrase in facet.phrases:
                spreads.append(spread([weight for _, _, weight in phrase.wordings]) + len(wordings) + 1)
                wordings += [(phrase, text, number) for text, number, _ in phrase.wordings]
            self._wordings.append(wordings)
            self._spreads.append(np.stack(spreads))
        self._known = Kept[int, Wording]()
        self._speaks = [np.array([False, *(bool(text) for _, text, _ in wordings)]) for wordings in self._wordings]

    def codes(self, told: Sequence[Codes], hashes: Hashes) -> Codes:
        """As in WordTable, with one array for each factor and modifier."""
        parts = [
            np.where(values < 0, 0, table[values, slots(hashes, facet.name)])
            for facet, values, table in zip(self._facets, told, self._spreads, strict=True)
        ]
        code = (slots(hashes, f"pair {self._block.name}") & 1) + 1
        for part, wordings in zip(parts, self._wordings, strict=True):
            code = code * (len(wordings) + 1) + part
        known = parts[self._head] > 0
        if self._block.generic:
            known |= np.any([speaks[part] for speaks, part in zip(self._speaks, parts, strict=True)], axis=0)
        return np.where(known, code, 0)

    def wording(self, code: int) -> Wording:
        """The words of a number that ``codes`` gave."""
        return self._known.get(code) or self._known.keep(code, self._put_together(code))

    def _put_together(self, code: int) -> Wording:
        chosen: dict[str, tuple[Phrase, str, Number]] = {}
        for blank, wordings in zip(self._blanks[::-1], self._wordings[::-1], strict=True):
            code, part = divmod(code, len(wordings) + 1)
            if part:
                chosen[blank] = wordings[part - 1]
        head = str(self._block.head)
        if head not in chosen:
            assert self._block.generic is not None
            chosen[head] = (self._block.generic, self._block.generic.text, self._block.generic.number)
        phrases = {blank: chosen[blank][0] for blank in self._blanks if blank in chosen}
        text = compose(self._block, phrases, {blank: text for blank, (_, text, _) in chosen.items()})
        noun = _noun_phrase(text, chosen[head][2], pair=code == 2)
        return Wording(noun, chosen[head][0].verb or self._block.verb)
