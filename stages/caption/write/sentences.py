"""From a template and what is told of a person to English sentences.

What is told comes as clusters: a verb with the noun phrases that are its objects, grouped as the grammar groups them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from stages.caption.bank.english import article, clauses, listed
from stages.caption.write.grammar import FINITE, Form, Run, Sentence, Subject, Template


class VerbForms(NamedTuple):
    """One way to say a verb; see ``phrases.Verb``."""

    plain: str
    third: str
    joined: str
    progressive: bool


BE = VerbForms("are", "is", "", False)

_POSSESSIVE = {"he": "his", "she": "her", "they": "their"}


class Cluster(NamedTuple):
    """A verb and its objects; with BE, participles."""

    verb: VerbForms
    nouns: list[str]


class Said:
    """What is told of one group: its clusters, none if nothing is; with their texts, once one was asked for."""

    __slots__ = ("clusters", "texts")

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self.clusters = clusters
        self.texts: dict[object, str] = {}


class Person:
    """The person that the sentences are about."""

    def __init__(self, noun: str, adjectives: str, pronoun: str) -> None:
        self.noun = noun
        self.adjectives = adjectives
        self.pronoun = pronoun
        self.plural = pronoun == "they"

    @cached_property
    def subjects(self) -> dict[tuple[Subject, bool], str]:
        """The words of each subject, and whether they begin a sentence."""
        full = f"{self.adjectives} {self.noun}" if self.adjectives else self.noun
        words: dict[Subject, str] = {
            "a": f"{article(full)} {full}",
            "full": f"the {full}",
            "the": f"the {self.noun}",
            "he": self.pronoun,
            "his": _POSSESSIVE[self.pronoun],
        }
        return {(s, first): _capital(text) if first else text for s, text in words.items() for first in (False, True)}


class _Blank(NamedTuple):
    """A run, ready to be filled: the places of its groups, and the keys of its text with he and with they."""

    form: Form
    places: tuple[int, ...]
    prepositions: tuple[str, ...]
    agrees: bool
    capital: bool
    keys: tuple[object, object]


class _Step(NamedTuple):
    """Words, and what comes after them: the person, a blank or nothing."""

    text: str
    subject: tuple[Subject, bool] | None
    blank: _Blank | None


_Plans = dict[int, tuple[_Step, ...]]


class Writer:
    """Writes captions about what is told in a fixed order of groups.

    It remembers, sentence by sentence, how each reads when only some groups have something to tell: no blank of it is
    then empty.

    Args:
        groups: Names of the groups, in the order in which ``write`` is given them.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self._place = {group: i for i, group in enumerate(groups)}
        self._sentences: dict[tuple[Sentence, bool], _Plans] = {}
        self._templates: dict[Template, list[tuple[Sentence, bool, int, _Plans]]] = {}

    def write(self, template: Template, person: Person, said: Sequence[Said], present: int) -> str:
        """The caption.

        Args:
            template: Which sentences, in which order.
            person: Noun, adjectives and pronoun.
            said: What is told of each group.
            present: Bit i is set where group i has something to tell.
        """
        pieces: list[str] = []
        subjects, they = person.subjects, person.plural
        for sentence, first, mask, plans in self._templates.get(template) or self._add(template):
            told = present & mask
            steps = plans.get(told)
            if steps is None:
                steps = plans[told] = self._plan(sentence, told, first=first)
            for text, subject, blank in steps:
                pieces.append(text)
                if subject:
                    pieces.append(subjects[subject])
                elif blank:
                    pieces.append(_filled(blank, said, they))
        pieces.append(".")
        return "".join(pieces)

    def _add(self, template: Template) -> list[tuple[Sentence, bool, int, _Plans]]:
        entries = []
        for i, sentence in enumerate(template.sentences):
            mask = sum(1 << self._place[group] for group in sentence.groups if group in self._place)
            plans = self._sentences.setdefault((sentence, i == 0), {})
            entries.append((sentence, i == 0, mask, plans))
        self._templates[template] = entries
        return entries

    def _plan(self, sentence: Sentence, told: int, *, first: bool) -> tuple[_Step, ...]:
        groups = [group for group, place in self._place.items() if told >> place & 1]
        filled = _fill(sentence, groups, first=first)
        if filled is None and first:
            filled = Sentence("this is ", None, "", "a", ())
        return tuple(self._steps(filled, "" if first else ". ")) if filled else ()

    def _steps(self, sentence: Sentence, before: str) -> Iterable[_Step]:
        text, capital = before + _capital(sentence.opening), not sentence.opening
        if sentence.lead:
            yield _Step(text, None, self._blank(sentence.lead, sentence, capital=capital))
            text, capital = sentence.lead_glue, False
        yield _Step(text, (sentence.subject, capital), None)
        for run in sentence.runs:
            yield _Step(run.glue, None, self._blank(run, sentence, capital=False))

    def _blank(self, run: Run, sentence: Sentence, *, capital: bool) -> _Blank:
        places = tuple(self._place[group] for group in run.groups)
        singular, plural = ((run.form, run.prepositions, they) for they in (False, True))
        return _Blank(run.form, places, run.prepositions, sentence.subject == "he", capital, (singular, plural))


def render(template: Template, person: Person, told: Mapping[str, Sequence[Cluster]]) -> str:
    """One caption; ``told`` holds clusters by group, groups of which nothing is told are absent."""
    said = [Said(clusters) for clusters in told.values()]
    return Writer(tuple(told)).write(template, person, said, (1 << len(said)) - 1)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _fill(sentence: Sentence, groups: Sequence[str], *, first: bool) -> Sentence | None:
    runs = [run for run in (_narrow(run, groups) for run in sentence.runs) if run]
    lead = _narrow(sentence.lead, groups) if sentence.lead else None
    if not runs and not lead and (sentence.needs_verb or not first):
        return None
    if sentence.needs_verb and not any(run.form in FINITE for run in runs):
        runs, lead = _promote(sentence, runs, lead)
    subject: Subject = "full" if first and sentence.subject == "the" else sentence.subject
    return Sentence(sentence.opening, lead, sentence.lead_glue, subject, tuple(runs))


def _narrow(run: Run, groups: Sequence[str]) -> Run | None:
    kept = tuple(group for group in run.groups if group in groups)
    named = tuple(word for group, word in zip(run.groups, run.prepositions) if group in groups)  # noqa: B905 - or none
    return Run(run.form, kept, run.glue, named) if kept else None


def _promote(sentence: Sentence, runs: list[Run], lead: Run | None) -> tuple[list[Run], Run | None]:
    """Let another run bear the verb: the next after the one that fell away, else the one before, else the lead."""
    fallen = next(i for i, run in enumerate(sentence.runs) if run.form in FINITE)
    before = sum(1 for run in sentence.runs[:fallen] if any(set(run.groups) & set(left.groups) for left in runs))
    glue = sentence.runs[fallen].glue
    if not runs:
        assert lead is not None
        return [Run("verb", lead.groups, glue)], None
    at = min(before, len(runs) - 1)
    runs[at] = Run("verb", runs[at].groups, glue)
    return runs, lead


def _filled(blank: _Blank, said: Sequence[Said], they: bool) -> str:
    if len(blank.places) > 1:
        text = _run(blank, [said[place] for place in blank.places], they and blank.agrees)
    else:
        one, key = said[blank.places[0]], blank.keys[they and blank.agrees]
        text = one.texts.get(key) or one.texts.setdefault(key, _run(blank, [one], they and blank.agrees))
    return _capital(text) if blank.capital else text


def _run(blank: _Blank, said: Sequence[Said], plural: bool) -> str:
    form = blank.form
    if form == "with":
        return _prepositional(blank.prepositions, said)
    clusters = said[0].clusters if len(said) == 1 else _merged([cluster for one in said for cluster in one.clusters])
    if form == "ing":
        return _participial(clusters)
    if form == "np":
        return listed([noun for cluster in clusters for noun in cluster.nouns])
    if form == "who":
        return f"who {_finite(clusters, plural=False, now=False)}"
    return _finite(clusters, plural=plural, now=form == "now")


def _merged(clusters: Iterable[Cluster]) -> list[Cluster]:
    """Neighbours with the same verb become one, so that no verb is said twice in a row."""
    merged: list[Cluster] = []
    for cluster in clusters:
        if merged and merged[-1].verb == cluster.verb:
            merged[-1] = Cluster(cluster.verb, merged[-1].nouns + cluster.nouns)
        else:
            merged.append(cluster)
    return merged


def _finite(clusters: Sequence[Cluster], *, plural: bool, now: bool) -> str:
    texts = [_finite_clause(cluster, plural=plural, now=now) for cluster in clusters]
    if len(texts) == 1:
        return texts[0]
    be = "are " if plural else "is "
    if all([text.startswith(be) for text in texts]):  # noqa: C419 - a list is quicker here, and this is the inner loop
        texts[1:] = [text[len(be) :] for text in texts[1:]]
    return clauses(texts)


def _finite_clause(cluster: Cluster, *, plural: bool, now: bool) -> str:
    plain, third, joined, progressive = cluster.verb
    if now and progressive:
        return f"{'are' if plural else 'is'} {joined} {listed(cluster.nouns)}"
    return f"{plain if plural else third} {listed(cluster.nouns)}"


def _participial(clusters: Sequence[Cluster]) -> str:
    """``walking and wearing a coat, with a bag``: what hangs on ``with`` cannot stand in one list with participles."""
    participles = [_joined(cluster) for cluster in clusters if cluster.verb.joined != "with"]
    rest = [_joined(cluster) for cluster in clusters if cluster.verb.joined == "with"]
    return ", ".join([clauses(participles), *rest] if participles else rest)


def _joined(cluster: Cluster) -> str:
    return f"{cluster.verb.joined} {listed(cluster.nouns)}".lstrip()


def _prepositional(prepositions: Sequence[str], said: Sequence[Said]) -> str:
    pieces: list[tuple[str, list[str]]] = []
    for preposition, one in zip(prepositions, said, strict=True):
        if not preposition:
            pieces.append((_participial(one.clusters), []))
            continue
        nouns = [noun for cluster in one.clusters for noun in cluster.nouns]
        if pieces and pieces[-1][0] == preposition:
            pieces[-1][1].extend(nouns)
        else:
            pieces.append((preposition, nouns))
    return " ".join([f"{word} {listed(nouns)}" if nouns else word for word, nouns in pieces])
