"""From told values to the parts of sentences: person, and clusters of verbs and nouns by group."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from stages.caption.bank import Bank, block_facets
from stages.caption.phrases import Attribute, Phrase
from stages.caption.sentences import BE, Cluster, Person, Told, VerbForms
from stages.caption.wording import Codes, ComposedTable, Hashes, VerbTable, WordTable

Column = list[str | None]


class Lexicon:
    """The wordings of a bank, ready to be picked from."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._verbs = {name: VerbTable(name, ways) for name, ways in bank.verbs.items()}
        simple = [block for block in bank.attributes if not block.factors]
        self._words = {b.name: WordTable(b.name, b.phrases, as_object=b.verb is not None) for b in simple}
        self._composed = {b.name: ComposedTable(b, block_facets(b)) for b in bank.attributes if b.factors}
        self._person = WordTable("person", [bank.person], as_object=False)

    def parts(self, told: Codes, hashes: Hashes) -> Iterator[tuple[Person, Told]]:
        """What each caption is made of.

        Args:
            told: int64 [N, F], for each facet the index of the value to tell, -1 for none.
            hashes: uint64 [N], one for each caption.
        """
        ways = {name: table.column(hashes) for name, table in self._verbs.items()}
        be = [BE] * len(hashes)
        blocks = [block for block in self._bank.attributes if block.group not in ("noun", "adjective")]
        groups = [block.group for block in blocks]
        verbs = zip(*(ways[block.verb] if block.verb else be for block in blocks), strict=True)
        nouns = zip(*(self._column(block, told, hashes) for block in blocks), strict=True)
        people = self._people(told, hashes)
        for person, verb_row, noun_row in zip(people, verbs, nouns, strict=True):
            yield person, _clusters(groups, verb_row, noun_row)

    def _column(self, block: Attribute, told: Codes, hashes: Hashes) -> Column:
        columns = [told[:, self._bank.column[facet.name]] for facet in block_facets(block)]
        if block.factors:
            return self._composed[block.name].column(columns, hashes)
        return self._words[block.name].column(columns[0], hashes)

    def _people(self, told: Codes, hashes: Hashes) -> Iterator[Person]:
        adjectives = [self._column(b, told, hashes) for b in self._bank.attributes if b.group == "adjective"]
        described = zip(*adjectives, strict=True) if adjectives else iter([()] * len(hashes))
        nouns, pronouns = self._nouns(told, hashes)
        for noun, pronoun, words in zip(nouns, pronouns, described, strict=True):
            yield Person(noun, " ".join(word for word in words if word), pronoun)

    def _nouns(self, told: Codes, hashes: Hashes) -> tuple[list[str], list[str]]:
        unknown = [word or "" for word in self._person.column(told[:, 0] * 0, hashes)]
        block = next((block for block in self._bank.attributes if block.group == "noun"), None)
        if block is None:
            return unknown, [_pronoun(self._bank.person)] * len(hashes)
        known = self._words[block.name].column(told[:, self._bank.column[block.name]], hashes)
        by_value = [*(_pronoun(phrase) for phrase in block.phrases), _pronoun(self._bank.person)]
        pronouns = [by_value[value] for value in told[:, self._bank.column[block.name]].tolist()]
        return [word or other for word, other in zip(known, unknown, strict=True)], pronouns


def _pronoun(phrase: Phrase) -> str:
    return phrase.pronoun or "they"


def _clusters(groups: Sequence[str], verbs: Sequence[VerbForms], nouns: Sequence[str | None]) -> Told:
    told: dict[str, list[Cluster]] = {}
    for group, verb, noun in zip(groups, verbs, nouns, strict=True):
        if noun is None:
            continue
        clusters = told.setdefault(group, [])
        if clusters and clusters[-1].verb is verb:
            clusters[-1].nouns.append(noun)
        else:
            clusters.append(Cluster(verb, [noun]))
    return told


@lru_cache(maxsize=16)
def lexicon(bank: Bank) -> Lexicon:
    """The lexicon of a bank, made once."""
    return Lexicon(bank)
