"""Bicycles, motorcycles and tricycles, ridden or pushed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from evaluation.render import palette
from evaluation.render.body import Pose
from evaluation.render.geometry import Point, between, moved
from evaluation.render.palette import Colour, scaled
from evaluation.render.sketch import Sketch

_TYRE = (26.0, 26.0, 28.0)
_METAL = (165.0, 168.0, 172.0)
_ENGINE = (40.0, 40.0, 44.0)
_LAMP = (245.0, 245.0, 220.0)


@dataclass(frozen=True)
class _Ride:
    """Inputs of the drawing of a vehicle; ``depth`` is behind a rider's legs, or in front of a person who pushes it."""

    sketch: Sketch
    saddle: Point
    depth: float
    colour: Colour

    def at(self, height: float, ahead: float) -> Point:
        """A point of the vehicle's middle plane: height above the ground, distance ahead of the saddle."""
        return self.saddle[0], height, self.saddle[2] + ahead

    def bars(self, ink: int, width: float, pairs: tuple[tuple[Point, Point], ...]) -> None:
        """Tubes of a frame."""
        for ends in pairs:
            self.sketch.line(ink, ends, width, self.depth + 0.001)

    def wheel(self, centre: Point, radius: float, width: float, nearer: float = 0.0) -> None:
        """A wheel in the plane of travel with spokes."""
        ring = [moved(centre, 0.0, cos(k * pi / 8) * radius, sin(k * pi / 8) * radius) for k in range(16)]
        self.sketch.line(self.sketch.ink(_TYRE), ring, width, self.depth + nearer, closed=True)
        spokes = self.sketch.ink(scaled(_METAL, 0.8))
        for first in (0, 2, 4, 6):
            self.sketch.line(spokes, [ring[first], ring[first + 8]], 0.006, self.depth + nearer - 0.0005)

    def handlebar(self, middle: Point) -> None:
        """A bar across the direction of travel."""
        ends = [moved(middle, -0.14, 0, -0.02), middle, moved(middle, 0.14, 0, -0.02)]
        near = self.depth + 0.002 if self.sketch.view.facing < 0 else max(self.depth, 0.09)
        self.sketch.line(self.sketch.ink(_TYRE), ends, 0.018, near)

    def seat(self, behind: float, ahead: float, size: float) -> None:
        """The saddle."""
        ends = (moved(self.saddle, z=-behind), moved(self.saddle, z=ahead))
        self.sketch.tube(self.sketch.ink(_TYRE), ends, (size, size * 0.6), self.depth + 0.003)


def draw_vehicle(sketch: Sketch, pose: Pose, truth: Mapping[str, str], rng: np.random.Generator) -> None:
    """Draw the vehicle that the truth names.

    Args:
        sketch: Where to draw.
        pose: The body.
        truth: Attributes; who does not sit pushes.
        rng: Source of chance.
    """
    if truth["vehicle"] == "none":
        return
    riding = truth["action"] == "sitting"
    saddle = moved(pose.pelvis, y=-0.03) if riding else (pose.build.shoulder + 0.16, 0.44, 0.05)
    depth = sketch.view.depth(saddle) - (0.31 if riding else -0.02)
    ride = _Ride(sketch, saddle, depth, palette.cloth(palette.any_name(rng), rng))
    _VEHICLES[truth["vehicle"]](ride)


def _bicycle(ride: _Ride) -> None:
    radius = 0.2
    rear, fore = ride.at(radius, -0.24), ride.at(radius, 0.4)
    crank, bar = ride.at(radius - 0.02, 0.05), ride.at(ride.saddle[1] + 0.08, 0.3)
    for centre in (rear, fore):
        ride.wheel(centre, radius, 0.022)
    saddle = ride.saddle
    frame = ((rear, crank), (crank, saddle), (saddle, rear), (crank, bar), (saddle, bar), (bar, fore))
    ride.bars(ride.sketch.ink(ride.colour), 0.02, frame)
    ride.handlebar(bar)
    ride.seat(0.06, 0.05, 0.028)


def _motorcycle(ride: _Ride) -> None:
    sketch, depth, radius = ride.sketch, ride.depth, 0.15
    rear, fore = ride.at(radius, -0.26), ride.at(radius, 0.42)
    bar, floor = ride.at(ride.saddle[1] + 0.12, 0.3), ride.at(0.17, 0.08)
    for centre in (rear, fore):
        ride.wheel(centre, radius, 0.055)
    body = sketch.ink(ride.colour)
    tail = (moved(ride.saddle, y=-0.05, z=-0.2), moved(ride.saddle, y=-0.04, z=-0.04), moved(rear, y=0.1))
    sketch.hull(body, [(point, 0.06, 0.05) for point in tail], depth + 0.001)
    sketch.tube(sketch.ink(_ENGINE), (moved(rear, y=0.03, z=0.05), moved(floor, z=0.12)), (0.06, 0.05), depth + 0.0005)
    shield = (moved(bar, y=-0.05), moved(fore, y=0.17, z=-0.06), moved(floor, y=0.02, z=0.16))
    sketch.hull(body, [(point, 0.08, 0.03) for point in shield], depth + 0.002)
    ride.bars(sketch.ink(_METAL), 0.024, ((bar, fore),))
    if sketch.view.facing > -0.2:
        lamp = moved(bar, y=-0.04, z=0.05)
        sketch.tube(sketch.ink(_LAMP), (lamp, moved(lamp, y=0.002)), (0.03, 0.03), max(depth, 0.0) + 0.1)
    ride.seat(0.22, 0.06, 0.035)
    ride.handlebar(bar)


def _tricycle(ride: _Ride) -> None:
    """A cargo tricycle: two wheels and an open box behind the saddle."""
    sketch, radius = ride.sketch, 0.17
    fore = ride.at(radius, 0.4)
    ride.wheel(fore, radius, 0.026)
    for side in (-0.2, 0.2):
        wheel = moved(ride.at(radius, -0.32), side)
        ride.wheel(wheel, radius, 0.026, 0.01 if sketch.view.depth(wheel) > 0 else -0.01)
    base, rim = ride.at(0.22, -0.34), ride.at(0.44, -0.34)
    _cargo(ride, base, rim)
    bar, middle = ride.at(ride.saddle[1] + 0.08, 0.3), moved(ride.saddle, y=-0.2)
    keel = moved(fore, z=-0.2)
    frame = ((base, ride.saddle), (middle, bar), (bar, fore), (base, keel), (middle, between(base, fore, 0.5)))
    ride.bars(sketch.ink(scaled(ride.colour, 0.8)), 0.024, frame)
    ride.handlebar(bar)


def _cargo(ride: _Ride, base: Point, rim: Point) -> None:
    """An open box from its base to its rim."""
    near = 0.35 if ride.sketch.view.facing < -0.2 else ride.depth - 0.02
    sides = [(x, z) for x in (-0.19, 0.19) for z in (-0.22, 0.2)]
    corners = [(moved(centre, x, 0, z), 0.005, 0.005) for centre in (base, rim) for x, z in sides]
    ride.sketch.hull(ride.sketch.ink(ride.colour), corners, near)
    inner = [(moved(rim, x, 0, z), 0.005, 0.005) for x in (-0.17, 0.17) for z in (-0.2, 0.18)]
    ride.sketch.hull(ride.sketch.ink(scaled(ride.colour, 0.5)), inner, near + 0.001)


_VEHICLES: Mapping[str, Callable[[_Ride], None]] = {
    "bicycle": _bicycle,
    "motorcycle": _motorcycle,
    "tricycle": _tricycle,
}
