"""The phrase bank: the attributes, their prompts, and the words that state them in sentences.

A bank is a YAML file. Its model follows UniPT's divide step (ICCV 2023): the best phrase of a required attribute is
taken; an optional attribute has a negative phrase. A composed attribute declares factors (colour, garment), and its
phrases are their product; a modifier (striped) is read separately and stated within a composed attribute.
"""

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from stages.caption.bank.english import squeeze, with_article
from stages.caption.bank.phrases import MODIFIER, NOUN, Attribute, Phrase, Synonym, Verb, fields
from stages.caption.bank.problems import BankError, explain, read_yaml
from stages.config import Config

SHIPPED = Path(__file__).parent / "banks"

# The model of the blocks below each key, for messages about unknown keys.
_BLOCKS: dict[str, type[Config]] = {
    "attributes": Attribute,
    "phrases": Phrase,
    "factors": Phrase,
    "lists": Phrase,
    "person": Phrase,
    "generic": Phrase,
    "synonyms": Synonym,
    "verbs": Verb,
}


@dataclass(frozen=True)
class Facet:
    """One column of a reading: an attribute, or one factor of a composed attribute."""

    name: str
    block: Attribute
    factor: str | None
    phrases: tuple[Phrase, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each value."""
        return {phrase.value: i for i, phrase in enumerate(self.phrases)}


def block_facets(block: Attribute) -> list[Facet]:
    """The facets of one attribute, in the order of its factors."""
    if not block.factors:
        return [Facet(block.name, block, None, block.phrases)]
    names = {factor: block.name if factor == block.head else f"{block.name}_{factor}" for factor in block.factors}
    return [Facet(names[factor], block, factor, phrases) for factor, phrases in block.factors.items()]


class Bank(Config):
    """A phrase bank."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the bank."""
    version: int = Field(ge=1)
    """Incremented when the bank changes."""
    grammar: str = "english"
    """Grammar for recipes that name none: a shipped one, or the path of a YAML file. It must state all its groups."""
    person: Phrase
    """The noun for the person where the noun attribute is unknown."""
    verbs: dict[str, tuple[Verb, ...]]
    """Verbs by name, each with one or more alternatives."""
    lists: dict[str, tuple[Phrase, ...]] = Field(default_factory=dict)
    """Phrases that attributes share by YAML anchors."""
    attributes: tuple[Attribute, ...] = Field(min_length=1)
    """The attributes, in the order in which sentences list them."""

    @model_validator(mode="after")
    def _consistent(self) -> "Bank":
        names = [facet.name for facet in self.facets]
        if len(set(names)) < len(names):
            raise ValueError(f"attribute names must differ: {names}")
        if sum(block.group == NOUN for block in self.attributes) > 1:
            raise ValueError(f"only one attribute may be of the group {NOUN!r}")
        if self.person.pronoun is None:
            raise ValueError("person needs a pronoun: he, she or they")
        for block in self.attributes:
            _known(f"attributes.{block.name}.verb", block.verb, self.verbs)
            _known(f"attributes.{block.name}.modifies", block.modifies, [b.name for b in self.attributes if b.factors])
        for block in self.attributes:
            if block.factors:
                self._check_orders(block)
        for facet, phrase in self._all_phrases():
            key = f"attributes.{facet.name}.{phrase.value}"
            _known(f"{key}.verb", phrase.verb, self.verbs)
            for hidden in phrase.hides:
                _known(f"{key}.hides", hidden, [b.name for b in self.attributes])
        return self

    def _check_orders(self, block: Attribute) -> None:
        modifiers = self.modifiers(block)
        blanks = [*block.factors, *(modifier.name for modifier in modifiers)]
        others = [phrase.compose for modifier in modifiers for phrase in modifier.phrases if phrase.compose]
        for template in [*block.orders, *others]:
            if sorted(fields(template)) != sorted(blanks):
                accepted = ", ".join(f"{{{name}}}" for name in blanks)
                raise ValueError(f"attributes.{block.name}: compose {template!r} must contain each of {accepted} once")

    def modifiers(self, block: Attribute) -> list[Attribute]:
        """The attributes that are stated within a composed one."""
        return [other for other in self.attributes if other.group == MODIFIER and other.modifies == block.name]

    def _all_phrases(self) -> Iterator[tuple[Facet, Phrase]]:
        return ((facet, phrase) for facet in self.facets for phrase in facet.phrases)

    @cached_property
    def facets(self) -> tuple[Facet, ...]:
        """The columns of a reading, in the order of the bank."""
        return tuple(facet for block in self.attributes for facet in block_facets(block))

    @cached_property
    def by_name(self) -> dict[str, Facet]:
        """Facets by name."""
        return {facet.name: facet for facet in self.facets}

    @cached_property
    def column(self) -> dict[str, int]:
        """Position of each facet, by name."""
        return {facet.name: i for i, facet in enumerate(self.facets)}

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content; comments, layout and anchors of the file do not affect it."""
        content = self.model_dump(mode="json", exclude={"lists"})
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _known(key: str, given: str | None, accepted: Collection[str]) -> None:
    if given is not None and given not in accepted:
        raise ValueError(f"{key}: {given!r} is not defined; accepted: {', '.join(accepted)}")


def compose(block: Attribute, chosen: Mapping[str, Phrase], texts: Mapping[str, str]) -> str:
    """The words of a composed attribute, without article; blanks that are not in ``texts`` are left out."""
    order = next((phrase.compose for phrase in chosen.values() if phrase.compose), block.compose) or ""
    return squeeze(order.format(**{name: texts.get(name, "") for name in fields(order)}))


def _prompts(block: Attribute, chosen: Mapping[str | None, Phrase]) -> list[str]:
    """The prompts of one phrase.

    Args:
        block: The attribute.
        chosen: Its phrase under the key None, or one phrase for each factor of a composed attribute.
    """
    if block.factors:
        named = {factor: chosen[factor] for factor in block.factors}
        text = compose(block, named, {factor: phrase.text for factor, phrase in named.items()})
        phrase = chosen[block.head]
    else:
        phrase = chosen[None]
        text = phrase.text
    blanks = {"phrase": text, "a_phrase": with_article(text, phrase.number)}
    return [template.format(**blanks) for template in phrase.prompts or block.prompts]


def block_prompts(block: Attribute) -> list[list[str]]:
    """The prompts of every phrase; of a composed attribute, of every combination, the last factor varying fastest."""
    facets = block_facets(block)
    combinations = itertools.product(*(facet.phrases for facet in facets))
    factors = [facet.factor for facet in facets]
    return [_prompts(block, dict(zip(factors, row, strict=True))) for row in combinations]


def load_bank(source: str) -> Bank:
    """Read and check a bank.

    Args:
        source: Name of a shipped bank (``unipt14``), or path of a YAML file.

    Raises:
        BankError: The bank does not exist or is not valid; the message states the key, the value and what is accepted.
    """
    return parse_bank(bank_path(source).read_text(encoding="utf-8"), str(source))


def bank_path(source: str) -> Path:
    """File of a shipped or given bank.

    Raises:
        BankError: The file does not exist.
    """
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    path = SHIPPED / f"{source}.yaml" if source in shipped else Path(source)
    if not path.is_file():
        raise BankError(f"caption.bank: no bank {source!r}; accepted: {', '.join(shipped)}, or the path of a YAML file")
    return path


def parse_bank(text: str, source: str = "bank") -> Bank:
    """As ``load_bank``, from the text of the YAML file; ``source`` names it in messages."""
    content = read_yaml(text, source)
    try:
        return Bank.model_validate(content)
    except ValidationError as error:
        raise BankError(explain(error, content, source, _BLOCKS, Bank)) from error
