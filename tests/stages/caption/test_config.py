"""The caption block of a recipe: which thresholds hold."""

import numpy as np
import pytest

from stages.caption.config import CaptionConfig
from stages.caption.read.decisions import decide
from stages.caption.read.readings import Readings
from tests.stages.caption.captioning import unipt

BELOW, ABOVE = np.nextafter(np.float32(0.5), np.float32(0)), np.nextafter(np.float32(0.5), np.float32(1))


def stated(name: str, value: str, probability: float, margin: float, config: CaptionConfig) -> bool:
    """Whether captions state a value that was read with this probability and margin."""
    shape = (1, len(unipt().facets))
    choice, column = np.full(shape, -1), unipt().column[name]
    choice[0, column] = unipt().by_name[name].index[value]
    width = shape[1]
    certainty = (np.full(shape, number, np.float32) for number in (probability, margin))
    readings = Readings(unipt(), ("whole",) * width, ("clip",) * width, choice, *certainty)
    return bool(decide(readings, config).used[0, column])


@pytest.mark.parametrize(("probability", "expected"), [(BELOW, False), (0.5, False), (ABOVE, True)])
def test_an_optional_attribute_is_stated_above_its_threshold(probability: float, expected: bool) -> None:
    config = CaptionConfig(optional_threshold=0.5)
    assert stated("hat", "hat", probability, 1.0, config) == expected
    own = CaptionConfig.model_validate({"unknown": {"attributes": {"hat": {"probability": 0.5}}}})
    assert stated("hat", "hat", probability, 1.0, own) == expected
    assert stated("hat", "hat", 0.91, 1.0, CaptionConfig())
    assert not stated("hat", "none", 1.0, 1.0, CaptionConfig())


@pytest.mark.parametrize(("probability", "expected"), [(BELOW, False), (0.5, True), (ABOVE, True)])
def test_a_required_attribute_is_stated_from_its_threshold_on(probability: float, expected: bool) -> None:
    config = CaptionConfig.model_validate({"unknown": {"probability": 0.5}})
    assert stated("hair", "long", probability, 1.0, config) == expected
    own = CaptionConfig.model_validate({"unknown": {"attributes": {"hair": {"probability": 0.5}}}})
    assert stated("hair", "long", probability, 1.0, own) == expected
    assert stated("age", "old", 0.45, 1.0, own)


@pytest.mark.parametrize(("margin", "expected"), [(BELOW, False), (0.5, True)])
def test_a_margin_is_needed_from_its_threshold_on(margin: float, expected: bool) -> None:
    config = CaptionConfig.model_validate({"unknown": {"margin": 0.5}})
    assert stated("hair", "long", 1.0, margin, config) == expected
    assert stated("hat", "hat", 1.0, margin, config) == expected
    own = CaptionConfig.model_validate({"unknown": {"attributes": {"hair": {"margin": 0.5}}}})
    assert stated("hair", "long", 1.0, margin, own) == expected
    assert stated("hat", "hat", 1.0, margin, own)


def test_the_defaults_and_those_of_the_paper() -> None:
    faithful = CaptionConfig(faithful=True)
    assert CaptionConfig().thresholds("hair", optional=False) == (0.4, 0.1)
    assert CaptionConfig().thresholds("hat", optional=True) == (0.9, 0.1)
    assert faithful.thresholds("hair", optional=False) == (0.0, 0.0)
    assert faithful.thresholds("hat", optional=True) == (0.9, 0.0)
    zero = CaptionConfig.model_validate({"unknown": {"probability": 0.0, "margin": 0.0}})
    assert zero.thresholds("hair", optional=False) == (0.0, 0.0)
