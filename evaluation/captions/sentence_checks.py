"""Checks for errors of language in finished captions.

The checks do not depend on banks and templates, so they apply to captions of any origin. The errors are those found in
the released captions of LUPerson-T: unfilled blanks, doubled words, wrong verb forms, pronouns that disagree.
"""

import re
from collections.abc import Callable, Collection, Iterator

_PRONOUNS = {"he": "he", "his": "he", "him": "he", "she": "she", "her": "she", "hers": "she"}
_PRONOUNS |= dict.fromkeys(("they", "their", "them"), "they")
_NOUNS = dict.fromkeys(("man", "male", "guy", "gentleman", "fellow", "boy"), "he")
_NOUNS |= dict.fromkeys(("woman", "female", "lady", "girl"), "she")
_NOUNS |= dict.fromkeys(
    ("child", "kid", "youngster", "person", "pedestrian", "individual", "passer-by", "figure"), "they"
)

_PLAIN = (
    "have|do|go|walk|run|stand|sit|squat|crouch|jog|stroll|wear|carry|hold|ride|use|smoke|take|push|show|consist|sport|tote"
    "|shoulder|grip|clutch|handle|pull|drag|steer|wheel|travel|face"
)
_BASE = f"be|{_PLAIN}"
_THIRD = (
    "is|has|does|goes|walks|runs|stands|sits|wears|carries|holds|rides|uses|smokes|takes|pushes|shows|consists|sports"
    "|totes|shoulders|grips|clutches|handles|pulls|drags|steers|wheels|travels|faces|depicts|presents|captures|features"
    "|contains|portrays|displays|reveals|comprises|includes"
)
_FINITE = re.compile(rf"\b(?:{_THIRD}|{_PLAIN}|are|was|were|wore|carried|can see)\b", re.IGNORECASE)

# Singular nouns that need an article or another determiner right after these words.
_COUNTABLE = (
    "backpack|rucksack|knapsack|handbag|purse|bag|hat|cap|helmet|umbrella|parasol|phone|smartphone|cellphone|bicycle|bike"
    "|motorcycle|motorbike|tricycle|wheelchair|stroller|pushchair|pram|suitcase|cup|bottle|book|box|shirt|t-shirt|coat"
    "|jacket|sweater|hoodie|cardigan|vest|blouse|dress|skirt|man|woman|child|person"
)
_TAKES_OBJECT = "riding|wearing|carrying|holding|pushing|pulling|using|sporting|clad in|dressed in|by|on"

_COLOURS = "black|dark|white|gray|grey|brown|blue|pink|yellow|red|khaki|purple|violet|green|orange"
_PLURAL = (
    "pants|trousers|jeans|leggings|sweatpants|joggers|shorts|bottoms|shoes|sneakers|trainers|boots|sandals|slippers|heels"
    "|gloves|glasses|sunglasses|eyeglasses|spectacles|flowers|papers"
)

# Patterns with their meaning; each match is one problem.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[<>{}\[\]_]+\w*[<>{}\[\]]*"), "unfilled blank"),
    (re.compile(r"[\"“”`]"), "stray quote"),
    (re.compile(r"\b([\w-]+)\s+\1\b", re.IGNORECASE), "doubled word"),
    (re.compile(r"\s{2,}|\t|\n|^\s|\s$"), "stray space"),
    (re.compile(r"\s[.,;:!?]|[,;:.!?]{2,}|,(?=\S)|\.(?=\S)"), "broken punctuation"),
    (
        re.compile(r"\b(?:and|with|in|a|an|the|of|who|is|are|has|have|wearing|also)\s*[.,]|,\s*$"),
        "clause without an end",
    ),
    (re.compile(r"\b(?:and|or)\s+(?:and|or)\b|\b(?:a|an|the)\s+(?:a|an|the)\b", re.IGNORECASE), "two words for one"),
    (re.compile(rf"\b(?:is|are)\s+(?:{_BASE})\b", re.IGNORECASE), "verb after be without its ending"),
    (
        re.compile(rf"\b(?:he|she|who)\s+(?:also\s+)?(?:are|{_BASE})\b", re.IGNORECASE),
        "plural verb with a singular subject",
    ),
    (re.compile(rf"\b(?:they)\s+(?:also\s+)?(?:{_THIRD})\b", re.IGNORECASE), "singular verb with they"),
    (
        # Before another noun it is part of a compound: dress shoes.
        re.compile(rf"(?<![\w-])(?:{_TAKES_OBJECT})\s+(?:{_COUNTABLE})\b(?!\s+(?:{_PLURAL})\b)", re.IGNORECASE),
        "missing article",
    ),
    (re.compile(rf"\ban?\s+(?:(?:{_COLOURS})\s+)*(?:{_PLURAL})\b", re.IGNORECASE), "article before a plural"),
)

_ARTICLE = re.compile(r"\b(an?)\s+([A-Za-z][\w-]*)", re.IGNORECASE)
_SOUNDS_LIKE_YOU = re.compile(r"uni(?!n|m)|us[aeiu]|u[tk][ie]|eu|ewe|one(?!\w)", re.IGNORECASE)
_SILENT_H = re.compile(r"hour|hono|honest|heir", re.IGNORECASE)


def lint(text: str, vocabulary: Collection[str] | None = None, verbs: Collection[str] = ()) -> list[str]:
    """Find the problems of one caption.

    Args:
        text: The caption.
        vocabulary: Lower-case words that may occur; None allows every word.
        verbs: Finite verbs in addition to the usual ones, such as those of a bank.

    Returns:
        One description per problem.
    """
    checks: tuple[Callable[[str], Iterator[str]], ...] = (_patterns, _articles, _pronouns)
    problems = [problem for check in checks for problem in check(text)]
    problems += _sentences(text, verbs)
    if vocabulary is not None:
        problems += [f"unknown word: {word}" for word in words(text) if word not in vocabulary]
    return problems


def words(text: str) -> list[str]:
    """The words of a text, lower case, in order."""
    return re.findall(r"[a-z0-9][a-z0-9'-]*", text.lower())


def _patterns(text: str) -> Iterator[str]:
    for pattern, meaning in _PATTERNS:
        for match in pattern.finditer(text):
            yield f"{meaning}: {match.group()!r}"


def _articles(text: str) -> Iterator[str]:
    for given, word in _ARTICLE.findall(text):
        vowel = word[0].lower() in "aeiou" and not _SOUNDS_LIKE_YOU.match(word)
        due = "an" if vowel or _SILENT_H.match(word) else "a"
        if given.lower() != due:
            yield f"article: {given} {word}"


def _pronouns(text: str) -> Iterator[str]:
    given = words(text)
    pronouns = {_PRONOUNS[word] for word in given if word in _PRONOUNS}
    nouns = {_NOUNS[word] for word in given if word in _NOUNS}
    if len(pronouns) > 1 or len(nouns) > 1 or (nouns and pronouns - nouns):
        found = [word for word in given if word in _PRONOUNS or word in _NOUNS]
        yield f"disagreeing words for one person: {', '.join(dict.fromkeys(found))}"


def _sentences(text: str, verbs: Collection[str]) -> Iterator[str]:
    if not text.endswith(".") or text.endswith(".."):
        yield "no single full stop at the end"
    for sentence in text.rstrip(".").split(". "):
        if not sentence[:1].isupper():
            yield f"no capital: {sentence!r}"
        if not _FINITE.search(sentence) and not (verbs and set(verbs).intersection(words(sentence))):
            yield f"no verb: {sentence!r}"
