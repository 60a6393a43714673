"""What sentences are made of: the person, and for each group of attributes verbs with their noun phrases."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from stages.caption.bank.english import article
from stages.caption.write.templates import Subject

_POSSESSIVE = {"he": "his", "she": "her", "they": "their"}


class VerbForms(NamedTuple):
    """One way to say a verb; see ``phrases.Verb``."""

    plain: str
    third: str
    joined: str
    progressive: bool


BE = VerbForms("are", "is", "", False)


class Cluster(NamedTuple):
    """A verb and the noun phrases that are its objects; with BE, participles (walking)."""

    verb: VerbForms
    nouns: list[str]


class Statement:
    """What is stated of one group of attributes, as clusters; empty when nothing is.

    ``texts`` caches its rendered forms: most statements recur in many captions.
    """

    __slots__ = ("clusters", "texts")

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self.clusters = clusters
        self.texts: dict[object, str] = {}


class Person:
    """The person that a caption describes."""

    def __init__(self, noun: str, adjectives: str, pronoun: str) -> None:
        self.noun = noun
        self.adjectives = adjectives
        self.pronoun = pronoun
        self.plural = pronoun == "they"

    @cached_property
    def subjects(self) -> dict[tuple[Subject, bool], str]:
        """The words of each kind of subject; the flag is True where they begin a sentence."""
        full = f"{self.adjectives} {self.noun}" if self.adjectives else self.noun
        words: dict[Subject, str] = {
            "a": f"{article(full)} {full}",
            "full": f"the {full}",
            "the": f"the {self.noun}",
            "he": self.pronoun,
            "his": _POSSESSIVE[self.pronoun],
        }
        return {(s, first): capital(text) if first else text for s, text in words.items() for first in (False, True)}


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
