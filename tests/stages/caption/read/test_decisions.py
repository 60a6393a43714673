"""Thresholds, evidence and hidden values, on readings made by hand: the edge of every rule."""

from typing import Any

import numpy as np
import pytest

from stages.caption.config import CaptionConfig, EvidenceConfig, UnknownConfig
from stages.caption.read.decisions import Decisions, decide
from stages.caption.read.evidence import Evidence, no_evidence
from stages.caption.read.readings import Readings
from tests.stages.caption.captioning import unipt

HALF = np.float32(0.5)
BELOW, ABOVE = np.nextafter(HALF, np.float32(0)), np.nextafter(HALF, np.float32(1))


def reading(name: str, value: str, probability: float, margin: float) -> Readings:
    """One crop of which one facet was read."""
    facets, column = unipt().facets, unipt().column[name]
    choice = np.full((1, len(facets)), -1, np.int64)
    choice[0, column] = unipt().by_name[name].index[value]
    numbers = np.zeros((2, *choice.shape), np.float32)
    numbers[:, 0, column] = probability, margin
    return Readings(unipt(), ("whole",) * len(facets), ("toy",) * len(facets), choice, numbers[0], numbers[1])


def evidence_of(name: str, value: str, weight: float = 0.7, margin: float = 0.2) -> Evidence:
    found, column = no_evidence(1, unipt()), unipt().column[name]
    found.value[0, column] = unipt().by_name[name].index[value]
    found.weight[0, column], found.margin[0, column] = weight, margin
    return found


def is_used(decisions: Decisions, name: str) -> bool:
    return bool(decisions.used[0, unipt().column[name]])


def row_of(decisions: Decisions, name: str) -> dict[str, Any]:
    rows: list[Any] = decisions.to_arrow().to_pylist()
    return {item["attribute"]: item for item in rows[0]}[name]


@pytest.mark.parametrize(
    ("name", "value", "probability", "margin", "used"),
    [
        ("age", "old", HALF, 1, True),
        ("age", "old", BELOW, 1, False),
        ("hat", "hat", HALF, 1, False),
        ("hat", "hat", ABOVE, 1, True),
        ("hat", "none", ABOVE, 1, False),
        ("age", "old", 1, HALF, True),
        ("age", "old", 1, BELOW, False),
        ("hat", "hat", 1, BELOW, False),
    ],
)
def test_required_from_the_threshold_on_and_optional_above_it(
    name: str, value: str, probability: float, margin: float, used: bool
) -> None:
    config = CaptionConfig(unknown=UnknownConfig(probability=0.5, margin=0.5), optional_threshold=0.5)
    assert is_used(decide(reading(name, value, probability, margin), config), name) == used


def test_the_paper_knows_no_margin() -> None:
    below_zero = reading("age", "old", 0.2, -0.1)
    assert is_used(decide(below_zero, CaptionConfig(faithful=True)), "age")
    assert not is_used(decide(below_zero, CaptionConfig(unknown=UnknownConfig(probability=0, margin=0))), "age")


def test_a_preferred_value_brings_its_own_probability_margin_and_source() -> None:
    config = CaptionConfig(evidence=EvidenceConfig(prefer=("upper_colour",)))
    read = reading("upper_colour", "red", 0.9, 0.8)
    row = row_of(decide(read, config, evidence_of("upper_colour", "blue")), "upper_colour")
    assert (row["value"], row["clip_value"], row["evidence"]) == ("blue", "red", "blue")
    assert (row["probability"], row["margin"]) == pytest.approx((0.7, 0.2))
    assert (row["source"], row["agrees"]) == ("pixels", False)
    plain = row_of(decide(read, CaptionConfig(), evidence_of("upper_colour", "blue")), "upper_colour")
    assert (plain["value"], plain["source"]) == ("red", "toy")
    assert (plain["probability"], plain["margin"]) == pytest.approx((0.9, 0.8))


def test_a_preferred_value_is_stated_below_the_thresholds() -> None:
    config = CaptionConfig(evidence=EvidenceConfig(prefer=("upper",)))
    assert not is_used(decide(reading("upper", "shirt", 0.1, 0.05), config), "upper")
    assert is_used(decide(reading("upper", "shirt", 0.1, 0.05), config, evidence_of("upper", "shirt", 0.1)), "upper")


def test_a_demand_matters_only_where_there_is_evidence() -> None:
    config = CaptionConfig(evidence=EvidenceConfig(demand=("upper_colour",)))
    read = reading("upper_colour", "red", 0.9, 0.8)
    assert is_used(decide(read, config), "upper_colour")
    assert is_used(decide(read, config, evidence_of("upper_colour", "red")), "upper_colour")
    assert not is_used(decide(read, config, evidence_of("upper_colour", "blue")), "upper_colour")


def test_deciding_leaves_readings_and_evidence_as_they_were() -> None:
    config = CaptionConfig(evidence=EvidenceConfig(prefer=("upper_colour",)))
    read, found = reading("upper_colour", "red", 0.9, 0.8), evidence_of("upper_colour", "blue")
    before = [array.copy() for array in (read.choice, read.probability, found.value, found.weight)]
    assert (decide(read, config, found).stated() == decide(read, config, found).stated()).all()
    after = (read.choice, read.probability, found.value, found.weight)
    assert all((one == other).all() for one, other in zip(before, after, strict=True))
