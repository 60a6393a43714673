"""Sentence templates: a grammar expands to a fixed list of them.

The id of a template is a digest of its text, so that an id always means the same template.
"""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, cast, get_args

from stages.caption.bank.problems import BankError
from stages.caption.config import Style
from stages.caption.write.grammar import GROUPS, Grammar, Group, load_grammar

Form = Literal["verb", "now", "ing", "with", "who", "np"]
Subject = Literal["a", "the", "full", "he", "his"]

SUBJECTS: tuple[Subject, ...] = ("a", "the", "he", "his")
FINITE: tuple[Form, ...] = ("verb", "now")

_RULE = re.compile(r"<(\w+)>")
_BLANK = re.compile(r"\{([^{}]*)\}")
_REST = "..."


@dataclass(frozen=True)
class Run:
    """One blank: groups of attributes in one grammatical form, and the text that stands before it.

    ``prepositions`` are those of the groups, for the form ``with``; empty strings for groups without one.
    """

    form: Form
    groups: tuple[str, ...]
    glue: str
    prepositions: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sentence:
    """Opening words, an optional run before the subject (the lead), the subject, the runs after it.

    The subject ``full`` is ``the`` at its first mention: the young man.
    """

    opening: str
    lead: Run | None
    lead_glue: str
    subject: Subject
    runs: tuple[Run, ...]

    @property
    def needs_verb(self) -> bool:
        """True when one of its blanks bears the verb (``This is {a}`` has its verb in the opening)."""
        return any(run.form in FINITE for run in self.runs)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups that it states."""
        return tuple(group for run in (self.lead, *self.runs) if run for group in run.groups)


@dataclass(frozen=True, eq=False)
class Template:
    """One template; ``id`` is its style and a digest of its text."""

    id: str
    style: Style
    text: str
    sentences: tuple[Sentence, ...]


@lru_cache(maxsize=8)
def load_templates(source: str) -> tuple[Template, ...]:
    """Every template of a grammar, in a fixed order (see ``load_grammar`` for ``source`` and errors)."""
    return make_templates(load_grammar(source))


def make_templates(grammar: Grammar) -> tuple[Template, ...]:
    """Expand a grammar; templates with the same text are merged.

    Raises:
        BankError: A template does not state every group exactly once, or its notation is wrong.
    """
    unique = {template.text: template for template in _all_templates(grammar)}
    return tuple(unique.values())


def _all_templates(grammar: Grammar) -> Iterator[Template]:
    for style, patterns in grammar.styles.items():
        for pattern in patterns:
            for text in _expand(pattern, grammar, ()):
                yield parse_template(_with_clauses(text, grammar), style, grammar.all_groups)


def _with_clauses(text: str, grammar: Grammar) -> str:
    """The template with one clause for each group that it does not state, chosen by a digest of its own text."""
    stated = {word for blank in _BLANK.findall(text) for word in blank.split()[1:]}
    first, *others = text.split(". ")
    for group in grammar.all_groups:
        if group in stated or group not in grammar.clauses:
            continue
        clauses = [clause for clause in grammar.clauses[group] if _fits(clause, first)]
        if not clauses:
            raise BankError(
                f"{grammar.name}: no clause of {group} fits {text!r}; add one that is a sentence of its own "
                f"('{{he}} {{verb {group}}}')"
            )
        # A template of one sentence stays one, where a clause allows it: the style "short" promises that.
        if not others:
            clauses = [clause for clause in clauses if _REST in clause] or clauses
        draw = int.from_bytes(hashlib.blake2b(f"{group} {text}".encode(), digest_size=4).digest(), "little")
        clause = clauses[draw % len(clauses)]
        if _REST in clause:
            first = clause.replace(_REST, first)
        else:
            others.append(clause)
    return ". ".join([first, *others])


def _fits(clause: str, first: str) -> bool:
    """A clause that goes first needs a first sentence that begins with the person; any other clause fits."""
    return not clause.endswith(_REST) or first.startswith(("{a}", "{the}"))


def _expand(pattern: str, grammar: Grammar, inside: tuple[str, ...]) -> Iterator[str]:
    """Every text that a pattern stands for; the last rule varies fastest."""
    pieces = _RULE.split(pattern)
    for name in pieces[1::2]:
        if name not in grammar.rules or name in inside:
            accepted = ", ".join(rule for rule in grammar.rules if rule not in inside)
            raise BankError(f"{grammar.name}: rule <{name}> in {pattern!r}; accepted here: {accepted}")
    choices = [
        [piece] if i % 2 == 0 else [t for p in grammar.rules[piece] for t in _expand(p, grammar, (*inside, piece))]
        for i, piece in enumerate(pieces)
    ]
    return ("".join(chosen) for chosen in itertools.product(*choices))


def parse_template(text: str, style: Style, groups: Mapping[str, Group] = GROUPS) -> Template:
    """Parse one template.

    Args:
        text: Sentences in the notation of the grammar, separated by full stops.
        style: Its style.
        groups: The groups of the grammar.

    Raises:
        BankError: The notation is wrong, or a group is not stated exactly once.
    """
    prepositions = tuple((name, group.preposition or "") for name, group in groups.items())
    sentences = tuple(_parse_sentence(part, prepositions) for part in text.split(". "))
    stated = [group for sentence in sentences for group in sentence.groups]
    if sorted(stated) != sorted(groups):
        raise BankError(f"template {text!r} states {', '.join(stated)}; it must state each of {', '.join(groups)} once")
    if sentences[0].subject not in ("a", "the"):
        raise BankError(f"template {text!r}: the first subject is {{{sentences[0].subject}}}; accepted: {{a}}, {{the}}")
    digest = hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
    return Template(f"{style}-{digest}", style, text, sentences)


# Equal sentences of several templates become one object, so that they share their plans in the renderer.
@lru_cache(maxsize=2**14)
def _parse_sentence(text: str, prepositions: tuple[tuple[str, str], ...]) -> Sentence:
    pieces = _BLANK.split(text)
    words = [blank.split() or [""] for blank in pieces[1::2]]
    subjects = [i for i, word in enumerate(words) if len(word) == 1 and word[0] in SUBJECTS]
    if len(subjects) != 1 or subjects[0] > 1 or pieces[-1]:
        raise BankError(
            f"sentence {text!r} needs one of {{a}}, {{the}}, {{he}}, {{his}}, one blank at most before it, "
            "and no words after the last blank"
        )
    at = subjects[0]
    runs = [_parse_run(word, pieces[2 * i], dict(prepositions)) for i, word in enumerate(words) if i != at]
    lead = runs.pop(0) if at else None
    if sum(run.form in FINITE for run in runs) > 1 or (lead and lead.form in FINITE):
        raise BankError(f"sentence {text!r} may hold one {{verb ...}} or {{now ...}}, after the subject")
    return Sentence(pieces[0], lead, pieces[2 * at] if at else "", cast("Subject", words[at][0]), tuple(runs))


def _parse_run(words: list[str], glue: str, prepositions: Mapping[str, str]) -> Run:
    form, *groups = words
    if form not in get_args(Form) or not groups or set(groups) - set(prepositions):
        accepted = f"a form ({', '.join(get_args(Form))}) followed by groups ({', '.join(prepositions)})"
        raise BankError(f"unknown blank {{{' '.join(words)}}}; accepted: {accepted}")
    named = tuple(prepositions[group] for group in groups) if form == "with" else ()
    return Run(cast("Form", form), tuple(groups), glue, named)
