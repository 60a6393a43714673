"""The words that captions of a bank and a grammar may contain."""

import re
from collections.abc import Iterable, Iterator

from evaluation.captions.sentence_checks import words
from stages.caption.bank.bank import Bank
from stages.caption.bank.phrases import Phrase
from stages.caption.write.templates import Template

# The words that rendering adds: articles, pairs, conjunctions, prepositions, relative and personal pronouns.
_OWN = "a an the pair of and in with who is are he she they his her their this"


def vocabulary(bank: Bank, templates: Iterable[Template]) -> frozenset[str]:
    """The words, lower case.

    Args:
        bank: The phrase bank.
        templates: The templates in use.
    """
    literal = (re.sub(r"\{[^{}]*\}", " ", template.text) for template in templates)
    verbs = (f"{way.plain} {way.third} {way.joined}" for ways in bank.verbs.values() for way in ways)
    texts = [_OWN, *literal, *verbs, *(text for phrase in _phrases(bank) for text, _, _ in phrase.wordings)]
    return frozenset(word for text in texts for word in words(text))


def finite_verbs(bank: Bank) -> frozenset[str]:
    """The first word of every finite form of the bank's verbs: wear, wears, is."""
    forms = (form for ways in bank.verbs.values() for way in ways for form in (way.plain, way.third))
    return frozenset(words(form)[0] for form in forms)


def _phrases(bank: Bank) -> Iterator[Phrase]:
    yield bank.person
    for facet in bank.facets:
        yield from (phrase for phrase in facet.phrases if phrase.value != "none")
        if facet.block.generic:
            yield facet.block.generic
