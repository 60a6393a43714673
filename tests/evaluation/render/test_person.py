import functools
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from evaluation.render import VOCABULARY, render, render_sample, textures
from evaluation.render.drawn_attributes import COLOURS
from evaluation.render.figure import Figure, draw_figure

PLAIN = {
    "age": "young",
    "gender": "man",
    "action": "walking",
    "hair": "short",
    "upper": "jacket",
    "upper_colour": "black",
    "upper_pattern": "plain",
    "lower": "long pants",
    "lower_colour": "blue",
    **dict.fromkeys(("bag", "cellphone", "glasses", "hat", "vehicle", "gloves", "umbrella", "smoke"), "none"),
}

# L*, a*, b* of typical cloths of each name.
TYPICAL = {
    "black": [(8, 0, 0)],
    "white": [(96, 0, 0)],
    "gray": [(54, 0, 0)],
    "brown": [(30, 15, 24)],
    "blue": [(45, -2, -25), (20, 6, -26), (45, 18, -58), (75, -8, -24)],
    "pink": [(76, 38, -3)],
    "yellow": [(88, -8, 70)],
    "red": [(45, 64, 44), (25, 44, 26)],
    "khaki": [(67, 3, 24)],
    "purple": [(38, 40, -42)],
    "green": [(45, -36, 30)],
    "orange": [(69, 35, 70)],
}


def wearing(**changes: str) -> dict[str, str]:
    truth = PLAIN | changes
    if truth["upper"] == "dress":
        del truth["lower"], truth["lower_colour"]
    return truth


def every_value() -> Iterator[tuple[str, str]]:
    for name, values in VOCABULARY.items():
        for value in values:
            yield name, value


@pytest.mark.parametrize(("name", "value"), list(every_value()))
def test_every_value_can_be_drawn(name: str, value: str) -> None:
    for number in range(4):
        crop = render(wearing(**{name: value}), np.random.default_rng((1, number)))
        assert crop.dtype == np.uint8
        assert crop.ndim == 3
        assert 60 <= crop.shape[0] <= 200
        assert 1.7 < crop.shape[0] / crop.shape[1] < 3.4
        assert crop.std() > 3


@pytest.mark.parametrize("vehicle", ["bicycle", "motorcycle", "tricycle"])
@pytest.mark.parametrize("action", VOCABULARY["action"])
def test_vehicles_go_with_every_action(vehicle: str, action: str) -> None:
    assert render(wearing(vehicle=vehicle, action=action), np.random.default_rng(3)).size


def test_the_same_number_gives_the_same_crop_in_any_order() -> None:
    forward = [render_sample(7, index) for index in range(20)]
    backward = [render_sample(7, index) for index in reversed(range(20))][::-1]
    for (crop, truth), (again, same) in zip(forward, backward, strict=True):
        assert truth == same
        np.testing.assert_array_equal(crop, again)


def test_other_numbers_and_seeds_give_other_crops() -> None:
    crops = [render_sample(seed, index)[0] for seed in (1, 2) for index in range(10)]
    assert len({crop.tobytes() for crop in crops}) == 20


def test_the_global_state_of_chance_is_left_alone() -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    render_sample(1, 1)
    assert np.random.random() == before  # noqa: NPY002


@pytest.mark.parametrize(
    "changes", [{"upper_colour": "mauve"}, {"upper": "toga"}, {"action": "flying"}, {"hat": "crown"}]
)
def test_words_outside_the_vocabulary_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        render(wearing(**changes), np.random.default_rng(0))


def median_lab(figure: Figure, group: str) -> np.ndarray:
    pixels = figure.picture[figure.worn(group) > 0].astype(np.float32)[None] / 255
    return np.asarray(np.median(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0], axis=0))


@pytest.mark.parametrize("group", ["upper", "lower"])
@pytest.mark.parametrize("name", COLOURS)
def test_a_garment_has_the_named_colour(name: str, group: str) -> None:
    near = 0
    for number in range(30):
        truth = wearing(upper="long sleeve", **{f"{group}_colour": name})
        lab = median_lab(draw_figure(truth, 200, np.random.default_rng((2, number)), shaded=False), group)
        distances = {
            other: min(float(np.linalg.norm(lab - np.array(cloth))) for cloth in cloths)
            for other, cloths in TYPICAL.items()
        }
        near += min(distances, key=lambda other: distances[other]) == name
        assert distances[name] < 45, (number, lab)
    assert near >= 25


@functools.cache
def t_shirt(kind: str, number: int) -> Figure:
    """The plain one is compared with every pattern, and drawn once."""
    truth = wearing(upper="t-shirt", upper_pattern=kind)
    return draw_figure(truth, 200, np.random.default_rng((4, number)), shaded=False)


@pytest.mark.parametrize("pattern", ["striped", "plaid", "patterned"])
def test_a_pattern_adds_a_second_colour_and_keeps_the_first(pattern: str) -> None:
    for number in range(10):
        plain, patterned = t_shirt("plain", number), t_shirt(pattern, number)
        worn = plain.worn("upper") > 0
        changed = np.abs(patterned.picture[worn].astype(int) - plain.picture[worn]).max(axis=1) > 25
        assert 0.05 < changed.mean() < 0.85


@functools.cache
def area(upper: str) -> float:
    """Share of the person that the garment covers, on average over 30 persons."""
    figures = [draw_figure(wearing(upper=upper), 200, np.random.default_rng((5, number))) for number in range(30)]
    return float(np.mean([(figure.worn("upper") > 0).sum() / (figure.mask > 0).sum() for figure in figures]))


@pytest.mark.parametrize(
    ("upper", "other", "more"),
    [
        ("coat", "jacket", 1.05),
        ("long sleeve", "sleeveless top", 1.2),
        ("down coat", "long sleeve", 1.1),
        ("dress", "t-shirt", 1.1),
    ],
)
def test_garments_differ_in_size(upper: str, other: str, more: float) -> None:
    assert area(upper) > more * area(other)


@pytest.mark.parametrize("lower", VOCABULARY["lower"])
@pytest.mark.parametrize("upper", [value for value in VOCABULARY["upper"] if value != "dress"])
def test_the_lower_garment_is_never_hidden(upper: str, lower: str) -> None:
    for number in range(10):
        truth = wearing(upper=upper, lower=lower, action="standing")
        figure = draw_figure(truth, 200, np.random.default_rng((6, number)))
        assert (figure.worn("lower") > 0).sum() > 0.02 * (figure.mask > 0).sum()


@pytest.mark.parametrize("kind", ["striped", "plaid", "patterned"])
def test_the_colour_that_is_named_covers_most_of_a_pattern(kind: str) -> None:
    shares = [textures.pattern(kind, variant).mean() / 255 for variant in range(textures.PATTERN_COUNT)]
    assert min(shares) > 0.1
    assert max(shares) <= 0.25
