"""The parts of a phrase bank: phrases with synonyms, verbs and attributes, each validated on its own."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from string import Formatter
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from stages.caption.bank.english import Number
from stages.config import Config
from stages.embed.config import Region

NONE = "none"

# Groups that no grammar places: their words belong to the person's noun phrase, or to another attribute's.
NOUN: Final = "noun"
ADJECTIVE: Final = "adjective"
MODIFIER: Final = "modifier"
WORDS_OF_OTHERS: Final = (NOUN, ADJECTIVE, MODIFIER)

# Groups whose attributes are nouns in every grammar: a sentence cannot state them without a verb.
_VERBAL: Final = ("clothes", "looks", "accessories", "things")

Weight = Annotated[float, Field(gt=0)]


@lru_cache(maxsize=1024)
def fields(template: str) -> tuple[str, ...]:
    """Names of the blanks of a text, in order."""
    return tuple(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def _check_fields(template: str, accepted: set[str], *, need: bool) -> None:
    given = fields(template)
    if set(given) - accepted or (need and not given):
        names = ", ".join(f"{{{name}}}" for name in sorted(accepted))
        blanks = ", ".join(f"{{{name}}}" for name in given) or "no blanks"
        raise ValueError(f"{template!r} has {blanks}; accepted: {names}")


def _heaviest(regions: Mapping[str, Any]) -> str:
    known = {region: weight for region, weight in regions.items() if isinstance(weight, int | float)}
    return max(known, key=lambda region: known[region]) if known else next(iter(regions))


class Synonym(Config):
    """An alternative wording, for sentences only."""

    text: str
    """Words without article; empty for no words."""
    weight: float = Field(default=1.0, gt=0)
    """How often it is chosen, relative to the other wordings."""
    number: Number | None = None
    """Its number, if it differs from the phrase's."""


class Phrase(Config):
    """One value of an attribute."""

    value: str = Field(min_length=1)
    """Name of the value in tables."""
    text: str = Field(min_length=1)
    """Words without article, as prompts use them."""
    weight: float = Field(default=1.0, gt=0)
    """How often a sentence uses the text itself, relative to its synonyms."""
    number: Number = "singular"
    """singular (a hat), plural (gloves) or mass (short hair)."""
    synonyms: tuple[Synonym, ...] = ()
    """Alternative wordings; a plain string has weight 1."""
    pronoun: Literal["he", "she", "they"] | None = None
    """Pronoun for such a person; phrases of the noun attribute need it."""
    hides: tuple[str, ...] = ()
    """Attributes that sentences omit when this value is stated."""
    verb: str | None = None
    """Verb that takes this value as its object, instead of the attribute's."""
    prompts: tuple[str, ...] = ()
    """Prompts for this value only, instead of the attribute's."""
    compose: str | None = None
    """Word order with this factor, instead of the attribute's."""

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
    """One verb that joins a person and an object: ``wear``, ``wears``, ``wearing``."""

    plain: str
    """With they: ``wear``, ``are dressed in``."""
    third: str
    """With he, she and nouns: ``wears``, ``is dressed in``."""
    joined: str
    """Between the noun and the object: ``wearing``, ``with``."""
    progressive: bool = False
    """Whether ``is`` may precede the joined form (is wearing)."""
    weight: float = Field(default=1.0, gt=0)
    """How often it is chosen, relative to the verb's alternatives."""


class Attribute(Config):
    """One attribute: its prompts, where in the crop it is read, and how sentences state it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the attribute in tables."""
    kind: Literal["required", "optional"]
    """required: the best phrase is taken; optional: a phrase is stated only if it is likely."""
    region: Region
    """Region of the crop that it is read from; of a blend, the region with the largest weight."""
    regions: dict[Region, Weight] = Field(default_factory=dict)
    """Instead of region: a weighted blend of regions, such as {feet: 0.7, lower: 0.3}."""
    group: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Part of the sentence that states it: noun, adjective, modifier, or a group of the grammar."""
    verb: str | None = None
    """Verb that takes it as its object, a key of the bank's verbs; without one it is a participle (walking)."""
    modifies: str | None = None
    """For the group modifier: the composed attribute that it belongs to, whose compose has a blank of its name."""
    prompts: tuple[str, ...] = Field(min_length=1)
    """Prompts with the blank {phrase} or {a_phrase}; their text features are averaged."""
    phrases: tuple[Phrase, ...] = ()
    """The values of an attribute that is not composed."""
    factors: dict[str, tuple[Phrase, ...]] = Field(default_factory=dict)
    """Composed: the factors; the attribute's phrases are their product."""
    compose: str | None = None
    """Composed: word order, with one blank per factor and per modifier."""
    head: str | None = None
    """Composed: the factor that has the attribute's name, number and grammar; the others are <name>_<factor>."""
    generic: Phrase | None = None
    """Composed: the noun when the head is unknown but another factor is known (top); null states nothing then."""

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
        """Share of each region in the reading, which sum to 1; ``{region: 1.0}`` for a single region."""
        total = sum(self.regions.values())
        return {region: weight / total for region, weight in self.regions.items()} or {self.region: 1.0}

    @property
    def values(self) -> tuple[Phrase, ...]:
        """Its phrases; of a composed attribute, those of the head."""
        return self.factors[self.head] if self.head else self.phrases

    @property
    def orders(self) -> list[str]:
        """Composed: every word order in use, the attribute's and those of single phrases."""
        own = [phrase.compose for phrases in self.factors.values() for phrase in phrases if phrase.compose]
        return [self.compose or "", *own]

    @model_validator(mode="after")
    def _consistent(self) -> "Attribute":
        if bool(self.phrases) == bool(self.factors):
            raise ValueError("give either phrases or factors")
        if self.group in _VERBAL and self.verb is None:
            raise ValueError(f"group {self.group!r} needs a verb")
        if (self.group == MODIFIER) != (self.modifies is not None):
            raise ValueError(f"group {MODIFIER!r} needs the key 'modifies', and no other group accepts it")
        if self.factors:
            self._check_factors()
        for phrases in self.factors.values() or (self.phrases,):
            self._check_values([phrase.value for phrase in phrases])
        if self.group == NOUN and any(phrase.pronoun is None for phrase in self.phrases):
            raise ValueError("every phrase of the noun attribute needs a pronoun: he, she or they")
        return self

    def _check_factors(self) -> None:
        if self.kind != "required" or self.verb is None or self.group in WORDS_OF_OTHERS:
            raise ValueError("only a required attribute with a verb may have factors")
        if self.head not in self.factors:
            raise ValueError(f"head {self.head!r} is not a factor; accepted: {', '.join(self.factors)}")
        for template in self.orders:
            if sorted(name for name in fields(template) if name in self.factors) != sorted(self.factors):
                blanks = ", ".join(f"{{{name}}}" for name in self.factors)
                raise ValueError(f"compose {template!r} must contain each of {blanks} once")

    def _check_values(self, values: list[str]) -> None:
        if len(set(values)) < len(values):
            raise ValueError(f"values must differ: {values}")
        if len(values) < 2:
            raise ValueError(f"an attribute needs at least two values: {values}")
        if (NONE in values) != (self.kind == "optional"):
            raise ValueError(
                f"an optional attribute needs the value {NONE!r}, and a required one may not have it: {values}"
            )
