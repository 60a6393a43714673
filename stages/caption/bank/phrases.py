"""The parts of a phrase bank: phrases with their synonyms, verbs, and attributes, each checked on its own."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from string import Formatter
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from stages.caption.bank.english import Number
from stages.config import Config
from stages.embed.config import Region

NONE = "none"

# Groups that the grammar does not place: they are part of the noun phrase for the person, or of another attribute's.
NOUN: Final = "noun"
ADJECTIVE: Final = "adjective"
MODIFIER: Final = "modifier"
WORDS_OF_OTHERS: Final = (NOUN, ADJECTIVE, MODIFIER)

# Groups whose attributes are nouns in every grammar: without a verb they could not be told.
_VERBAL: Final = ("clothes", "looks", "accessories", "things")

Weight = Annotated[float, Field(gt=0)]


@lru_cache(maxsize=1024)
def fields(template: str) -> tuple[str, ...]:
    """Names of the blanks of a template, in order."""
    return tuple(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def _check_fields(template: str, accepted: set[str], *, need: bool) -> None:
    given = fields(template)
    if set(given) - accepted or (need and not given):
        names = ", ".join(f"{{{name}}}" for name in sorted(accepted))
        raise ValueError(f"{template!r} has the blanks {given}; accepted: {names}")


def _heaviest(regions: Mapping[str, Any]) -> str:
    known = {region: weight for region, weight in regions.items() if isinstance(weight, int | float)}
    return max(known, key=lambda region: known[region]) if known else next(iter(regions))


class Synonym(Config):
    """Another wording, used in sentences only."""

    text: str
    """Words without article; empty says nothing."""
    weight: float = Field(default=1.0, gt=0)
    """How often it is taken, against the others."""
    number: Number | None = None
    """Its number, where it differs from the phrase's."""


class Phrase(Config):
    """One value of an attribute."""

    value: str = Field(min_length=1)
    """Name of the value, as tables hold it."""
    text: str = Field(min_length=1)
    """Words without article, as prompts say them."""
    weight: float = Field(default=1.0, gt=0)
    """How often a sentence takes the text itself, against its synonyms."""
    number: Number = "singular"
    """singular (a hat), plural (gloves) or mass (short hair)."""
    synonyms: tuple[Synonym, ...] = ()
    """Other wordings; a bare string has weight 1."""
    pronoun: Literal["he", "she", "they"] | None = None
    """Pronoun of a person of this class; for the noun attribute."""
    hides: tuple[str, ...] = ()
    """Attributes that sentences leave out when this value is told."""
    verb: str | None = None
    """Verb that takes this value as its object, in place of the attribute's."""
    prompts: tuple[str, ...] = ()
    """Prompts of this value alone, in place of the attribute's."""
    compose: str | None = None
    """Order of words with this factor, in place of the attribute's."""

    @field_validator("synonyms", mode="before")
    @classmethod
    def _bare_strings(cls, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        return [{"text": item} if isinstance(item, str) else item for item in given]

    @field_validator("prompts")
    @classmethod
    def _blanks(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        for prompt in prompts:
            _check_fields(prompt, {"phrase", "a_phrase"}, need=False)
        return prompts

    @property
    def wordings(self) -> list[tuple[str, Number, float]]:
        """Text, number and weight of the phrase and of its synonyms."""
        own: list[tuple[str, Number, float]] = [(self.text, self.number, self.weight)]
        return own + [(item.text, item.number or self.number, item.weight) for item in self.synonyms]


class Verb(Config):
    """One way to say how a person has a thing: ``wear``, ``wears``, ``wearing``."""

    plain: str
    """With they: ``wear``, ``are dressed in``."""
    third: str
    """With he, she and the person: ``wears``, ``is dressed in``."""
    joined: str
    """Between a noun and its object: ``wearing``, ``with``."""
    progressive: bool = False
    """True when ``is`` may stand before the joined form."""
    weight: float = Field(default=1.0, gt=0)
    """How often it is taken, against the verb's other ways."""


class Attribute(Config):
    """One attribute: what to prompt for, where to look and how to tell it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name, as tables hold it."""
    kind: Literal["required", "optional"]
    """required: the best phrase is taken; optional: a phrase is told only when it is likely."""
    region: Region
    """Part of the crop that it is read from; of a blend, the part with the largest weight."""
    regions: dict[Region, Weight] = Field(default_factory=dict)
    """In place of region: a weighted blend of parts, such as {feet: 0.7, lower: 0.3}."""
    group: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Part of the sentence that tells it: noun, adjective, modifier, or a group of the grammar."""
    verb: str | None = None
    """Verb that takes it as its object, a key of the bank's verbs; without one it is told as a participle (walking)."""
    modifies: str | None = None
    """Group modifier: the composed attribute whose words it joins, as the blank {<its own name>} of compose."""
    prompts: tuple[str, ...] = Field(min_length=1)
    """Prompt templates; their text features are averaged."""
    phrases: tuple[Phrase, ...] = ()
    """Its values, unless it is composed."""
    factors: dict[str, tuple[Phrase, ...]] = Field(default_factory=dict)
    """Composed: the factors whose product its phrases are."""
    compose: str | None = None
    """Composed: order of words, with one blank per factor and per attribute that modifies this one."""
    head: str | None = None
    """Composed: factor that bears the attribute's own name, number and grammar; the others are <name>_<factor>."""
    generic: Phrase | None = None
    """Composed: what a sentence says when the head is unknown but another factor is not; null tells nothing."""

    @model_validator(mode="before")
    @classmethod
    def _heaviest_region(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("regions"), dict) or not given["regions"]:
            return given
        if "region" in given and given["region"] != _heaviest(given["regions"]):
            raise ValueError(f"give either region or regions: {given['region']!r} and {given['regions']!r}")
        return {**given, "region": _heaviest(given["regions"])}

    @field_validator("prompts")
    @classmethod
    def _blanks(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        for prompt in prompts:
            _check_fields(prompt, {"phrase", "a_phrase"}, need=True)
        return prompts

    @cached_property
    def blend(self) -> Mapping[Region, float]:
        """Share of each region in the reading, together 1; ``{region: 1.0}`` where it is read from one alone."""
        total = sum(self.regions.values())
        return {region: weight / total for region, weight in self.regions.items()} or {self.region: 1.0}

    @property
    def values(self) -> tuple[Phrase, ...]:
        """Its phrases; of a composed attribute, those of the factor that bears its name."""
        return self.factors[self.head] if self.head else self.phrases

    @property
    def orders(self) -> list[str]:
        """Composed: every order of words that may be taken, the attribute's own and those of single phrases."""
        own = [phrase.compose for phrases in self.factors.values() for phrase in phrases if phrase.compose]
        return [self.compose or "", *own]

    @model_validator(mode="after")
    def _whole(self) -> "Attribute":
        if bool(self.phrases) == bool(self.factors):
            raise ValueError("give either phrases or factors, and at least one of them")
        if self.group in _VERBAL and self.verb is None:
            raise ValueError(f"group {self.group!r} needs a verb")
        if (self.group == MODIFIER) != (self.modifies is not None):
            raise ValueError(f"group {MODIFIER!r} and the key 'modifies' belong together")
        if self.factors:
            self._check_factors()
        for phrases in self.factors.values() or (self.phrases,):
            self._check_values([phrase.value for phrase in phrases])
        if self.group == NOUN and any(phrase.pronoun is None for phrase in self.phrases):
            raise ValueError("every phrase of the noun needs a pronoun: he, she or they")
        return self

    def _check_factors(self) -> None:
        if self.kind != "required" or self.verb is None or self.group in WORDS_OF_OTHERS:
            raise ValueError("factors are for required attributes that are the object of a verb")
        if self.head not in self.factors:
            raise ValueError(f"head {self.head!r} is no factor; accepted: {', '.join(self.factors)}")
        for template in self.orders:
            if sorted(name for name in fields(template) if name in self.factors) != sorted(self.factors):
                blanks = ", ".join(f"{{{name}}}" for name in self.factors)
                raise ValueError(f"compose {template!r} must hold each of {blanks} once")

    def _check_values(self, values: list[str]) -> None:
        if len(set(values)) < len(values):
            raise ValueError(f"values must differ: {values}")
        if len(values) < 2:
            raise ValueError(f"at least two values are needed to choose from: {values}")
        if (NONE in values) != (self.kind == "optional"):
            raise ValueError(f"the value {NONE!r} belongs to optional attributes, and each of those needs it: {values}")
