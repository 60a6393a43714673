"""The attributes of a rendered pedestrian, and how often each of their values is drawn."""

from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

COLOURS = ("black", "white", "gray", "brown", "blue", "pink", "yellow", "red", "khaki", "purple", "green", "orange")

VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "age": ("young", "middle-aged", "old"),
    "gender": ("man", "woman", "child"),
    "action": ("standing", "walking", "running", "sitting", "squatting"),
    "hair": ("short", "medium", "long", "bald"),
    "upper": (
        "t-shirt",
        "shirt",
        "long sleeve",
        "sleeveless top",
        "jacket",
        "suit",
        "coat",
        "wind coat",
        "down coat",
        "sweater",
        "dress",
    ),
    "upper_colour": COLOURS,
    "upper_pattern": ("plain", "striped", "plaid", "patterned"),
    "lower": ("long pants", "shorts", "skirt", "long skirt"),
    "lower_colour": COLOURS,
    "bag": ("none", "backpack", "shoulder bag", "handbag"),
    "cellphone": ("none", "phone"),
    "glasses": ("none", "glasses", "sunglasses"),
    "hat": ("none", "hat", "helmet"),
    "vehicle": ("none", "bicycle", "motorcycle", "tricycle"),
    "gloves": ("none", "gloves"),
    "umbrella": ("none", "umbrella"),
    "smoke": ("none", "smoking"),
}
"""Every attribute with its values; a person in a dress has no ``lower`` and no ``lower_colour``."""

# Half uniform, half as worn: rare colours must be learnt as well, but black coats and blue jeans are most common.
_UPPER_COLOUR = (16, 12, 12, 7, 11, 6.5, 6, 8.5, 6, 5, 6, 5)
_LOWER_COLOUR = (18, 8, 13, 8, 20, 4.5, 4, 5, 7, 4, 4.5, 4)

_UPPER = {
    "man": (15, 12, 11, 5, 17, 8, 9, 6, 9, 8, 0),
    "woman": (12, 9, 10, 8, 11, 4, 10, 8, 9, 9, 12),
    "child": (19, 8, 13, 8, 15, 2, 6, 4, 11, 10, 6),
}
_LOWER = {"man": (78, 20, 1, 1), "woman": (57, 14, 17, 12), "child": (60, 24, 11, 5)}
_HAIR = {"man": (66, 13, 4, 17), "woman": (9, 21, 70, 0), "child": (48, 24, 26, 2)}
_PATTERNS = {"suit": (80, 12, 8, 0), "down coat": (86, 8, 0, 6), "coat": (76, 6, 12, 6), "wind coat": (82, 4, 10, 4)}
_ANY_PATTERN = (56, 17, 12, 15)
_AGE = {"man": (42, 38, 20), "woman": (44, 36, 20), "child": (1, 0, 0)}
_OPTIONAL = {
    "bag": (55, 17, 14, 14),
    "cellphone": (75, 25),
    "glasses": (65, 20, 15),
    "hat": (65, 22, 13),
    "vehicle": (78, 9, 8, 5),
    "gloves": (78, 22),
    "umbrella": (86, 14),
    "smoke": (85, 15),
}


def pick(rng: np.random.Generator, values: Sequence[str], weights: Sequence[float]) -> str:
    """One of the values, with probability in proportion to its weight."""
    cumulative = tuple(accumulate(weights))
    return values[min(bisect(cumulative, rng.random() * cumulative[-1]), len(values) - 1)]


def sample_attributes(rng: np.random.Generator) -> dict[str, str]:
    """Draw the truth of one pedestrian.

    The colours of the upper and the lower garment are independent, so that nothing can be learnt from one about the
    other. Tendencies of gender are loose. Combinations that no picture can show (bald under a hat, three things in
    two hands) are not drawn.

    Args:
        rng: Source of chance.

    Returns:
        Attribute -> value, in the names of ``VOCABULARY``; optional attributes are always there, often ``"none"``.
    """
    gender = pick(rng, VOCABULARY["gender"], (43, 43, 14))
    truth = {"gender": gender, "age": pick(rng, VOCABULARY["age"], _AGE[gender])}
    truth["action"] = pick(rng, VOCABULARY["action"], (26, 44, 10, 12, 8))
    truth["hair"] = pick(rng, VOCABULARY["hair"], _HAIR[gender])
    _dress(truth, rng)
    for attribute, weights in _OPTIONAL.items():
        truth[attribute] = pick(rng, VOCABULARY[attribute], weights)
    _settle(truth, rng)
    return truth


def _dress(truth: dict[str, str], rng: np.random.Generator) -> None:
    """Draw the garments."""
    truth["upper"] = pick(rng, VOCABULARY["upper"], _UPPER[truth["gender"]])
    truth["upper_colour"] = pick(rng, COLOURS, _UPPER_COLOUR)
    truth["upper_pattern"] = pick(rng, VOCABULARY["upper_pattern"], _PATTERNS.get(truth["upper"], _ANY_PATTERN))
    if truth["upper"] != "dress":
        truth["lower"] = pick(rng, VOCABULARY["lower"], _LOWER[truth["gender"]])
        truth["lower_colour"] = pick(rng, COLOURS, _LOWER_COLOUR)


def _settle(truth: dict[str, str], rng: np.random.Generator) -> None:
    """Remove combinations that an image cannot show."""
    if truth["gender"] == "child":
        truth["smoke"] = "none"
        truth["vehicle"] = "none" if truth["vehicle"] == "motorcycle" else truth["vehicle"]
    if truth["hat"] != "none" and truth["hair"] == "bald":
        truth["hair"] = "short"
    if truth["vehicle"] != "none":
        truth["action"] = "sitting" if rng.random() < 0.75 else "standing"
        truth["umbrella"] = "none"
    hands = 2
    for attribute in ("umbrella", "smoke", "cellphone"):
        if truth[attribute] != "none" and hands == 0:
            truth[attribute] = "none"
        hands -= truth[attribute] != "none"
    if truth["bag"] == "handbag" and hands == 0:
        truth["bag"] = "shoulder bag"
