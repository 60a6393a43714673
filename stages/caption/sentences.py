"""From a template and what is told of a person to English sentences.

What is told comes as clusters: a verb with the noun phrases that are its objects, grouped as the grammar groups them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from stages.caption.grammar import FINITE, Run, Sentence, Subject, Template
from stages.caption.words import article, clauses, listed

PREPOSITION = {"clothes": "in", "looks": "with", "accessories": "with", "things": "with"}


class VerbForms(NamedTuple):
    """One way to say a verb; see ``phrases.Verb``."""

    plain: str
    third: str
    joined: str
    progressive: bool


BE = VerbForms("are", "is", "", False)


class Cluster(NamedTuple):
    """A verb and its objects; with BE, participles."""

    verb: VerbForms
    nouns: list[str]


class Person(NamedTuple):
    """The person that the sentences are about."""

    noun: str
    adjectives: str
    pronoun: str


Told = Mapping[str, list[Cluster]]

_POSSESSIVE = {"he": "his", "she": "her", "they": "their"}


def render(template: Template, person: Person, told: Told) -> str:
    """The caption.

    Args:
        template: Which sentences, in which order.
        person: Noun, adjectives and pronoun.
        told: Clusters by group; groups of which nothing is told are absent.
    """
    they = person.pronoun == "they"
    texts = [_sentence(sentence, person, told, they=they) for sentence in plan(template, tuple(told))]
    return ". ".join([text[0].upper() + text[1:] for text in texts]) + "."


@lru_cache(maxsize=2**16)
def plan(template: Template, groups: tuple[str, ...]) -> tuple[Sentence, ...]:
    """The sentences of a template when only some groups have something to tell: no blank in them is empty."""
    filled = [_fill(sentence, groups, first=i == 0) for i, sentence in enumerate(template.sentences)]
    if filled[0] is None:
        filled[0] = Sentence("this is ", None, "", "a", ())
    return tuple(sentence for sentence in filled if sentence is not None)


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
    return Run(run.form, kept, run.glue) if kept else None


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


def _sentence(sentence: Sentence, person: Person, told: Told, *, they: bool) -> str:
    plural = they and sentence.subject == "he"
    lead = f"{_run(sentence.lead, told, plural)}{sentence.lead_glue}" if sentence.lead else ""
    text = f"{sentence.opening}{lead}{_subject(sentence.subject, person)}"
    for run in sentence.runs:
        text += run.glue + _run(run, told, plural)
    return text


def _subject(subject: Subject, person: Person) -> str:
    if subject == "he":
        return person.pronoun
    if subject == "his":
        return _POSSESSIVE[person.pronoun]
    if subject == "the":
        return f"the {person.noun}"
    noun = f"{person.adjectives} {person.noun}" if person.adjectives else person.noun
    return f"{article(noun)} {noun}" if subject == "a" else f"the {noun}"


def _run(run: Run, told: Told, plural: bool) -> str:
    form = run.form
    if form == "with":
        return _prepositional(run.groups, told)
    if len(run.groups) == 1:
        clusters = told[run.groups[0]]
    else:
        clusters = _merged(cluster for group in run.groups for cluster in told[group])
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


def _prepositional(groups: Sequence[str], told: Told) -> str:
    pieces: list[tuple[str, list[str]]] = []
    for group in groups:
        if group not in PREPOSITION:
            pieces.append((_participial(told[group]), []))
            continue
        nouns = [noun for cluster in told[group] for noun in cluster.nouns]
        if pieces and pieces[-1][0] == PREPOSITION[group]:
            pieces[-1][1].extend(nouns)
        else:
            pieces.append((PREPOSITION[group], nouns))
    return " ".join([f"{word} {listed(nouns)}".rstrip() for word, nouns in pieces])
