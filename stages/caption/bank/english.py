"""The rules of English that every sentence needs: articles and lists."""

import re
from collections.abc import Sequence
from typing import Literal

Number = Literal["singular", "plural", "mass"]

# Words whose first sound differs from their first letter; the first letter decides for all others.
_CONSONANT_SOUND = re.compile(r"^(uni(?!n)|use|usu|uti|eu|ewe|one\b|once|ute)", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"^(hour|honest|honou?r|heir|x-ray)", re.IGNORECASE)


def article(text: str) -> str:
    """``an`` before a vowel sound, else ``a``."""
    if _VOWEL_SOUND.match(text):
        return "an"
    if _CONSONANT_SOUND.match(text):
        return "a"
    return "an" if text[:1].lower() in "aeiou" else "a"


def with_article(text: str, number: Number) -> str:
    """The noun phrase with its article, as in a prompt: ``a hat``, ``gloves``, ``short hair``."""
    return f"{article(text)} {text}" if number == "singular" else text


def squeeze(text: str) -> str:
    """The text with single spaces, and none at the ends."""
    return " ".join(text.split())


def listed(items: Sequence[str]) -> str:
    """A list of nouns: ``a, b and c``."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} and {items[-1]}"


def clauses(items: Sequence[str]) -> str:
    """A list of clauses, with a comma to separate it from the lists inside them: ``wears a and b, and has c``."""
    if len(items) == 1:
        return items[0]
    if len(items) == 2 and " and " not in items[0]:
        return f"{items[0]} and {items[1]}"
    return f"{', '.join(items[:-1])}, and {items[-1]}"
