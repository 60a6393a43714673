"""Grammar files: the rules that expand to sentence templates, read from YAML and checked.

``grammars/english.yaml`` explains the notation; ``templates.py`` expands and parses it.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, ValidationError

from stages.caption.bank.problems import BankError, explain, read_yaml
from stages.caption.config import Style
from stages.config import Config

SHIPPED = Path(__file__).parent / "grammars"


class Group(Config):
    """How a group of attributes enters sentences."""

    preposition: str | None = None
    """Word before its nouns in {with ...}: in a coat, with a hat. Null: {with ...} reads as {ing ...}."""


# The groups that every template states; a grammar may declare more.
GROUPS: Mapping[str, Group] = {
    "activity": Group(),
    "clothes": Group(preposition="in"),
    "looks": Group(preposition="with"),
    "accessories": Group(preposition="with"),
    "things": Group(preposition="with"),
}


class Grammar(Config):
    """A grammar file."""

    name: str
    """Name of the grammar."""
    version: int = Field(ge=1)
    """Incremented when the grammar changes."""
    extends: str | None = None
    """Another grammar whose groups, rules, clauses and styles it takes: a shipped one, or a path beside this file."""
    groups: dict[str, Group] = Field(default_factory=dict)
    """Groups in addition to activity, clothes, looks, accessories and things."""
    rules: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Alternatives of each rule; they replace those of the extended grammar."""
    clauses: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Clauses that state a group in templates without it; each such template takes one of them."""
    styles: dict[Style, tuple[str, ...]] = Field(default_factory=dict)
    """Templates of each style, with rules not yet expanded; they follow those of the extended grammar."""

    @cached_property
    def all_groups(self) -> Mapping[str, Group]:
        """Its own groups and those of every grammar."""
        return {**GROUPS, **self.groups}

    def on_top_of(self, base: "Grammar") -> "Grammar":
        """This grammar merged with the one that it extends."""
        styles = {style: base.styles.get(style, ()) + self.styles.get(style, ()) for style in get_args(Style)}
        merged = {
            "groups": {**base.groups, **self.groups},
            "rules": {**base.rules, **self.rules},
            "clauses": {**base.clauses, **self.clauses},
            "styles": {style: patterns for style, patterns in styles.items() if patterns},
        }
        return self.model_copy(update=merged)

    @property
    def digest(self) -> str:
        """SHA-256 of the content; comments and layout of the file do not affect it."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json")).encode()).hexdigest()


def load_grammar(source: str) -> Grammar:
    """Read and check a grammar, with those that it extends.

    Args:
        source: Name of a shipped grammar (``english``), or path of a YAML file.

    Raises:
        BankError: The grammar does not exist or is not valid; the message states the key, the value and what is
            accepted.
    """
    return _load(source, "caption.grammar", Path(), ())


def grammar_paths(source: str) -> list[Path]:
    """Files of a valid grammar: its own, then that of the grammar that it extends, and so on.

    Raises:
        BankError: A file does not exist or is not valid.
    """
    paths = [_path(source, "caption.grammar", Path())]
    while base := _validated(paths[-1].read_text(encoding="utf-8"), str(paths[-1])).extends:
        paths.append(_path(base, "caption.grammar", paths[-1].parent))
    return paths


def _path(source: str, key: str, folder: Path) -> Path:
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    path = SHIPPED / f"{source}.yaml" if source in shipped else folder / source
    if not path.is_file():
        raise BankError(f"{key}: no grammar {source!r}; accepted: {', '.join(shipped)}, or the path of a YAML file")
    return path


def _load(source: str, key: str, folder: Path, extending: tuple[Path, ...]) -> Grammar:
    """Read one grammar; ``extending`` holds the files that led here, to detect a cycle."""
    path = _path(source, key, folder)
    if path in extending:
        raise BankError(f"{key}: {source!r} extends itself; remove one of the 'extends'")
    grammar = _validated(path.read_text(encoding="utf-8"), source)
    if grammar.extends is not None:
        base = _load(grammar.extends, f"{source}: extends", path.parent, (*extending, path))
        grammar = grammar.on_top_of(base)
    if not grammar.styles:
        raise BankError(f"{source}: styles: none given; accepted: {', '.join(get_args(Style))}, or a grammar to extend")
    return grammar


def _validated(text: str, source: str) -> Grammar:
    content: Any = read_yaml(text, source)
    try:
        return Grammar.model_validate(content)
    except ValidationError as error:
        raise BankError(explain(error, content, source, {"groups": Group}, Grammar)) from error
