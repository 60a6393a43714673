"""Shades of the twelve colour names on cloth, and colours of skin, hair and shoes."""

import colorsys
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate

import numpy as np

from evaluation.render.drawn_attributes import COLOURS

Colour = tuple[float, float, float]
"""One colour: red, green, blue, 0 to 255."""

# Ranges of hue (degrees), saturation and value (0 to 1), with a weight. Between neighbours (gray and black, brown and
# khaki, red and orange) there is a gap: light and camera halve it again.
_RANGES: Mapping[str, tuple[tuple[float, float, float, float, float, float, float], ...]] = {
    "black": (
        (0, 360, 0.0, 0.14, 0.02, 0.17, 3),
        (10, 40, 0.1, 0.35, 0.03, 0.15, 1.5),
        (215, 240, 0.1, 0.28, 0.03, 0.13, 1),
    ),
    "white": ((0, 360, 0.0, 0.05, 0.86, 0.99, 3), (40, 55, 0.03, 0.09, 0.88, 0.97, 1)),
    "gray": ((0, 360, 0.0, 0.08, 0.36, 0.66, 3), (205, 230, 0.03, 0.12, 0.36, 0.6, 1)),
    "brown": ((14, 30, 0.5, 0.78, 0.24, 0.46, 3), (8, 18, 0.42, 0.6, 0.26, 0.38, 1)),
    "blue": (
        (212, 228, 0.5, 0.82, 0.24, 0.42, 3),
        (208, 222, 0.36, 0.64, 0.32, 0.62, 4),
        (206, 226, 0.6, 0.92, 0.48, 0.9, 2.5),
        (200, 214, 0.3, 0.5, 0.68, 0.9, 1),
    ),
    "pink": ((328, 352, 0.24, 0.48, 0.86, 1.0, 3), (322, 338, 0.5, 0.72, 0.88, 1.0, 1.5)),
    "yellow": ((48, 58, 0.6, 0.97, 0.86, 1.0, 3), (46, 54, 0.65, 0.9, 0.78, 0.9, 1)),
    "red": ((-8, 5, 0.76, 0.96, 0.52, 0.9, 3), (-10, 3, 0.74, 0.92, 0.42, 0.54, 1)),
    "khaki": ((34, 46, 0.24, 0.42, 0.6, 0.8, 3), (36, 46, 0.3, 0.46, 0.52, 0.64, 1)),
    "purple": ((270, 298, 0.44, 0.8, 0.36, 0.74, 3), (270, 290, 0.36, 0.5, 0.6, 0.85, 1)),
    "green": (
        (92, 160, 0.42, 0.85, 0.26, 0.66, 3),
        (80, 105, 0.45, 0.65, 0.28, 0.48, 1),
        (92, 125, 0.5, 0.8, 0.62, 0.88, 0.7),
    ),
    "orange": ((22, 34, 0.8, 0.98, 0.9, 1.0, 3), (22, 30, 0.82, 0.96, 0.82, 0.94, 1)),
}
_WEIGHTS = {name: tuple(accumulate(entry[6] for entry in ranges)) for name, ranges in _RANGES.items()}

_SKIN = ((240, 205, 180), (226, 186, 155), (210, 160, 125), (176, 125, 92), (128, 84, 58), (84, 56, 42))
_HAIR = ((22, 18, 16), (44, 30, 22), (78, 54, 36), (118, 84, 52), (186, 150, 96), (120, 52, 28))
_HAIR_SHARES = (0.42, 0.64, 0.78, 0.87, 0.96)
_SHOES = ("black", "white", "brown", "gray", "black", "khaki")


def scaled(colour: Colour, factor: float) -> Colour:
    """The colour in another brightness."""
    return min(255.0, colour[0] * factor), min(255.0, colour[1] * factor), min(255.0, colour[2] * factor)


def lifted(colour: Colour, step: float) -> Colour:
    """The colour with a number of levels added to each channel."""
    return scaled((colour[0] + step, colour[1] + step, colour[2] + step), 1.0)


def edged(colour: Colour, strength: float = 0.6) -> Colour:
    """The colour of a seam on cloth: darker, or lighter where the cloth is nearly black."""
    return scaled(colour, strength) if sum(colour) > 135 else lifted(colour, 34)


def distance(one: Colour, other: Colour) -> float:
    """Largest difference of a channel."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def any_name(rng: np.random.Generator) -> str:
    """One of the twelve names, equally likely."""
    return COLOURS[int(rng.random() * 12)]


def cloth(name: str, rng: np.random.Generator) -> Colour:
    """Draw a shade that people call by this name.

    Args:
        name: One of the twelve colour names.
        rng: Source of chance.

    Returns:
        Red, green, blue, 0 to 255.

    Raises:
        KeyError: The name is none of the twelve.
    """
    weights = _WEIGHTS[name]
    entry = _RANGES[name][min(bisect(weights, rng.random() * weights[-1]), len(weights) - 1)]
    parts = zip(entry[0:6:2], entry[1:6:2], rng.random(3).tolist(), strict=True)
    hue, saturation, value = (low + (high - low) * part for low, high, part in parts)
    red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)
    return red * 255, green * 255, blue * 255


def contrasting(colour: Colour, rng: np.random.Generator, gap: float = 70.0) -> Colour:
    """Draw a cloth colour that differs from the given one by at least ``gap`` levels of a channel."""
    for _ in range(12):
        name = any_name(rng) if rng.random() < 0.6 else ("white", "black")[int(rng.random() * 2)]
        other = cloth(name, rng)
        if distance(colour, other) > gap:
            return other
    return (245.0, 245.0, 245.0) if sum(colour) < 384 else (20.0, 20.0, 20.0)


def skin(rng: np.random.Generator) -> Colour:
    """Draw a skin tone; light and dark ones are equally likely."""
    place = rng.random() * (len(_SKIN) - 1)
    low, share = _SKIN[int(place)], place % 1
    high = _SKIN[int(place) + 1]
    return (
        low[0] + (high[0] - low[0]) * share,
        low[1] + (high[1] - low[1]) * share,
        low[2] + (high[2] - low[2]) * share,
    )


def hair(age: str, rng: np.random.Generator) -> Colour:
    """Draw a colour of hair; most old people have gray or white hair."""
    if rng.random() < {"old": 0.88, "middle-aged": 0.1}.get(age, 0.0):
        tone = rng.uniform(150, 228)
        return tone, tone * 0.99, tone * 0.97
    return scaled(_HAIR[bisect(_HAIR_SHARES, rng.random())], rng.uniform(0.75, 1.25))


def shoes(rng: np.random.Generator) -> Colour:
    """Draw a colour of shoes: mostly black, white or brown."""
    return cloth(_SHOES[int(rng.random() * 6)] if rng.random() < 0.8 else any_name(rng), rng)
