"""Which words stand for each value: tables of wordings, from which the hash of a crop picks."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.caption.bank import Facet, compose
from stages.caption.phrases import Attribute, Phrase, Verb
from stages.caption.sentences import VerbForms
from stages.caption.words import Number, with_article

SLOTS = 256

Codes = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


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


def _pick(table: Sequence[str], codes: Codes) -> list[str | None]:
    """Entries of a table; code -1 gives None."""
    entries = [*table, None]
    return [entries[code] for code in codes.tolist()]


class VerbTable:
    """The ways to say one verb."""

    def __init__(self, name: str, ways: Sequence[Verb]) -> None:
        self._name = name
        self._forms = [VerbForms(way.plain, way.third, way.joined, way.progressive) for way in ways]
        self._spread = spread([way.weight for way in ways])

    def column(self, hashes: Hashes) -> list[VerbForms]:
        """The way that each caption says it."""
        return [self._forms[way] for way in self._spread[slots(hashes, f"verb {self._name}")].tolist()]


class WordTable:
    """The wordings of a simple attribute, with their articles where it is the object of a verb."""

    def __init__(self, name: str, phrases: Sequence[Phrase], *, as_object: bool) -> None:
        self._name = name
        self._texts: list[str] = []
        spreads = []
        for phrase in phrases:
            options = _options(phrase, as_object=as_object)
            spreads.append(spread([weight for _, weight in options]) + len(self._texts))
            self._texts += [text for text, _ in options]
        self._spread = np.stack(spreads)

    def column(self, told: Codes, hashes: Hashes) -> list[str | None]:
        """Words for each caption; told holds the index of the value, -1 where it is not told."""
        codes = self._spread[told, slots(hashes, self._name)]
        return _pick(self._texts, np.where(told < 0, -1, codes))


def _options(phrase: Phrase, *, as_object: bool) -> list[tuple[str, float]]:
    if not as_object:
        return [(text, weight) for text, _, weight in phrase.wordings]
    options: list[tuple[str, float]] = []
    for text, number, weight in phrase.wordings:
        nouns = [_noun_phrase(text, number, pair=pair) for pair in ((False, True) if number == "plural" else (False,))]
        options += [(noun, weight / len(nouns)) for noun in nouns]
    return options


def _noun_phrase(text: str, number: Number, *, pair: bool) -> str:
    return f"a pair of {text}" if number == "plural" and pair else with_article(text, number)


class ComposedTable:
    """The wordings of a composed attribute: those of its factors, put together and remembered."""

    def __init__(self, block: Attribute, facets: Sequence[Facet]) -> None:
        self._block = block
        self._facets = facets
        self._wordings: list[list[tuple[Phrase, str, Number]]] = []
        self._spreads: list[Codes] = []
        for facet in facets:
            wordings: list[tuple[Phrase, str, Number]] = []
            spreads = []
            for phrase in facet.phrases:
                spreads.append(spread([weight for _, _, weight in phrase.wordings]) + len(wordings))
                wordings += [(phrase, text, number) for text, number, _ in phrase.wordings]
            self._wordings.append(wordings)
            self._spreads.append(np.stack(spreads))
        self._known: dict[tuple[int, ...], str | None] = {}

    def column(self, told: Sequence[Codes], hashes: Hashes) -> list[str | None]:
        """Noun phrase for each caption, None where nothing is told; told as in WordTable, one array per factor."""
        codes = [
            np.where(values < 0, -1, table[values, slots(hashes, facet.name)]).tolist()
            for facet, values, table in zip(self._facets, told, self._spreads, strict=True)
        ]
        pairs = (slots(hashes, f"pair {self._block.name}") & 1).tolist()
        return [self._noun(key) for key in zip(*codes, pairs, strict=True)]

    def _noun(self, key: tuple[int, ...]) -> str | None:
        if key not in self._known:
            self._known[key] = self._compose(key[:-1], pair=bool(key[-1]))
        return self._known[key]

    def _compose(self, codes: tuple[int, ...], *, pair: bool) -> str | None:
        chosen = {
            str(facet.factor): wordings[code]
            for facet, wordings, code in zip(self._facets, self._wordings, codes, strict=True)
            if code >= 0
        }
        head, generic = str(self._block.head), self._block.generic
        if chosen and head not in chosen and generic:
            chosen[head] = (generic, generic.text, generic.number)
        if head not in chosen:
            return None
        said = {text for factor, (_, text, _) in chosen.items() if factor != head}
        if chosen[head][0] is generic and not any(said):
            return None
        phrases = {factor: phrase for factor, (phrase, _, _) in chosen.items()}
        text = compose(self._block, phrases, {factor: text for factor, (_, text, _) in chosen.items()})
        return _noun_phrase(text, chosen[head][2], pair=pair)
