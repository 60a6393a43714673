"""The street behind a person: ground, walls, cars, poles, other people at the edge, and the person's shadow."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.render import palette, textures
from evaluation.render.drawn_attributes import sample_attributes
from evaluation.render.figure import draw_figure
from evaluation.render.palette import Colour
from evaluation.render.textures import Picture

_FLOORS = ("tarmac", "tarmac", "tarmac", "grass", "grass", "paving", "paving", "concrete", "earth")
_BACKS = ("brick", "wall", "foliage", "shop", "concrete", "grass", "tarmac")
_PAINT = ("white", "gray", "black", "blue", "red", "gray")


def _cut(name: str, height: int, width: int, rng: np.random.Generator) -> Picture:
    """A piece of a surface, fine or coarse, in a random tint and brightness."""
    rows = textures.surface(name, coarse=rng.random() < 0.5)
    top, left = int(rng.random() * (textures.SIZE - height)), int(rng.random() * (textures.SIZE - width))
    gain = rng.uniform(0.5, 1.3) * rng.uniform(0.92, 1.08, 3)
    light = np.array([*gain.tolist(), 0.0])
    return np.asarray(cv2.multiply(rows[top : top + height, left : left + width], light), np.uint8)


def draw_scene(height: int, width: int, ground: float, rng: np.random.Generator) -> Picture:
    """Draw a street without the person.

    Args:
        height: Rows of the picture.
        width: Columns.
        ground: Row on which the person stands, pixels.
        rng: Source of chance.

    Returns:
        RGB, uint8 (height, width, 3).
    """
    picture = _cut(_FLOORS[int(rng.integers(len(_FLOORS)))], height, width, rng)
    if rng.random() < 0.6:
        edge = rng.uniform(0.1, 0.85) * ground
        _above(picture, edge, rng.uniform(-0.35, 0.35), _BACKS[int(rng.integers(len(_BACKS)))], rng)
    for thing, chance in ((_stripe, 0.25), (_car, 0.16), (_pole, 0.18), (_sign, 0.14), (_passer, 0.3), (_passer, 0.1)):
        if rng.random() < chance:
            thing(picture, ground, rng)
    return picture


def _above(picture: Picture, edge: float, slope: float, name: str, rng: np.random.Generator) -> None:
    """Another surface above a sloping edge."""
    height, width = picture.shape[:2]
    ends = edge + np.array([-0.5, 0.5]) * slope * width
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.array([[0, 0], [width, 0], [width, ends[1]], [0, ends[0]]]).astype(np.int32)], 255)
    cv2.copyTo(_cut(name, height, width, rng), mask, picture)
    if rng.random() < 0.4:
        tone = float(rng.uniform(60, 220))
        cv2.line(picture, (0, int(ends[0])), (width, int(ends[1])), (tone, tone, tone), int(rng.integers(1, 5)))


def _stripe(picture: Picture, ground: float, rng: np.random.Generator) -> None:
    """A line painted on the road."""
    width = picture.shape[1]
    level = rng.uniform(0.3, 1.05) * ground
    colour = (215, 215, 210) if rng.random() < 0.6 else (205, 180, 70)
    slope = rng.uniform(-0.6, 0.6) * width
    cv2.line(picture, (0, int(level - slope / 2)), (width, int(level + slope / 2)), colour, int(rng.integers(2, 7)))


def _car(picture: Picture, ground: float, rng: np.random.Generator) -> None:
    """Part of a parked car at one side."""
    width = picture.shape[1]
    tall, foot = rng.uniform(0.25, 0.5) * ground, ground * rng.uniform(0.4, 0.85)
    side = 1 if rng.random() < 0.5 else -1
    near = width / 2 + side * width * rng.uniform(0.1, 0.4)
    far = near + side * width * 2
    colour = palette.cloth(_PAINT[int(rng.random() * len(_PAINT))], rng)
    left, right = int(min(near, far)), int(max(near, far))
    cv2.rectangle(picture, (left, int(foot - tall * 0.55)), (right, int(foot)), colour, -1)
    pillar, waist = near + side * tall * 0.5, foot - tall * 0.55
    roof = np.array([[pillar, waist], [pillar + side * tall * 0.35, foot - tall], [far, foot - tall], [far, waist]])
    cv2.fillPoly(picture, [roof.astype(np.int32)], (45, 50, 56))
    cv2.circle(picture, (int(near + side * tall * 0.7), int(foot)), int(tall * 0.22), (25, 25, 27), -1)


def _pole(picture: Picture, ground: float, rng: np.random.Generator) -> None:
    width = picture.shape[1]
    x, tone = int(rng.uniform(0, width)), float(rng.uniform(50, 210))
    foot = int(ground * rng.uniform(0.6, 1.0))
    cv2.line(picture, (x, 0), (x, foot), (tone, tone, tone * 0.97), max(1, int(width * rng.uniform(0.02, 0.07))))


def _sign(picture: Picture, ground: float, rng: np.random.Generator) -> None:
    """A board, box or cone in a bright colour."""
    height, width = picture.shape[:2]
    at = np.array([rng.uniform(0, width), rng.uniform(0.1, 0.9) * ground])
    half = np.array([rng.uniform(0.05, 0.2) * width, rng.uniform(0.03, 0.12) * height])
    _rectangle(picture, at - half, at + half, palette.cloth(palette.any_name(rng), rng))
    if rng.random() < 0.5:
        _rectangle(picture, at - half * 0.7, at + half * 0.1, (235.0, 235.0, 235.0))


def _rectangle(picture: Picture, low: NDArray[np.float64], high: NDArray[np.float64], colour: Colour) -> None:
    cv2.rectangle(picture, low.astype(int).tolist(), high.astype(int).tolist(), colour, -1)


def _passer(picture: Picture, ground: float, rng: np.random.Generator) -> None:
    """Another person: as near as the first and cut by the edge, or small in the distance."""
    height, width = picture.shape[:2]
    sprite, mask = _sprites()[int(rng.random() * _SPRITES)]
    near = rng.random() < 0.7
    tall = int(height * (rng.uniform(0.7, 1.0) if near else rng.uniform(0.2, 0.45)))
    wide = max(2, int(tall * sprite.shape[1] / sprite.shape[0]))
    edge = rng.uniform(-0.6, -0.35) * wide
    left = edge if rng.random() < 0.5 else width - wide - edge
    if not near:
        left = rng.uniform(-0.3 * wide, width - 0.7 * wide)
    foot = ground * (rng.uniform(0.8, 1.02) if near else rng.uniform(0.3, 0.7))
    smaller, cover = (np.asarray(cv2.resize(each, (wide, tall)), np.uint8) for each in (sprite, mask))
    _paste(picture, smaller, cover, int(left), int(foot) - tall)


def _paste(picture: Picture, sprite: Picture, mask: NDArray[np.uint8], left: int, top: int) -> None:
    """Paste a sprite into the image; parts outside are cut off."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + sprite.shape[1], width), min(top + sprite.shape[0], height)
    if x1 < x2 and y1 < y2:
        inner = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        cv2.copyTo(np.ascontiguousarray(sprite[inner]), np.ascontiguousarray(mask[inner]), picture[y1:y2, x1:x2])


_SPRITES = 48
_HIDDEN = 0.08


@lru_cache(maxsize=1)
def _sprites() -> list[tuple[Picture, NDArray[np.uint8]]]:
    """Other people with their masks, drawn once from a fixed seed."""
    sprites = []
    for number in range(_SPRITES):
        rng = np.random.default_rng((77, number))
        truth = sample_attributes(rng) | {"vehicle": "none", "umbrella": "none", "action": "walking"}
        figure = draw_figure(truth, 160, rng)
        sprites.append((figure.picture, figure.mask))
    return sprites


def draw_foreground(picture: Picture, rng: np.random.Generator) -> None:
    """Hide a strip of the person in one of twelve images: a low object in front of the feet, or a post at one side.

    Args:
        picture: RGB, changed in place.
        rng: Source of chance.
    """
    if rng.random() > _HIDDEN:
        return
    height, width = picture.shape[:2]
    share = rng.uniform(0.04, 0.13)
    side = rng.uniform(-0.1, 0.22) if rng.random() < 0.5 else rng.uniform(0.78, 1.1)
    low, high = (side - share, 0.0), (side + share, 1.0)
    if rng.random() < 0.5:
        low, high = (0.0, 1 - share), (1.0, 1.0)
    size, tone = np.array([width, height]), rng.uniform(30, 190)
    _rectangle(picture, np.array(low) * size, np.array(high) * size, (tone, tone * 0.98, tone * rng.uniform(0.8, 1.0)))


def draw_shadow(picture: Picture, mask: NDArray[np.uint8], ground: float, rng: np.random.Generator) -> None:
    """Darken the ground where the person's shadow falls: along the light, or only around the feet.

    Args:
        picture: RGB, changed in place.
        mask: The person, uint8 0 or 255, as large as the picture.
        ground: Row on which the person stands, pixels.
        rng: Source of chance.
    """
    height, width = mask.shape
    lean, flat = rng.uniform(-1.6, 1.6), rng.uniform(-0.55, 0.3) if rng.random() < 0.6 else 0.06
    # A point at height t above the ground falls on the ground at (lean * t, -flat * t).
    warp = np.array([[1, -lean, lean * ground], [0, flat, ground * (1 - flat)]])
    shadow = cv2.warpAffine(mask, warp, (width, height), flags=cv2.INTER_NEAREST)
    shadow = cv2.blur(shadow, (5, 5))
    strength = rng.uniform(0.15, 0.55)
    factor = cv2.convertScaleAbs(shadow, alpha=-strength * 128 / 255, beta=128)
    picture[:] = cv2.multiply(picture, cv2.merge([factor] * 3), scale=1 / 128)
