"""Garments of the upper body on a pose: their cut, the trunk, the sleeves and the part below the hips."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.render import palette
from evaluation.render.body import Pose
from evaluation.render.fronts import FRONTS, Front
from evaluation.render.geometry import LEFT, RIGHT, between
from evaluation.render.palette import Colour, scaled
from evaluation.render.sketch import Sketch

UPPER = "upper"


@dataclass(frozen=True)
class Cut:
    """The shape of a garment for the upper body.

    Args:
        sleeve: Range of the share of the arm that is covered.
        hem: Range of the share of the leg that is covered.
        thick: Factor on the width of torso and arms.
        flare: Factor on the width at the hem.
        front: What is seen on the breast.
        opens: Chance that it is worn open over something else.
    """

    sleeve: tuple[float, float]
    hem: tuple[float, float]
    thick: float
    flare: float
    front: str
    opens: float = 0.0


CUTS: Mapping[str, Cut] = {
    "t-shirt": Cut((0.28, 0.46), (0.05, 0.13), 1.02, 1.0, "neckline"),
    "shirt": Cut((0.5, 0.96), (0.04, 0.16), 1.04, 1.02, "buttons", 0.12),
    "long sleeve": Cut((0.9, 0.98), (0.04, 0.12), 1.0, 1.0, "neckline"),
    "sleeveless top": Cut((0.0, 0.0), (0.02, 0.1), 0.97, 0.98, "straps"),
    "jacket": Cut((0.92, 0.99), (0.03, 0.15), 1.12, 1.02, "zip", 0.4),
    "suit": Cut((0.92, 0.96), (0.16, 0.24), 1.08, 1.02, "lapels"),
    "coat": Cut((0.93, 0.99), (0.36, 0.62), 1.14, 1.15, "coat", 0.2),
    "wind coat": Cut((0.93, 0.98), (0.42, 0.68), 1.12, 1.35, "trench", 0.12),
    "down coat": Cut((0.93, 1.0), (0.08, 0.45), 1.3, 1.06, "quilt", 0.12),
    "sweater": Cut((0.92, 0.98), (0.05, 0.12), 1.1, 1.0, "rib"),
    "dress": Cut((0.0, 0.9), (0.42, 0.85), 0.98, 1.5, "bodice"),
}

_FOLDED = 0.25
"""A hem below this share of the leg follows the thighs of a seated person."""

_SHORT_COAT = 0.26
"""Garments over shorts or a short skirt reach no further down, or they would hide them."""


def draw_upper(
    sketch: Sketch, pose: Pose, truth: Mapping[str, str], colour: Colour, skin: Colour, rng: np.random.Generator
) -> None:
    """Draw the garment of the upper body with arms and hands.

    Args:
        sketch: Where to draw.
        pose: The body.
        truth: Attributes; ``upper`` and ``gloves`` are shown here.
        colour: Colour of the garment.
        skin: Colour of the skin.
        rng: Source of chance.
    """
    name = truth["upper"]
    cut = CUTS[name]
    sleeve, hem = rng.uniform(*cut.sleeve), rng.uniform(*cut.hem)
    if truth.get("lower") in ("shorts", "skirt"):
        hem = min(hem, _SHORT_COAT)
    if name == "dress" and rng.random() < 0.35:
        sleeve = 0.0
    slim = name in ("dress", "wind coat") or truth["gender"] == "woman"
    _trunk(sketch, pose, cut, colour, rng.uniform(0.78, 0.9) if slim else rng.uniform(0.9, 1.0), bare=sleeve == 0)
    _skirts(sketch, pose, cut, colour, hem)
    glove = None
    if truth["gloves"] != "none":
        glove = _glove(skin, rng)
    _arms(sketch, pose, cut, sleeve, (colour, skin, glove))
    FRONTS[cut.front](Front(sketch, pose, cut.thick, hem, rng.random() < cut.opens, colour, skin, rng))


def _glove(skin: Colour, rng: np.random.Generator) -> Colour:
    """A glove colour that differs clearly from the hand's."""
    for _ in range(6):
        colour = palette.cloth(("black", "black", "brown", "red", "white", "gray")[int(rng.random() * 6)], rng)
        if palette.distance(colour, skin) > 70:
            return colour
    return (25.0, 25.0, 28.0)


def _trunk(sketch: Sketch, pose: Pose, cut: Cut, colour: Colour, waist: float, *, bare: bool) -> None:
    """The trunk from the neck to the hips."""
    build, thick = pose.build, cut.thick
    yoke = build.shoulder * (0.8 if bare else 1.0)
    middle = (build.shoulder + build.hip) * 0.46 * waist
    belly = build.depth * (0.94 if waist < 0.9 else 1.05)
    profile = (
        (1.1, 0.042, 0.042),
        (1.04, 0.038 + 0.3 * yoke, build.depth * 0.6),
        (0.98, yoke * 0.93, build.depth * 0.85),
        (0.86, build.shoulder * (0.88 if bare else 0.95), build.depth),
        (0.65, build.shoulder * 0.87, build.depth * 1.06),
        (0.32, middle, belly),
        (0.05, build.hip * 1.04, build.depth * 1.1),
        (-0.1, build.hip * 1.02, build.depth * 1.1),
    )
    rings = [(pose.torso(along), side * thick, front * thick) for along, side, front in profile]
    sketch.stack(sketch.ink(colour, UPPER), rings, 0.0)


def _skirts(sketch: Sketch, pose: Pose, cut: Cut, colour: Colour, hem: float) -> None:
    """The part below the hips: the hem of a shirt, the skirt of a coat or dress."""
    wide, deep = pose.build.hip * 0.44 * cut.thick, pose.build.depth * cut.thick
    flare = 1 + (cut.flare - 1) * min(1.0, hem * 2)
    rings = [(leg[0], wide, deep * 1.05) for leg in pose.legs]
    rings += [(pose.leg(side, hem), wide * flare * 1.06, deep * flare) for side in (LEFT, RIGHT)]
    ink = sketch.ink(colour, UPPER)
    sketch.hull(ink, rings, -0.001)
    if hem > _FOLDED and not pose.upright:
        for side in (LEFT, RIGHT):
            points = [pose.leg(side, share) for share in (0.0, min(hem, 0.5), hem)]
            sketch.tube(ink, points, [wide * 1.25] * 3, 0.001)


def _arms(sketch: Sketch, pose: Pose, cut: Cut, sleeve: float, paint: tuple[Colour, Colour, Colour | None]) -> None:
    """Both arms: skin, the sleeve down to where it ends, hands in skin or gloves."""
    colour, skin, glove = paint
    limb, wide = pose.build.limb, pose.build.limb * cut.thick
    for side in (LEFT, RIGHT):
        joints = pose.arms[side]
        depth = arm_depth(sketch, pose, side)
        tone = 1.0 if depth > 0.03 else 0.86
        sketch.tube(sketch.ink(scaled(skin, tone)), joints, (0.034 * limb, 0.026 * limb, 0.019 * limb), depth)
        start = joints[2] if glove is None else pose.arm(side, 0.88)
        size = 0.022 if glove is None else 0.03
        tip = between(joints[1], joints[2], 1.2)
        sketch.tube(sketch.ink(scaled(glove or skin, tone)), (start, tip), (size, size * 0.9), depth + 0.003)
        if sleeve > 0:
            radii = (0.042 * wide, 0.036 * wide, 0.03 * wide) if sleeve >= 0.6 else (0.042 * wide,) * 3
            points = [pose.arm(side, share) for share in (0.0, min(sleeve, 0.5), sleeve)]
            sketch.tube(sketch.ink(scaled(colour, tone), UPPER), points, radii, depth + 0.002)


def arm_depth(sketch: Sketch, pose: Pose, side: int) -> float:
    """Depth of an arm: in front of the trunk unless it is clearly on the far side."""
    return sum(sketch.view.depth(joint) for joint in pose.arms[side]) / 3 + 0.06
