"""From a template, a person and statements to English sentences."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stages.caption.bank.english import clauses, listed
from stages.caption.write.parts import Cluster, Person, Statement, capital
from stages.caption.write.plans import Blank, Step, plan
from stages.caption.write.templates import Sentence, Template

_Plans = dict[int, tuple[Step, ...]]


class _Part(NamedTuple):
    """A sentence of a template, with its plans by the bits of the groups that have statements."""

    sentence: Sentence
    first: bool
    groups: int
    """Bits of the groups that the sentence states."""
    plans: _Plans


class Renderer:
    """Renders templates with the statements of a fixed list of groups; caches plans.

    Args:
        groups: Names of the groups, in the order in which ``render`` receives their statements.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self._place = {group: i for i, group in enumerate(groups)}
        # Equal sentences of several templates are one object and share their plans.
        self._plans: dict[tuple[Sentence, bool], _Plans] = {}
        self._parts: dict[Template, list[_Part]] = {}

    def render(self, template: Template, person: Person, statements: Sequence[Statement], present: int) -> str:
        """Render one caption.

        Args:
            template: The sentences, in order.
            person: Noun, adjectives and pronoun.
            statements: The statement of each group, in the order of the groups.
            present: Bit i is set when group i has something stated.
        """
        # The inner loop of captioning: local names and plain tuples, no helper calls for fixed words.
        pieces: list[str] = []
        subjects, they = person.subjects, person.plural
        for sentence, first, groups, plans in self._parts.get(template) or self._add(template):
            stated = present & groups
            steps = plans.get(stated)
            if steps is None:
                steps = plans[stated] = plan(sentence, self._places(stated), first=first)
            for words, subject, blank in steps:
                pieces.append(words)
                if subject:
                    pieces.append(subjects[subject])
                elif blank:
                    pieces.append(_filled(blank, statements, they))
        pieces.append(".")
        return "".join(pieces)

    def _add(self, template: Template) -> list[_Part]:
        self._parts[template] = [self._part(sentence, i == 0) for i, sentence in enumerate(template.sentences)]
        return self._parts[template]

    def _part(self, sentence: Sentence, first: bool) -> _Part:
        groups = sum(1 << self._place[group] for group in sentence.groups if group in self._place)
        return _Part(sentence, first, groups, self._plans.setdefault((sentence, first), {}))

    def _places(self, stated: int) -> dict[str, int]:
        return {group: place for group, place in self._place.items() if stated >> place & 1}


def _filled(blank: Blank, statements: Sequence[Statement], they: bool) -> str:
    """The words of a blank; those of a blank with one group are cached with its statement."""
    plural = they and blank.agrees
    if len(blank.places) > 1:
        text = _words(blank, [statements[place] for place in blank.places], plural)
    else:
        statement, key = statements[blank.places[0]], blank.keys[plural]
        text = statement.texts.get(key) or statement.texts.setdefault(key, _words(blank, [statement], plural))
    return capital(text) if blank.begins else text


def _words(blank: Blank, statements: Sequence[Statement], plural: bool) -> str:
    form = blank.form
    if form == "with":
        return _prepositional(blank.prepositions, statements)
    if len(statements) == 1:
        clusters = statements[0].clusters
    else:
        clusters = _merged([cluster for statement in statements for cluster in statement.clusters])
    if form == "ing":
        return _participial(clusters)
    if form == "np":
        return listed([noun for cluster in clusters for noun in cluster.nouns])
    if form == "who":
        return f"who {_finite(clusters, plural=False, now=False)}"
    return _finite(clusters, plural=plural, now=form == "now")


def _merged(clusters: Iterable[Cluster]) -> list[Cluster]:
    """Join neighbours with the same verb, so that no verb occurs twice in a row."""
    merged: list[Cluster] = []
    for cluster in clusters:
        if merged and merged[-1].verb == cluster.verb:
            merged[-1] = Cluster(cluster.verb, merged[-1].nouns + cluster.nouns)
        else:
            merged.append(cluster)
    return merged


def _finite(clusters: Sequence[Cluster], *, plural: bool, now: bool) -> str:
    """``wears a coat and carries a bag``; in clauses that all begin with ``is``, it is written once."""
    texts = [_finite_clause(cluster, plural=plural, now=now) for cluster in clusters]
    if len(texts) == 1:
        return texts[0]
    be = "are " if plural else "is "
    if all([text.startswith(be) for text in texts]):  # noqa: C419 - a list is faster here, and this is the inner loop
        texts[1:] = [text[len(be) :] for text in texts[1:]]
    return clauses(texts)


def _finite_clause(cluster: Cluster, *, plural: bool, now: bool) -> str:
    plain, third, joined, progressive = cluster.verb
    if now and progressive:
        return f"{'are' if plural else 'is'} {joined} {listed(cluster.nouns)}"
    return f"{plain if plural else third} {listed(cluster.nouns)}"


def _participial(clusters: Sequence[Cluster]) -> str:
    """``walking and wearing a coat, with a bag``: ``with`` cannot stand in one list with participles."""
    participles = [_joined(cluster) for cluster in clusters if cluster.verb.joined != "with"]
    rest = [_joined(cluster) for cluster in clusters if cluster.verb.joined == "with"]
    return ", ".join([clauses(participles), *rest] if participles else rest)


def _joined(cluster: Cluster) -> str:
    return f"{cluster.verb.joined} {listed(cluster.nouns)}".lstrip()


def _prepositional(prepositions: Sequence[str], statements: Sequence[Statement]) -> str:
    """``in a coat with short hair and a hat``; a group without preposition takes its participial form."""
    pieces: list[tuple[str, list[str]]] = []
    for preposition, statement in zip(prepositions, statements, strict=True):
        if not preposition:
            pieces.append((_participial(statement.clusters), []))
            continue
        nouns = [noun for cluster in statement.clusters for noun in cluster.nouns]
        if pieces and pieces[-1][0] == preposition:
            pieces[-1][1].extend(nouns)
        else:
            pieces.append((preposition, nouns))
    return " ".join([f"{word} {listed(nouns)}" if nouns else word for word, nouns in pieces])
