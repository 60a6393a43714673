"""Temperatures of attributes, from the recipe or a file: how overconfident a model is about each."""

from pathlib import Path

from pydantic import Field, ValidationError

from stages.caption.bank.bank import Bank
from stages.caption.bank.problems import BankError, explain, read_yaml
from stages.caption.config import CaptionConfig, Positive
from stages.config import Config
from stages.resources import locate


class Calibration(Config):
    """What ``reidforge calibrate`` writes."""

    model: str
    """Model whose readings were calibrated."""
    bank: str
    """Bank that they were read with."""
    crops: int = Field(ge=0)
    """Number of labelled crops that the temperatures were fitted on."""
    temperatures: dict[str, Positive]
    """Divisor of the logits, by attribute."""
    nll: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Mean negative log likelihood of the labels before and after, by attribute. For information only."""


def load_temperatures(config: CaptionConfig, bank: Bank) -> dict[str, float]:
    """Temperature by attribute, from the recipe or the file that it names.

    Raises:
        BankError: The file does not exist or is not valid, or names an attribute that the bank does not have.
    """
    given = config.calibration
    temperatures = _read(given).temperatures if isinstance(given, str) else given
    names = [block.name for block in bank.attributes]
    for name in temperatures:
        if name not in names:
            raise BankError(
                f"caption.calibration: no attribute {name!r} in bank {bank.name}; accepted: {', '.join(names)}"
            )
    return dict(temperatures)


def calibrated_model(config: CaptionConfig) -> str | None:
    """Name of the model that the recipe's file of temperatures was fitted on; None where it names no file.

    Raises:
        BankError: The file does not exist or is not valid.
    """
    return _read(config.calibration).model if isinstance(config.calibration, str) else None


def _read(source: str) -> Calibration:
    path = Path(locate(source))
    if not path.is_file():
        raise BankError(
            f"caption.calibration: no file {source!r}; give temperatures by attribute, or a file that "
            "'reidforge calibrate' wrote"
        )
    content = read_yaml(path.read_text(encoding="utf-8"), source)
    try:
        return Calibration.model_validate(content)
    except ValidationError as error:
        raise BankError(explain(error, content, source, {}, Calibration)) from error
