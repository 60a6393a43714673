"""Configuration of the caption stage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.config import Config

WHOLE = "whole"

Style = Literal["short", "plain", "long"]
Prior = Literal["none", "corpus", "reference"]
Positive = Annotated[float, Field(gt=0)]


class Thresholds(Config):
    """How surely a value must be read to be told."""

    probability: float | None = Field(default=None, ge=0, le=1)
    """Least probability; null: the default."""
    margin: float | None = Field(default=None, ge=0, le=1)
    """Least distance to the runner-up; null: the default."""


class UnknownConfig(Config):
    """When a reading is unknown and leaves the sentence."""

    probability: float | None = Field(default=None, ge=0, le=1)
    """Below this probability a required attribute is unknown. Null: 0.4; 0 where faithful."""
    margin: float | None = Field(default=None, ge=0, le=1)
    """Below this distance to the runner-up any attribute is unknown. Null: 0.1; 0 where faithful."""
    attributes: dict[str, Thresholds] = Field(default_factory=dict)
    """Other thresholds for single attributes or factors, required or optional, such as upper_colour."""


class EvidenceConfig(Config):
    """What pixels and detector have to say."""

    demand: tuple[str, ...] = ()
    """Attributes that are unknown where the evidence says another value than CLIP."""
    prefer: tuple[str, ...] = ()
    """Attributes whose value is the evidence's where there is any; the attribute's row tells its source."""
    colour_share: float = Field(default=0.4, ge=0, le=1)
    """A colour that fewer of the clothing's pixels have is no evidence."""
    object_confidence: float = Field(default=0.5, ge=0, le=1)
    """A thing that the detector is less sure of is no evidence."""


class CaptionConfig(Config):
    """How attributes are read from features and how sentences are written."""

    variant: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the variant; its captions live side by side with those of others."""
    bank: str = "unipt14"
    """Phrase bank: name of a shipped one, or path of a YAML file."""
    grammar: str | None = None
    """Sentence templates: name of a shipped grammar, or path of a YAML file; null takes the one that the bank names."""
    faithful: bool = False
    """As UniPT (ICCV 2023): whole crop, best phrase of each required attribute, optional ones above 0.9, no unknown."""
    optional_threshold: float = Field(default=0.9, ge=0, le=1)
    """An optional attribute is told when its probability is above this."""
    unknown: UnknownConfig = UnknownConfig()
    """When a reading is unknown and leaves the sentence."""
    logit_scale: Positive | None = None
    """Factor on cosine similarities before the softmax; null takes the model's own."""
    calibration: dict[str, Positive] | str = Field(default_factory=dict)
    """Temperature per attribute, above 1 where it is read too surely; or a YAML file that reidforge calibrate wrote."""
    prior: Prior = "none"
    """corpus or reference: damp phrases of required attributes that win everywhere, by their mean over one of these."""
    prior_strength: float = Field(default=0.5, gt=0, le=1)
    """Share of that mean that is taken off."""
    reference: str | None = None
    """Embeddings of a reference set, a Parquet file that reidforge calibrate writes; for prior: reference."""
    evidence: EvidenceConfig = EvidenceConfig()
    """What the colours of the pixels and the things that the detector saw may do."""
    captions_per_crop: int = Field(default=1, ge=1, le=64)
    """Sentences written for each crop."""
    styles: tuple[Style, ...] = Field(default=("short", "plain", "long"), min_length=1)
    """Styles, taken in turn for the captions of a crop."""
    templates: int | None = Field(default=None, ge=1)
    """Use only so many templates, the same ones every time; null uses all."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """With the crop's id it fixes every choice of template and wording."""

    @model_validator(mode="after")
    def _as_the_paper(self) -> "CaptionConfig":
        strays = {
            "optional_threshold": self.optional_threshold != 0.9,
            "unknown": self.unknown != UnknownConfig(),
            "calibration": bool(self.calibration),
            "prior": self.prior != "none",
            "evidence.demand": bool(self.evidence.demand),
            "evidence.prefer": bool(self.evidence.prefer),
        }
        named = [name for name, stray in strays.items() if stray]
        if self.faithful and named:
            raise ValueError(f"faithful: true fixes {', '.join(named)}; remove them, or set faithful: false")
        return self

    @model_validator(mode="after")
    def _of_a_piece(self) -> "CaptionConfig":
        if (self.prior == "reference") != (self.reference is not None):
            raise ValueError(
                f"prior {self.prior!r} with reference {self.reference!r}: give a file as reference if, and only if, "
                "prior is 'reference'"
            )
        both = sorted(set(self.evidence.demand) & set(self.evidence.prefer))
        if both:
            raise ValueError(f"evidence: {', '.join(both)} cannot be both in demand and in prefer")
        return self

    def thresholds(self, name: str, *, optional: bool) -> tuple[float, float]:
        """Least probability and least margin of an attribute or factor."""
        own = self.unknown.attributes.get(name, Thresholds())
        usual = self.unknown.probability if self.unknown.probability is not None else 0.0 if self.faithful else 0.4
        margin = self.unknown.margin if self.unknown.margin is not None else 0.0 if self.faithful else 0.1
        probability = self.optional_threshold if optional else usual
        return (
            probability if own.probability is None else own.probability,
            margin if own.margin is None else own.margin,
        )
