"""Which of yt-dlp's 1,800 extractors handles a URL, without loading them.

Loading yt-dlp and compiling the patterns of its extractors takes two seconds of processor time in each process, and
trying all of them a millisecond and a half for each URL. So the patterns are kept, each with words of which a URL that
matches contains one, in a file of the user's cache directory named by the version of yt-dlp. For a URL, only patterns
are tried whose words it contains. yt-dlp itself is loaded only if one of them matches whose extractor decides by more
than its pattern.
"""

import ast
import functools
import importlib.metadata
import inspect
import json
import os
import re
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

# Raised when the content of the file changes.
_FORMAT: Final = 3

# Letters of a word by which it is found in a URL. Fewer are in most URLs, and many words have no more.
_LETTERS: Final = 4

_BASES: Final = frozenset({"LazyLoadExtractor", "InfoExtractor"})

_GENERIC: Final = "generic"

Words = frozenset[str]

_EMPTY: Final[Words] = frozenset({""})
_EVERYWHERE: Final[Words] = frozenset({"http", "https", "://", "http://", "https://", "http://www.", "https://www."})
_MOST_WORDS: Final = 256
_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


class Known(NamedTuple):
    """An extractor.

    Attributes:
        name: In lower case.
        patterns: Regular expressions; a URL that it handles matches one of them.
        words: In lower case, each after the letters by which it is found; a URL that matches contains one of them.
            Empty if none are known.
        plain: Whether the patterns alone decide, and their group ``id`` is the video's id. Without patterns, a plain
            extractor handles no URL: it is for players in pages; of any other, only the extractor can tell.
    """

    name: str
    patterns: list[str]
    words: list[tuple[str, str]]
    plain: bool


def find(url: str) -> tuple[str, str | None]:
    """Name of the first extractor that handles a URL, in yt-dlp's order, and the video's id where the URL states it."""
    for position in _candidates(url):
        name, plain, patterns = _compiled(position)
        match = _match(patterns, url)
        if match and plain:
            return name, _group_id(match)
        if match or not (patterns or plain):
            extractor = _classes()[name]
            if extractor.suitable(url):
                return name, extractor.get_temp_id(url)
    return _GENERIC, None


def _match(patterns: Sequence[re.Pattern[str]], url: str) -> re.Match[str] | None:
    for pattern in patterns:
        if match := pattern.match(url):
            return match
    return None


def _candidates(url: str) -> Iterable[int]:
    """Positions of the extractors that may handle a URL, in order."""
    by_letters, always = _index()
    # Patterns that ignore case let some letters beyond ASCII stand for s and k.
    if not url.isascii():
        return range(len(_extractors()))
    small = url.lower()
    letters = {small[start : start + _LETTERS] for start in range(len(small) - _LETTERS + 1)}
    words = (entry for part in letters & by_letters.keys() for entry in by_letters[part])
    return sorted({*always, *(position for word, position in words if word in small)})


@functools.cache
def _index() -> tuple[dict[str, list[tuple[str, int]]], list[int]]:
    """Words and positions of extractors by the word's rarest letters, and positions of those without words."""
    by_letters: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for position, known in enumerate(_extractors()):
        for letters, word in known.words:
            by_letters[letters].append((word, position))
    always = [
        position
        for position, known in enumerate(_extractors())
        # Plain extractors without patterns handle no URL.
        if not known.words and (known.patterns or not known.plain)
    ]
    return dict(by_letters), always


@functools.cache
def _compiled(position: int) -> tuple[str, bool, list[re.Pattern[str]]]:
    known = _extractors()[position]
    return known.name, known.plain, [re.compile(pattern) for pattern in known.patterns]


def _group_id(match: re.Match[str]) -> str | None:
    try:
        return match.group("id")
    except IndexError:
        return None


@functools.cache
def _classes() -> dict[str, Any]:
    """yt-dlp's extractors by name, in its order, without the generic one, which is the last."""
    from yt_dlp.extractor import gen_extractor_classes

    named = {extractor.ie_key().lower(): extractor for extractor in gen_extractor_classes()}
    named.pop(_GENERIC)
    return named


@functools.cache
def _extractors() -> Sequence[Known]:
    """What is kept of the extractors, in their order; read from the cache, or from yt-dlp."""
    path = _cache_path()
    return _read(path) or _write(path, describe(_classes().values()))


def _cache_path() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base, "reidforge", f"ytdlp-{importlib.metadata.version('yt-dlp')}-{_FORMAT}.json")


def _read(path: Path) -> list[Known] | None:
    try:
        return [Known(*row) for row in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, extractors: list[Known]) -> list[Known]:
    """Keep the extractors for the next process; where that is not possible, it reads them from yt-dlp again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(extractors, file)
        Path(file.name).replace(path)
    except OSError:
        pass
    return extractors


def describe(classes: Iterable[Any]) -> list[Known]:
    """What is kept of yt-dlp's extractor classes."""
    known = [_describe(extractor) for extractor in classes]
    choices = [[_required(pattern) for pattern in one.patterns] for one in known]
    counts = Counter(
        part for one in choices for sets in one for words in sets for word in words for part in _parts(word)
    )
    words = [[(_rarest(word, counts), word) for word in _words(sets, counts)] for sets in choices]
    return [one._replace(words=found) for one, found in zip(known, words, strict=True)]


def _describe(extractor: Any) -> Known:
    given = extractor._VALID_URL  # noqa: SLF001 - yt-dlp's own extractors are written to this name
    patterns = [given] if isinstance(given, str) else list(given or ())
    plain = all(_inherits(extractor, name) for name in ("suitable", "get_temp_id", "_match_id", "_match_valid_url"))
    bound = plain or (_inherits(extractor, "_match_valid_url") and _narrows(extractor))
    return Known(extractor.ie_key().lower(), patterns if bound else [], [], plain)


def _inherits(extractor: Any, name: str) -> bool:
    """Whether a method is that of the base class of all extractors."""
    owner = next(one for one in extractor.__mro__ if name in vars(one))
    return owner.__name__ in _BASES


def _narrows(extractor: Any) -> bool:
    """Whether ``suitable`` of a class accepts only URLs that its patterns match, too."""
    for owner in extractor.__mro__:
        if "suitable" not in vars(owner):
            continue
        if owner.__name__ in _BASES:
            return True
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(vars(owner)["suitable"].__func__)))
        except (OSError, SyntaxError):
            return False
        returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
        if not all(_is_narrow(value) for value in returned):
            return False
    return False


def _is_narrow(value: ast.expr | None) -> bool:
    """Whether an expression is false, or what the parent class says, or a combination of both."""
    if value is None or (isinstance(value, ast.Constant) and not value.value):
        return True
    if isinstance(value, ast.IfExp):
        return _is_narrow(value.body) and _is_narrow(value.orelse)
    if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.And):
        return any(_is_narrow(part) for part in value.values)
    return re.fullmatch(r"super\(.*\)\.suitable\(url\)|cls\._match_valid_url\(url\)", ast.unparse(value)) is not None


def _words(choices: Sequence[Sequence[Words]], counts: Counter[str]) -> list[str]:
    """Words of an extractor: those whose letters are the rarest.

    Args:
        choices: For each pattern the sets of words of which a match contains one.
        counts: How often letters occur in all words.
    """
    chosen: set[str] = set()
    for sets in choices:
        usable = [words for words in sets if all(len(word) >= _LETTERS for word in words)]
        if not usable:
            return []
        chosen |= min(usable, key=lambda words: (sum(counts[_rarest(word, counts)] for word in words), sorted(words)))
    return sorted(chosen)


def _rarest(word: str, counts: Mapping[str, int]) -> str:
    return min(_parts(word), key=lambda part: (counts[part], part))


def _parts(word: str) -> list[str]:
    return [word[start : start + _LETTERS] for start in range(len(word) - _LETTERS + 1)]


def _required(pattern: str) -> list[Words]:
    """Sets of words, in lower case: every match of the pattern contains a word of each set."""
    try:
        # The parser of the standard library has no public name.
        from re import _parser  # type: ignore[attr-defined]

        return list(_of_sequence(_parser.parse(pattern)))
    except (ImportError, re.error):
        return []


def _of_sequence(items: Any) -> Iterator[Words]:
    words = _EMPTY
    for operator, argument in items:
        these = _spelled(str(operator), argument)
        longer = these and frozenset(one + other for one in words for other in these)
        if longer and len(longer) <= _MOST_WORDS:
            words = longer
            continue
        if words != _EMPTY:
            yield words
        words = these or _EMPTY
        if not these:
            yield from _of_item(str(operator), argument)
    if words != _EMPTY:
        yield words


def _of_item(operator: str, argument: Any) -> Iterator[Words]:
    if operator == "SUBPATTERN":
        yield from _of_sequence(argument[-1])
    elif operator in _REPEATS and argument[0] >= 1:
        yield from _of_sequence(argument[2])
    elif operator == "BRANCH":
        # One word of each branch: the longest, which is usually part of a host.
        branches = [max(_of_sequence(branch), key=_usefulness, default=None) for branch in argument[1]]
        if all(branches):
            yield frozenset(word for branch in branches if branch for word in branch)


def _usefulness(words: Words) -> int:
    return 0 if _EVERYWHERE & words else min(map(len, words))


def _spelled(operator: str, argument: Any) -> Words | None:
    """Every text that a part of a pattern matches, in lower case; None if they are many or unknown."""
    if operator == "LITERAL":
        return frozenset({chr(argument).lower()})
    if operator == "IN" and all(str(kind) == "LITERAL" for kind, _ in argument):
        return frozenset(chr(value).lower() for _, value in argument)
    if operator == "SUBPATTERN":
        return _all_spelled(argument[-1])
    if operator == "BRANCH":
        branches = [_all_spelled(branch) for branch in argument[1]]
        return frozenset().union(*(one for one in branches if one)) if all(branches) else None
    if operator in _REPEATS and argument[:2] == (0, 1):
        once = _all_spelled(argument[2])
        return once and once | _EMPTY
    return None


def _all_spelled(items: Any) -> Words | None:
    words = _EMPTY
    for operator, argument in items:
        these = _spelled(str(operator), argument)
        if not these or len(words) * len(these) > _MOST_WORDS:
            return None
        words = frozenset(one + other for one in words for other in these)
    return words
