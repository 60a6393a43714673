"""Legs with trousers, shorts or skirts, and shoes."""

from collections.abc import Mapping

import numpy as np

from evaluation.render import palette
from evaluation.render.body import Pose
from evaluation.render.geometry import LEFT, RIGHT, moved
from evaluation.render.palette import Colour, scaled
from evaluation.render.sketch import Sketch

LOWER = "lower"

_BARE = (0.056, 0.043, 0.028)
_STOCKINGS = ("black", "black", "gray", "brown")


def draw_lower(
    sketch: Sketch, pose: Pose, truth: Mapping[str, str], colour: Colour, skin: Colour, rng: np.random.Generator
) -> None:
    """Draw legs, the garment of the lower body and shoes.

    Args:
        sketch: Where to draw.
        pose: The body.
        truth: Attributes; ``lower`` is shown here, or the legs under a dress.
        colour: Colour of the garment; of no use under a dress.
        skin: Colour of the skin.
        rng: Source of chance.
    """
    name = truth.get("lower")
    base = -0.3 if pose.upright else -0.03
    stocking = skin
    if name not in ("long pants", "shorts") and rng.random() < 0.35:
        stocking = palette.cloth(_STOCKINGS[int(rng.random() * 4)], rng)
    shoe, boot = palette.shoes(rng), rng.random() < 0.15
    cut = _cut(name, rng)
    depths = [sum(sketch.view.depth(joint) for joint in leg) / 3 for leg in pose.legs]
    for side in (LEFT, RIGHT):
        tone, depth = 1.0 if depths[side] >= max(depths) else 0.8, base + depths[side]
        _foot(sketch, pose, side, (scaled(shoe, tone), depth, boot))
        _leg(sketch, pose, side, (sketch.ink(scaled(stocking, tone)), _BARE, 1.0, depth))
        if cut is not None:
            _leg(sketch, pose, side, (sketch.ink(scaled(colour, tone), LOWER), *cut, depth + 0.001))
    if name is not None:
        _seat(sketch, pose, colour, base)
    if name in ("skirt", "long skirt"):
        hem = rng.uniform(0.82, 0.96) if name == "long skirt" else rng.uniform(0.4, 0.54)
        _skirt(sketch, pose, colour, base, hem, rng)


def _cut(name: str | None, rng: np.random.Generator) -> tuple[tuple[float, float, float], float] | None:
    """Radii and covered share of trousers and shorts; empty for other garments."""
    if name == "long pants":
        wide = (0.86, 1.0, 1.0, 1.28)[int(rng.random() * 4)]
        return (0.063, 0.047 * wide, 0.038 * wide), 1.0
    if name == "shorts":
        return (0.068, 0.062, 0.062), rng.uniform(0.4, 0.52)
    return None


def _seat(sketch: Sketch, pose: Pose, colour: Colour, base: float) -> None:
    """The lower garment around the hips."""
    build = pose.build
    rings = [
        (pose.torso(0.1), build.hip * 0.97, build.depth),
        (pose.torso(0.0), build.hip * 1.02, build.depth * 1.1),
        (moved(pose.pelvis, y=-0.035), build.hip * 0.95, build.depth * 1.05),
    ]
    sketch.stack(sketch.ink(colour, LOWER), rings, base + 0.12)


def _leg(sketch: Sketch, pose: Pose, side: int, how: tuple[int, tuple[float, float, float], float, float]) -> None:
    """One leg from the hip down to a share of its length: (ink, radii, share, depth)."""
    ink, radii, share, depth = how
    points = [pose.leg(side, place) for place in (0.02, min(0.5, share * 0.98), share)]
    sketch.tube(ink, points, [radius * pose.build.limb for radius in radii], depth)


def _foot(sketch: Sketch, pose: Pose, side: int, how: tuple[Colour, float, bool]) -> None:
    """One shoe or boot: (colour, depth, boot)."""
    colour, depth, boot = how
    ink, heel = sketch.ink(colour), moved(pose.legs[side][2], y=-0.022, z=-0.012)
    sketch.tube(ink, (heel, pose.toes[side]), (0.026, 0.02), depth + (0.002 if boot else 0.0005))
    if boot:
        sketch.tube(ink, (pose.leg(side, 0.78), heel), (0.036, 0.03), depth + 0.002)


def _skirt(sketch: Sketch, pose: Pose, colour: Colour, base: float, hem: float, rng: np.random.Generator) -> None:
    """A skirt around both legs, down to a share of their length."""
    build = pose.build
    flare = rng.uniform(1.0, 1.5) * (1.15 if hem > 0.6 else 1.0)
    wide, deep = build.hip * 0.46, build.depth * 1.08
    rings = [(pose.torso(0.12), build.hip * 0.9, build.depth)]
    rings += [(leg[0], wide, deep) for leg in pose.legs]
    rings += [(pose.leg(side, hem), wide * flare, deep * flare) for side in (LEFT, RIGHT)]
    ink = sketch.ink(colour, LOWER)
    sketch.hull(ink, rings, base + 0.25)
    if not pose.upright:
        for side in (LEFT, RIGHT):
            points = [pose.leg(side, share) for share in (0.0, min(0.5, hem), hem)]
            sketch.tube(ink, points, [wide * 1.2] * 3, base + 0.25)
