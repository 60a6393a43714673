"""From stated values to the parts of sentences: the person, and a statement for each group of attributes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from stages.arrays import Codes
from stages.caption.bank.bank import Bank, block_facets
from stages.caption.bank.phrases import ADJECTIVE, NOUN, WORDS_OF_OTHERS, Attribute, Phrase
from stages.caption.write.parts import BE, Cluster, Person, Statement, VerbForms
from stages.caption.write.sentences import Renderer
from stages.caption.write.wording import CACHED, ComposedTable, Hashes, VerbTable, WordTable

Key = tuple[int, ...]
"""The codes of everything that a statement or a person is made of; equal keys have equal words."""


class Lexicon:
    """The wordings of a bank, and a renderer for its groups."""

    def __init__(self, bank: Bank) -> None:
        objects = [block for block in bank.attributes if block.group not in WORDS_OF_OTHERS]
        names = list(dict.fromkeys(block.group for block in objects))
        self._groups = [_GroupLexicon(bank, [block for block in objects if block.group == name]) for name in names]
        self._people = _PersonLexicon(bank)
        self.renderer = Renderer(names)

    def parts(self, stated: Codes, hashes: Hashes) -> Iterator[tuple[Person, tuple[Statement, ...], int]]:
        """The parts of each caption: the person, a statement per group, and bits of the groups that state something.

        Args:
            stated: int64 [N, F], for each facet the index of the stated value, -1 for none.
            hashes: uint64 [N], one for each caption.
        """
        present = np.zeros(len(hashes), dtype=np.int64)
        columns = []
        for i, group in enumerate(self._groups):
            statements, anything = group.column(stated, hashes)
            columns.append(statements)
            present |= anything.astype(np.int64) << i
        rows = zip(*columns, strict=True) if columns else iter([()] * len(hashes))
        return zip(self._people.column(stated, hashes), rows, present.tolist(), strict=True)


class _Words:
    """The words of one attribute."""

    def __init__(self, bank: Bank, block: Attribute) -> None:
        facets = [facet for part in (block, *bank.modifiers(block)) for facet in block_facets(part)]
        self._columns = [bank.column[facet.name] for facet in facets]
        self._table: WordTable | ComposedTable = (
            ComposedTable(block, facets) if block.factors else WordTable(block.name, block.phrases, block.verb)
        )
        self.wording = self._table.wording

    def codes(self, stated: Codes, hashes: Hashes) -> Codes:
        """A code for its words in each caption, 0 for none."""
        return self._table.codes([stated[:, column] for column in self._columns], hashes)


class _GroupLexicon:
    """The attributes of one group, in the order of the bank."""

    def __init__(self, bank: Bank, blocks: Sequence[Attribute]) -> None:
        self._words = [_Words(bank, block) for block in blocks]
        self._verbs = {name: VerbTable(name, bank.verbs[name]) for name in _verbs(blocks)}
        self._statement: Callable[[Key], Statement] = lru_cache(maxsize=CACHED)(self._stated)

    def column(self, stated: Codes, hashes: Hashes) -> tuple[list[Statement], Codes]:
        """The group's statement in each caption, and whether it states anything."""
        codes = [words.codes(stated, hashes) for words in self._words]
        ways = [table.codes(hashes) for table in self._verbs.values()]
        keys = zip(*(column.tolist() for column in (*codes, *ways)), strict=True)
        return [self._statement(key) for key in keys], np.any(codes, axis=0)

    def _stated(self, key: Key) -> Statement:
        ways = zip(self._verbs.items(), key[len(self._words) :], strict=True)
        forms: dict[str | None, VerbForms] = {name: table.forms[way] for (name, table), way in ways}
        clusters: list[Cluster] = []
        for words, code in zip(self._words, key, strict=False):
            if not code:
                continue
            text, name = words.wording(code)
            verb = forms.get(name, BE)
            if clusters and clusters[-1].verb == verb:
                clusters[-1].nouns.append(text)
            else:
                clusters.append(Cluster(verb, [text]))
        return Statement(clusters)


def _verbs(blocks: Iterable[Attribute]) -> list[str]:
    """Names of the verbs that take the attributes, or single values of them, as their object."""
    names = [name for block in blocks for name in (block.verb, *(phrase.verb for phrase in block.values)) if name]
    return list(dict.fromkeys(names))


class _PersonLexicon:
    """Nouns and adjectives for the person."""

    def __init__(self, bank: Bank) -> None:
        nouns = [block for block in bank.attributes if block.group == NOUN]
        self._nouns = [(_Words(bank, block), bank.column[block.name], block.phrases) for block in nouns]
        self._adjectives = [_Words(bank, block) for block in bank.attributes if block.group == ADJECTIVE]
        self._unknown = WordTable("person", [bank.person], None)
        self._pronoun = _pronoun(bank.person)
        self._person: Callable[[Key], Person] = lru_cache(maxsize=CACHED)(self._described)

    def column(self, stated: Codes, hashes: Hashes) -> list[Person]:
        """The person of each caption."""
        unknown = self._unknown.codes([np.zeros(len(hashes), dtype=np.int64)], hashes)
        nouns = [column for words, at, _ in self._nouns for column in (words.codes(stated, hashes), stated[:, at])]
        adjectives = [words.codes(stated, hashes) for words in self._adjectives]
        keys = zip(*(column.tolist() for column in (unknown, *nouns, *adjectives)), strict=True)
        return [self._person(key) for key in keys]

    def _described(self, key: Key) -> Person:
        unknown, *rest = key
        noun, pronoun = self._unknown.wording(unknown).text, self._pronoun
        for words, _, phrases in self._nouns:
            code, value, *rest = rest
            if code:
                noun, pronoun = words.wording(code).text, _pronoun(phrases[value])
        adjectives = [words.wording(code).text for words, code in zip(self._adjectives, rest, strict=True) if code]
        return Person(noun, " ".join(word for word in adjectives if word), pronoun)


def _pronoun(phrase: Phrase) -> str:
    return phrase.pronoun or "they"


@lru_cache(maxsize=16)
def lexicon(bank: Bank) -> Lexicon:
    """The lexicon of a bank, built once per process."""
    return Lexicon(bank)
