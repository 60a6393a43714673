import math

import numpy as np
import pyarrow as pa
import pytest

from evaluation.captions.scores import Truth, calibration_error, colour_bleed, judge
from schemas.tables import CAPTIONS
from tests.stages.caption.captioning import unipt

ATTRIBUTES = CAPTIONS.field("attributes").type


def row(**read: tuple[str, float, bool]) -> list[dict[str, object]]:
    """One crop's readings; what is not given is read as the first value, surely, and stated."""
    first = {facet.name: (facet.phrases[0].value, 1.0, True) for facet in unipt().facets}
    return [
        {"attribute": name, "value": value, "probability": probability, "used": used}
        for name, (value, probability, used) in (first | read).items()
    ]


def column(*rows: list[dict[str, object]]) -> pa.Array:
    return pa.array(rows, ATTRIBUTES)


def truth(**values: str) -> Truth:
    return {name: frozenset(value.split("|")) for name, value in values.items()}


def test_a_reading_is_right_when_it_is_one_of_the_acceptable_values() -> None:
    read = column(row(hair=("long", 0.9, True)), row(hair=("short", 0.6, False)), row(hair=("short", 0.8, True)))
    truths = [truth(hair="long|medium"), truth(hair="long"), truth(hair="short|bald")]
    (score,) = judge(read, truths, unipt())
    assert (score.attribute, score.crops) == ("hair", 3)
    assert score.right == pytest.approx(2 / 3)
    assert score.stated == pytest.approx(2 / 3)
    assert score.stated_right == 1.0
    assert score.guess == pytest.approx(2 / 3)


def test_what_is_not_labelled_and_what_the_bank_cannot_say_is_not_judged() -> None:
    read = column(row(), row())
    truths = [truth(gender="man"), truth(hair="dreadlocks", mood="glad")]
    assert [(score.attribute, score.crops) for score in judge(read, truths, unipt())] == [("gender", 1)]


def test_without_stated_values_the_share_of_right_ones_is_nan() -> None:
    (score,) = judge(column(row(gender=("man", 0.4, False))), [truth(gender="man")], unipt())
    assert math.isnan(score.stated_right)


def test_calibration_error_is_the_gap_between_confidence_and_truth() -> None:
    sure = np.full(1000, 0.9)
    assert calibration_error(sure, np.arange(1000) % 10 > 0) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(sure, np.arange(1000) % 2 > 0) == pytest.approx(0.4)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0.0
    # Certainty belongs to the last bin, together with 0.95: one right of two.
    assert calibration_error(np.array([0.95, 1.0]), np.array([True, False])) == pytest.approx(0.475)


def test_colours_bleed_where_two_garments_are_read_in_one_colour() -> None:
    red, mixed = ("red", 1.0, True), ("blue", 1.0, True)
    read = column(
        row(upper_colour=red, lower_colour=red),
        row(upper_colour=red, lower_colour=mixed),
        row(upper_colour=red, lower_colour=red),
        row(upper_colour=red, lower_colour=red),
    )
    truths = [
        truth(upper_colour="red", lower_colour="blue"),
        truth(upper_colour="red", lower_colour="blue"),
        truth(upper_colour="red", lower_colour="red"),
        truth(upper_colour="red"),
    ]
    assert colour_bleed(read, truths) == (0.5, 2)
    assert math.isnan(colour_bleed(read.slice(0, 0), [])[0])
