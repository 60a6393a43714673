"""Textures that are built once and cut from: cloth patterns, folds, ground, walls and noise.

Each is made from a seed of its own, so that a picture does not depend on which pictures were made before it.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 512

Gray = NDArray[np.uint8]
Picture = NDArray[np.uint8]


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng((20260, *key))


def _cloud(rng: np.random.Generator, cells: tuple[int, int], size: int = SIZE) -> NDArray[np.float32]:
    """Smooth noise with zero mean and unit deviation, with the given numbers of cells down and across."""
    coarse = rng.standard_normal(cells).astype(np.float32)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), np.float32)


@lru_cache(maxsize=1)
def folds() -> Gray:
    """Folds of cloth: a factor on brightness, 128 = 1, uint8 (SIZE, SIZE)."""
    rng = _rng(1)
    steep = _cloud(rng, (18, 44)) * 10 + _cloud(rng, (30, 26)) * 9 + _cloud(rng, (70, 90)) * 5
    return np.asarray(np.clip(128 + steep, 70, 180), np.uint8)


@lru_cache(maxsize=1)
def grain() -> NDArray[np.int16]:
    """Sensor noise of unit deviation times 64, int16 (SIZE, SIZE, 3)."""
    rng = _rng(2)
    luma = rng.standard_normal((SIZE, SIZE, 1)) * 0.85
    return np.asarray((luma + rng.standard_normal((SIZE, SIZE, 3)) * 0.5) * 64, np.int16)


_GRID = np.arange(SIZE, dtype=np.float32)
PATTERN_COUNT = 6


@lru_cache(maxsize=32)
def pattern(kind: str, variant: int) -> Gray:
    """A pattern of cloth as the share of the second colour, 0 to 255, uint8 (SIZE, SIZE); its period is 32 pixels.

    The second colour covers a quarter at most: a garment is called by the colour of which there is most.

    Args:
        kind: striped, plaid or patterned.
        variant: 0 to ``PATTERN_COUNT`` - 1.
    """
    if kind == "patterned":
        return _print(_rng(3, variant), variant)
    return {"striped": _stripes, "plaid": _plaid}[kind](variant)


def _bars(duty: float, offset: float = 0.0) -> NDArray[np.float32]:
    return np.asarray((_GRID / 32 + offset) % 1 < duty, np.float32)


def _stripes(variant: int) -> Gray:
    line = _bars((0.15, 0.24, 0.22, 0.12, 0.2, 0.18)[variant])
    return np.repeat((line * 255).astype(np.uint8)[:, None], SIZE, axis=1)


def _plaid(variant: int) -> Gray:
    duty = (0.16, 0.12, 0.2, 0.1, 0.14, 0.18)[variant]
    one = _bars(duty)
    share = (one[:, None] + one[None]) * 0.5
    fine = _bars(0.08, 0.45)
    return (np.clip(share * 0.8 + np.maximum(fine[:, None], fine[None]) * 0.35, 0, 1) * 255).astype(np.uint8)


def _print(rng: np.random.Generator, variant: int) -> Gray:
    """Dots, flowers, camouflage."""
    if variant % 3 == 0:
        return np.where(_cloud(rng, (30, 30)) > 0.75, 255, 0).astype(np.uint8)
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    for row in range(0, SIZE + 32, 32):
        for column in range(0, SIZE + 32, 32):
            shift = 16 if (row // 32) % 2 else 0
            _motif(canvas, (column + shift, row), variant % 3, rng)
    return canvas


def _motif(canvas: Gray, at: tuple[int, int], kind: int, rng: np.random.Generator) -> None:
    if kind == 1:
        cv2.circle(canvas, at, 7, 255, -1)
        return
    x, y = at[0] + int(rng.integers(-6, 7)), at[1] + int(rng.integers(-6, 7))
    for angle in np.arange(5) * 2 * np.pi / 5 + rng.random():
        cv2.circle(canvas, (int(x + 7 * np.cos(angle)), int(y + 7 * np.sin(angle))), 4, 230, -1)
    cv2.circle(canvas, (x, y), 3, 90, -1)


GROUNDS = ("tarmac", "grass", "paving", "concrete", "earth", "brick", "wall", "foliage", "shop")


@lru_cache(maxsize=2 * len(GROUNDS))
def surface(name: str, *, coarse: bool) -> Picture:
    """A surface of the street, RGB uint8 (SIZE, SIZE, 3), in colours close to the real ones.

    Args:
        name: One of ``GROUNDS``.
        coarse: As seen from near: twice as large.
    """
    if coarse:
        return np.asarray(cv2.resize(surface(name, coarse=False)[: SIZE // 2, : SIZE // 2], (SIZE, SIZE)), np.uint8)
    return _SURFACES[name](_rng(4, GROUNDS.index(name)))


def _rough(rng: np.random.Generator, colour: tuple[int, int, int], strength: float, cells: int) -> Picture:
    """A surface without seams: slow and fast variation of brightness, a slow one of tint."""
    height = _cloud(rng, (6, 6)) * 0.63 + _cloud(rng, (cells, cells)) * 0.63
    height += rng.standard_normal((SIZE, SIZE)).astype(np.float32) * 0.45
    tint = _cloud(rng, (9, 9))[..., None] * np.array([0.35, 0.0, -0.3], np.float32)
    picture = np.array(colour, np.float32) + (height[..., None] + tint) * strength
    return np.clip(picture, 0, 255).astype(np.uint8)


def _tiled(rng: np.random.Generator, colour: tuple[int, int, int], tile: tuple[int, int], strength: float) -> Picture:
    """Tiles or bricks with joints."""
    picture = _rough(rng, colour, strength * 0.5, 90).astype(np.float32)
    for row, top in enumerate(range(0, SIZE, tile[0])):
        for left in range(-(row % 2) * tile[1] // 2, SIZE, tile[1]):
            first, last = max(left, 0), left + tile[1]
            picture[top : top + tile[0], first:last] += np.float32(rng.normal(0, strength))
            picture[top : top + tile[0], first : first + 2] *= 0.8
        picture[top : top + 2] *= 0.8
    return np.clip(picture, 0, 255).astype(np.uint8)


def _windows(rng: np.random.Generator) -> Picture:
    """A facade: panes with frames, signs and dark insides."""
    picture = _rough(rng, (150, 140, 130), 8, 20)
    for top in range(0, SIZE, 128):
        for left in range(0, SIZE, 92):
            pane = rng.integers(25, 150, 3) * np.array([0.9, 1.0, 1.1])
            cv2.rectangle(picture, (left + 8, top + 10), (left + 84, top + 118), pane.tolist(), -1)
            cv2.line(picture, (left + 46, top + 10), (left + 46, top + 118), (90, 80, 75), 3)
            if rng.random() < 0.5:
                cv2.rectangle(picture, (left, top), (left + 90, top + 14), rng.integers(30, 250, 3).tolist(), -1)
    return picture


_SURFACES: Mapping[str, Callable[[np.random.Generator], Picture]] = {
    "tarmac": partial(_rough, colour=(132, 132, 136), strength=9, cells=60),
    "grass": partial(_rough, colour=(74, 94, 40), strength=13, cells=130),
    "paving": partial(_tiled, colour=(165, 158, 148), tile=(64, 64), strength=10),
    "concrete": partial(_rough, colour=(176, 174, 168), strength=7, cells=24),
    "earth": partial(_rough, colour=(150, 122, 88), strength=16, cells=110),
    "brick": partial(_tiled, colour=(150, 94, 68), tile=(14, 36), strength=16),
    "wall": partial(_rough, colour=(196, 190, 178), strength=5, cells=14),
    "foliage": partial(_rough, colour=(62, 78, 44), strength=30, cells=70),
    "shop": _windows,
}
