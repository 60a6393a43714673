"""Configuration of the caption stage."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from stages.config import Config

WHOLE = "whole"

Style = Literal["short", "plain", "long"]
Prior = Literal["none", "corpus", "reference"]
Positive = Annotated[float, Field(gt=0)]


class Thresholds(Config):
    """How certain a reading must be for captions to state it."""

    probability: float | None = Field(default=None, ge=0, le=1)
    """Minimum probability; null: the default."""
    margin: float | None = Field(default=None, ge=0, le=1)
    """Minimum distance to the runner-up; null: the default."""


class UnknownConfig(Config):
    """When a reading counts as unknown, so that captions omit it."""

    probability: float | None = Field(default=None, ge=0, le=1)
    """A required attribute below this probability is unknown. Null: 0.4; 0 if faithful."""
    margin: float | None = Field(default=None, ge=0, le=1)
    """Any attribute with a smaller distance to the runner-up is unknown. Null: 0.1; 0 if faithful."""
    attributes: dict[str, Thresholds] = Field(default_factory=dict)
    """Thresholds of single attributes or factors, required or optional, such as upper_colour."""


class EvidenceConfig(Config):
    """How the colours of pixels and the detected objects affect readings."""

    demand: tuple[str, ...] = ()
    """Attributes that are unknown where the evidence differs from the reading."""
    prefer: tuple[str, ...] = ()
    """Attributes whose value is taken from the evidence where it exists; column ``source`` records this."""
    colour_share: float = Field(default=0.4, ge=0, le=1)
    """A colour is evidence if at least this share of the garment's pixels has it."""
    object_confidence: float = Field(default=0.5, ge=0, le=1)
    """A detected object is evidence if the detector's confidence is at least this."""


VARIANT_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Valid names of variants, which are also names of folders."""


class CaptionConfig(Config):
    """How attributes are read from features and how sentences are written."""

    variant: str = Field(default="default", pattern=VARIANT_NAME)
    """Name of the variant; captions of several variants exist side by side."""
    bank: str = "unipt14"
    """Phrase bank: name of a shipped one, or the path of a YAML file."""
    grammar: str | None = None
    """Grammar of the sentences: name of a shipped one, or the path of a YAML file; null takes the bank's."""
    faithful: bool = False
    """As UniPT (ICCV 2023): whole crop, best phrase of each required attribute, optional ones above 0.9."""
    optional_threshold: float = Field(default=0.9, ge=0, le=1)
    """Captions state an optional attribute if its probability is above this."""
    unknown: UnknownConfig = UnknownConfig()
    """When a reading counts as unknown, so that captions omit it."""
    logit_scale: Positive | None = None
    """Factor on cosine similarities before the softmax; null takes the model's."""
    calibration: dict[str, Positive] | str = Field(default_factory=dict)
    """Temperature per attribute, above 1 to correct overconfident readings; or a YAML file from reidforge calibrate."""
    prior: Prior = "none"
    """corpus or reference: damp phrases that win everywhere, by the mean features of one of these."""
    prior_strength: float = Field(default=0.5, gt=0, le=1)
    """Share of that mean that is subtracted."""
    reference: str | None = None
    """Embeddings of a reference set, a Parquet file from reidforge calibrate; for prior: reference."""
    evidence: EvidenceConfig = EvidenceConfig()
    """How the colours of pixels and the detected objects affect readings."""
    captions_per_crop: int = Field(default=1, ge=1, le=64)
    """Captions written for each crop."""
    styles: tuple[Style, ...] = Field(default=("short", "plain", "long"), min_length=1)
    """Styles; the captions of a crop take them in turn."""
    templates: int | None = Field(default=None, ge=1)
    """Number of templates to use, always the same ones; null uses all."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """With the crop's id it determines every choice of template and wording."""

    @model_validator(mode="after")
    def _faithful_to_the_paper(self) -> "CaptionConfig":
        changed = {
            "optional_threshold": self.optional_threshold != 0.9,
            "unknown": self.unknown != UnknownConfig(),
            "calibration": bool(self.calibration),
            "prior": self.prior != "none",
            "evidence.demand": bool(self.evidence.demand),
            "evidence.prefer": bool(self.evidence.prefer),
        }
        named = [name for name, is_changed in changed.items() if is_changed]
        if self.faithful and named:
            raise ValueError(f"faithful: true fixes {', '.join(named)}; remove them, or set faithful: false")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "CaptionConfig":
        if (self.prior == "reference") != (self.reference is not None):
            raise ValueError(
                f"prior {self.prior!r} with reference {self.reference!r}: give a reference file if prior is "
                "'reference', and only then"
            )
        both = sorted(set(self.evidence.demand) & set(self.evidence.prefer))
        if both:
            raise ValueError(f"evidence: {', '.join(both)} cannot be both in demand and in prefer")
        return self

    def thresholds(self, name: str, *, optional: bool) -> tuple[float, float]:
        """Minimum probability and minimum margin of an attribute or factor."""
        given, own = self.unknown, self.unknown.attributes.get(name, Thresholds())
        if optional:
            probability = self.optional_threshold
        else:
            probability = _or_default(given.probability, 0.0 if self.faithful else 0.4)
        margin = _or_default(given.margin, 0.0 if self.faithful else 0.1)
        return _or_default(own.probability, probability), _or_default(own.margin, margin)


def _or_default(given: float | None, default: float) -> float:
    return default if given is None else given
