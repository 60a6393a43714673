"""Configuration of the caption stage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.config import Config

WHOLE = "whole"

Style = Literal["short", "plain", "long"]
Positive = Annotated[float, Field(gt=0)]


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
    required_threshold: float | None = Field(default=None, ge=0, le=1)
    """Below this probability a required attribute is unknown and leaves the sentence. Null: 0.4; 0 where faithful."""
    margin_threshold: float | None = Field(default=None, ge=0, le=1)
    """Below this distance to the runner-up any attribute is unknown. Null: 0.1; 0 where faithful."""
    logit_scale: Positive | None = None
    """Factor on cosine similarities before the softmax; null takes the model's own."""
    temperatures: dict[str, Positive] = Field(default_factory=dict)
    """Per attribute, a divisor of its logits: above 1 makes it less sure."""
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
            "required_threshold": bool(self.required_threshold),
            "margin_threshold": bool(self.margin_threshold),
            "temperatures": bool(self.temperatures),
        }
        named = [name for name, stray in strays.items() if stray]
        if self.faithful and named:
            raise ValueError(f"faithful: true fixes {', '.join(named)}; remove them, or set faithful: false")
        return self

    @property
    def least_required(self) -> float:
        """The required threshold in force."""
        default = 0.0 if self.faithful else 0.4
        return default if self.required_threshold is None else self.required_threshold

    @property
    def least_margin(self) -> float:
        """The margin threshold in force."""
        default = 0.0 if self.faithful else 0.1
        return default if self.margin_threshold is None else self.margin_threshold
