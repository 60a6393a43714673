"""Details of the trunk that distinguish garments: necklines, buttons, zips, lapels, belts, quilting, ribs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from evaluation.render import palette
from evaluation.render.body import Pose
from evaluation.render.geometry import LEFT, RIGHT, Point, between, moved
from evaluation.render.palette import Colour, edged, scaled
from evaluation.render.sketch import Sketch

_UPPER = "upper"
_SILVER = (190.0, 190.0, 190.0)

Corners = list[tuple[float, float]]
"""Positions on the chest: along the torso (1 shoulders, 0 hips, -1 hem) and across it (-1 to 1)."""


@dataclass(frozen=True)
class Front:
    """The properties of an upper-body garment that its details need.

    Args:
        sketch: Where to draw.
        pose: The body.
        thick: Factor on the width of the torso.
        hem: Share of the leg that is covered.
        open: Whether it is worn open.
        colour: Colour of the garment.
        skin: Colour of the skin.
        rng: Source of chance.
    """

    sketch: Sketch
    pose: Pose
    thick: float
    hem: float
    open: bool
    colour: Colour
    skin: Colour
    rng: np.random.Generator

    @property
    def seen(self) -> bool:
        """Whether the chest faces the camera."""
        return self.sketch.view.facing > 0.12

    def on(self, along: float, side: float) -> Point:
        """A point on the chest."""
        build = self.pose.build
        across = side * build.shoulder * 0.9 * self.thick
        front = build.depth * self.thick * sqrt(max(0.0, 1 - side * side))
        if along >= 0:
            return self.pose.torso(along, across, front)
        hem = between(self.pose.leg(LEFT, self.hem), self.pose.leg(RIGHT, self.hem), 0.5)
        return moved(between(self.pose.pelvis, hem, -along), across, 0.0, front)

    def patch(self, colour: Colour, corners: Corners, rank: int = 1) -> None:
        """An area on the chest."""
        self.sketch.polygon(self.sketch.ink(colour), [self.on(*corner) for corner in corners], 0.002 * rank)

    def seam(self, colour: Colour, corners: Corners, width: float, rank: int = 2) -> None:
        """A line on the chest."""
        self.sketch.line(self.sketch.ink(colour), [self.on(*corner) for corner in corners], width, 0.002 * rank)

    def inside(self) -> None:
        """The strip of another colour that shows when the garment is open."""
        top, bottom = self.rng.uniform(0.12, 0.25), self.rng.uniform(0.12, 0.34)
        low = -0.25 if self.hem < 0.3 else self.rng.uniform(0.0, 0.3)
        inner = palette.contrasting(self.colour, self.rng, 50)
        self.patch(inner, [(1.06, -0.22), (0.9, -top), (low, -bottom), (low, bottom), (0.9, top), (1.06, 0.22)])

    def collar(self, colour: Colour, height: float) -> None:
        """A collar that stands around the neck."""
        size = 0.052 * self.thick
        rings = [(self.pose.torso(height), size, size), (self.pose.torso(1.02), size * 1.45, size * 1.2)]
        self.sketch.stack(self.sketch.ink(colour, _UPPER), rings, 0.0015)

    def belt(self, colour: Colour) -> None:
        """A belt around the waist."""
        build = self.pose.build
        wide, deep = (build.shoulder + build.hip) * 0.44 * self.thick, build.depth * self.thick
        rings = [(self.pose.torso(share), wide, deep) for share in (0.3, 0.22)]
        self.sketch.stack(self.sketch.ink(colour), rings, 0.003)


def _neckline(front: Front) -> None:
    if front.seen:
        low = front.rng.uniform(0.84, 0.98)
        front.patch(front.skin, [(1.09, -0.3), (1.0, -0.22), (low, 0.0), (1.0, 0.22), (1.09, 0.3)])


def _bodice(front: Front) -> None:
    """The top of a dress; half of them have a belt."""
    _neckline(front)
    if front.rng.random() < 0.5:
        colour = edged(front.colour) if front.rng.random() < 0.6 else palette.contrasting(front.colour, front.rng)
        front.belt(colour)


def _buttons(front: Front) -> None:
    front.collar(scaled(front.colour, 1.08), 1.12)
    if front.seen and front.open:
        front.inside()
    elif front.seen:
        front.patch(front.skin, [(1.12, -0.16), (0.92, 0.0), (1.12, 0.16)], 2)
        front.seam(edged(front.colour, 0.75), [(0.92, 0.0), (-1.0, 0.0)], 0.008)
        for side in (-1, 1):
            front.patch(edged(front.colour, 0.82), [(1.1, side * 0.2), (0.96, side * 0.34), (0.92, side * 0.06)])


def _straps(front: Front) -> None:
    """Bare shoulders between two straps, seen from both sides."""
    build = front.pose.build
    deep = build.depth * (0.9 if front.seen else -0.9)
    low = front.rng.uniform(0.78, 0.88)
    corners = [(1.1, -0.34), (0.97, -0.36), (low, -0.2), (low, 0.2), (0.97, 0.36), (1.1, 0.34)]
    points = [front.pose.torso(along, side * build.shoulder, deep) for along, side in corners]
    front.sketch.polygon(front.sketch.ink(front.skin), points, 0.002)


def _zip(front: Front) -> None:
    front.collar(scaled(front.colour, front.rng.uniform(0.85, 1.05)), front.rng.uniform(1.08, 1.25))
    dark = edged(front.colour)
    if front.seen and front.open:
        front.inside()
    elif front.seen:
        front.seam(dark if front.rng.random() < 0.7 else _SILVER, [(1.1, 0.0), (-1.0, 0.0)], 0.009)
        for side in (-1, 1):
            front.seam(dark, [(0.12, side * 0.7), (0.22, side * 0.45)], 0.008)
    if front.rng.random() < 0.5:
        _waistband(front)


def _waistband(front: Front) -> None:
    """The elastic hem of a jacket or sweater."""
    build = front.pose.build
    wide, deep = build.hip * 1.03 * front.thick, build.depth * 1.1 * front.thick
    ink = front.sketch.ink(edged(front.colour, 0.78), _UPPER)
    front.sketch.stack(ink, [(front.pose.torso(share), wide, deep) for share in (0.02, -0.1)], 0.002)


def _lapels(front: Front) -> None:
    """Lapels in a deep V over a shirt, often with a tie."""
    if not front.seen:
        return
    shirt = palette.cloth(("white", "white", "blue", "gray", "pink")[int(front.rng.random() * 5)], front.rng)
    if palette.distance(shirt, front.colour) < 70:
        shirt = palette.contrasting(front.colour, front.rng)
    low = front.rng.uniform(0.36, 0.55)
    lapel = [(1.1, -0.42), (0.8, -0.46), (low, 0.0), (0.8, 0.46), (1.1, 0.42)]
    front.patch(edged(front.colour, 0.72), lapel)
    front.patch(shirt, [(1.1, -0.3), (0.85, -0.26), (low + 0.04, 0.0), (0.85, 0.26), (1.1, 0.3)], 2)
    if front.rng.random() < 0.65:
        tie = [(1.06, -0.07), (low + 0.08, -0.07), (low + 0.08, 0.07), (1.06, 0.07)]
        front.patch(palette.contrasting(shirt, front.rng), tie, 3)
    front.seam(edged(front.colour), [(low, 0.0), (-1.0, 0.08)], 0.008)


def _coat(front: Front) -> None:
    front.collar(scaled(front.colour, 0.9), 1.1)
    if front.seen and front.open:
        front.inside()
    elif front.seen:
        lapel = [(1.08, -0.4), (0.84, -0.36), (0.62, 0.02), (0.84, 0.36), (1.08, 0.4)]
        front.patch(edged(front.colour, 0.74), lapel)
        scarf = front.skin if front.rng.random() < 0.5 else palette.contrasting(front.colour, front.rng, 40)
        front.patch(scarf, [(1.08, -0.22), (0.8, 0.0), (1.08, 0.22)], 2)
        front.seam(edged(front.colour), [(0.62, 0.02), (-1.0, 0.02)], 0.009)


def _trench(front: Front) -> None:
    """A trench coat: belt, storm flap, two rows of buttons."""
    front.collar(scaled(front.colour, 1.05), 1.14)
    front.belt(edged(front.colour, 0.55))
    if not front.seen:
        build = front.pose.build
        flap = [front.pose.torso(0.7, side * build.shoulder, -build.depth) for side in (-0.9, 0.9)]
        front.sketch.line(front.sketch.ink(edged(front.colour, 0.7)), flap, 0.012, 0.003)
        return
    front.patch(edged(front.colour, 0.8), [(1.08, -0.5), (0.8, -0.55), (0.6, 0.1), (0.8, 0.5), (1.08, 0.5)])
    front.patch(front.skin, [(1.08, -0.2), (0.8, 0.05), (1.08, 0.2)], 2)
    front.seam(edged(front.colour), [(0.6, 0.12), (-1.0, 0.14)], 0.008)
    for along in (0.55, 0.38, -0.1, -0.3):
        for side in (-0.22, 0.34):
            front.seam(edged(front.colour, 0.4), [(along, side), (along - 0.02, side)], 0.014)


def _quilt(front: Front) -> None:
    """A down coat: seams around trunk and sleeves, a hood or a high collar."""
    pose, build, thick = front.pose, front.pose.build, front.thick
    front.collar(scaled(front.colour, 0.92), front.rng.uniform(1.12, 1.3))
    seam = edged(front.colour, 0.66)
    dark = front.sketch.ink(seam)
    step = front.rng.uniform(0.13, 0.2)
    wide, deep = build.shoulder * 0.9 * thick, build.depth * thick
    for count in range(int(0.9 / step)):
        along = 0.9 - step * count
        rings = [(pose.torso(along + 0.014), wide, deep), (pose.torso(along - 0.014), wide, deep)]
        front.sketch.stack(dark, rings, 0.0018)
    _armbands(front, seam, (0.2, 0.38, 0.56, 0.74), 0.012)
    if front.seen:
        front.seam(edged(front.colour, 0.5), [(1.1, 0.0), (-1.0, 0.0)], 0.01, 3)
        if front.open:
            front.inside()


def _armbands(front: Front, colour: Colour, shares: tuple[float, ...], half: float) -> None:
    """Bands around both sleeves at shares of the arm."""
    size = 0.034 * front.pose.build.limb * front.thick
    for side in (LEFT, RIGHT):
        depth = sum(front.sketch.view.depth(joint) for joint in front.pose.arms[side]) / 3 + 0.0625
        ink = front.sketch.ink(colour, _UPPER)
        for share in shares:
            points = (front.pose.arm(side, share - half), front.pose.arm(side, share + half))
            front.sketch.tube(ink, points, (size, size * 0.96), depth)


def _rib(front: Front) -> None:
    """A sweater: ribbed hem, cuffs and collar."""
    front.collar(scaled(front.colour, 0.85), front.rng.uniform(1.04, 1.2))
    _waistband(front)
    _armbands(front, edged(front.colour, 0.8), (0.9,), 0.03)
    if front.seen and front.rng.random() < 0.4:
        front.patch(front.skin, [(1.09, -0.2), (0.94, 0.0), (1.09, 0.2)], 2)


FRONTS: Mapping[str, Callable[[Front], None]] = {
    "neckline": _neckline,
    "bodice": _bodice,
    "buttons": _buttons,
    "straps": _straps,
    "zip": _zip,
    "lapels": _lapels,
    "coat": _coat,
    "trench": _trench,
    "quilt": _quilt,
    "rib": _rib,
}
