from collections import Counter

import numpy as np
import pytest

from evaluation.render.drawn_attributes import COLOURS, VOCABULARY, sample_attributes

REQUIRED = ("age", "gender", "action", "hair", "upper", "upper_colour", "upper_pattern")


@pytest.fixture(scope="module")
def truths() -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    return [sample_attributes(rng) for _ in range(4000)]


def test_values_are_in_the_vocabulary(truths: list[dict[str, str]]) -> None:
    for truth in truths:
        assert set(truth) <= set(VOCABULARY)
        assert all(truth[name] in VOCABULARY[name] for name in truth)
        assert set(REQUIRED) <= set(truth)


def test_every_value_occurs(truths: list[dict[str, str]]) -> None:
    for name, values in VOCABULARY.items():
        seen = Counter(truth[name] for truth in truths if name in truth)
        assert min(seen[value] for value in values) >= 20, (name, seen)


def test_a_dress_has_no_lower_garment(truths: list[dict[str, str]]) -> None:
    for truth in truths:
        assert ("lower" in truth) == ("lower_colour" in truth) == (truth["upper"] != "dress")


def test_colours_of_the_garments_are_independent(truths: list[dict[str, str]]) -> None:
    pairs = [(truth["upper_colour"], truth["lower_colour"]) for truth in truths if "lower" in truth]
    table = np.zeros((12, 12))
    for upper, lower in pairs:
        table[COLOURS.index(upper), COLOURS.index(lower)] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / len(pairs)
    chi_square = float(((table - expected) ** 2 / expected).sum())
    assert chi_square < 174  # 121 degrees of freedom, one in a thousand


@pytest.mark.parametrize(
    ("given", "excluded"),
    [
        ({"hat": "hat"}, {"hair": "bald"}),
        ({"hat": "helmet"}, {"hair": "bald"}),
        ({"gender": "child"}, {"smoke": "smoking"}),
        ({"gender": "child"}, {"vehicle": "motorcycle"}),
        ({"vehicle": "bicycle"}, {"umbrella": "umbrella"}),
        ({"umbrella": "umbrella", "smoke": "smoking"}, {"cellphone": "phone"}),
        ({"umbrella": "umbrella", "cellphone": "phone"}, {"bag": "handbag"}),
    ],
)
def test_what_no_picture_can_show(
    truths: list[dict[str, str]], given: dict[str, str], excluded: dict[str, str]
) -> None:
    assert not [truth for truth in truths if (given | excluded).items() <= truth.items()]
