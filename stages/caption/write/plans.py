"""Plans: how a sentence reads when only some groups of attributes have anything stated.

A blank without statements disappears together with the words before it. When the blank that bears the verb disappears,
another takes its place. The result depends on the sentence and on which groups have statements, not on what they state,
so a plan is made once and serves every caption with the same groups.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from stages.caption.write.parts import capital
from stages.caption.write.templates import FINITE, Form, Run, Sentence, Subject

# The first sentence where nothing of its own is left: "This is a young man."
_PERSON_ALONE = Sentence("this is ", None, "", "a", ())


class Blank(NamedTuple):
    """A blank whose groups all have statements."""

    form: Form
    places: tuple[int, ...]
    """Position of each of its groups among the statements."""
    prepositions: tuple[str, ...]
    agrees: bool
    """True when its verb agrees with the pronoun (they carry); every other subject is singular."""
    begins: bool
    """True when it begins the sentence and takes the capital letter."""
    keys: tuple[object, object]
    """Keys of its text in ``Statement.texts``: with a singular verb, with a plural one."""


class Step(NamedTuple):
    """Fixed words, followed by the subject, a blank or nothing."""

    words: str
    subject: tuple[Subject, bool] | None
    """Kind of subject, and whether it begins the sentence; a key of ``Person.subjects``."""
    blank: Blank | None


def plan(sentence: Sentence, places: Mapping[str, int], *, first: bool) -> tuple[Step, ...]:
    """The steps that write a sentence.

    Args:
        sentence: The sentence.
        places: The groups that have statements, with their positions among the statements.
        first: True for the first sentence of a caption, which is never dropped.

    Returns:
        The steps in order; empty when the sentence has nothing left to say.
    """
    reduced = _reduced(sentence, places, first=first)
    if reduced is None and first:
        reduced = _PERSON_ALONE
    return tuple(_steps(reduced, places, first=first)) if reduced else ()


def _steps(sentence: Sentence, places: Mapping[str, int], *, first: bool) -> Iterator[Step]:
    words = ("" if first else ". ") + capital(sentence.opening)
    begins = not sentence.opening
    if sentence.lead:
        yield Step(words, None, _blank(sentence.lead, places, sentence.subject, begins=begins))
        words, begins = sentence.lead_glue, False
    yield Step(words, (sentence.subject, begins), None)
    for run in sentence.runs:
        yield Step(run.glue, None, _blank(run, places, sentence.subject, begins=False))


def _blank(run: Run, places: Mapping[str, int], subject: Subject, *, begins: bool) -> Blank:
    positions = tuple(places[group] for group in run.groups)
    singular, plural = ((run.form, run.prepositions, they) for they in (False, True))
    return Blank(run.form, positions, run.prepositions, subject == "he", begins, (singular, plural))


def _reduced(sentence: Sentence, stated: Mapping[str, int], *, first: bool) -> Sentence | None:
    """The sentence with blanks for the stated groups only; None when that leaves it nothing to say."""
    lead = _narrowed(sentence.lead, stated)
    runs = [_narrowed(run, stated) for run in sentence.runs]
    if not lead and not any(runs) and (sentence.needs_verb or not first):
        return None
    if sentence.needs_verb and not any(run.form in FINITE for run in runs if run):
        lead, runs = _with_verb(sentence, lead, runs)
    subject: Subject = "full" if first and sentence.subject == "the" else sentence.subject
    return Sentence(sentence.opening, lead, sentence.lead_glue, subject, tuple(run for run in runs if run))


def _narrowed(run: Run | None, stated: Mapping[str, int]) -> Run | None:
    """The run with its stated groups; None when it has none."""
    if run is None:
        return None
    kept = [i for i, group in enumerate(run.groups) if group in stated]
    prepositions = tuple(run.prepositions[i] for i in kept) if run.prepositions else ()
    return Run(run.form, tuple(run.groups[i] for i in kept), run.glue, prepositions) if kept else None


def _with_verb(sentence: Sentence, lead: Run | None, runs: Sequence[Run | None]) -> tuple[Run | None, list[Run | None]]:
    """Let another run bear the verb: the next after the run that disappeared, else the last before it, else the lead.

    It also takes over the words that stood before the run that disappeared.
    """
    gone = next(i for i, run in enumerate(sentence.runs) if run.form in FINITE)
    glue = sentence.runs[gone].glue
    left = {i: run for i, run in enumerate(runs) if run}
    if not left:
        assert lead is not None, "a sentence without runs and lead is dropped before"
        return None, [Run("verb", lead.groups, glue)]
    bearer = next((i for i in left if i > gone), max(left))
    verb = Run("verb", left[bearer].groups, glue)
    return lead, [verb if i == bearer else run for i, run in enumerate(runs)]
