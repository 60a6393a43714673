"""Shapes in three dimensions, painted as labels from far to near.

Every part of the picture is an area of one label; colours come at the end through a palette. That keeps one part at
one call of OpenCV on one byte per pixel. All points of a sketch are projected together, for speed.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import cos, hypot, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.render.geometry import Point
from evaluation.render.palette import Colour

Labels = NDArray[np.uint8]
Pixels = NDArray[np.int32]
Floats = NDArray[np.float64]

Ring = tuple[Point, float, float]
"""A horizontal ellipse: its centre, its radius to the side, its radius to the front."""

_SHIFT = 3
_COLUMNS = 7
"""Of a corner: a point (3), a shift on the picture plane (right, up), two radii."""

_RING = np.array([(cos(k * np.pi / 5), sin(k * np.pi / 5)) for k in range(10)])
# A cap of half a circle in five steps, as shares of the direction across and along.
_CAP = np.array([[sin(a), cos(a)] for a in np.linspace(np.pi / 2, -np.pi / 2, 5)])


@dataclass(frozen=True)
class View:
    """The camera's position, and the part of the picture plane that becomes the canvas.

    Args:
        yaw: Turn of the person in radians: 0 looks into the camera, pi/2 to the right, pi away.
        pitch: How far the camera looks down, radians.
        scale: Pixels per body height.
        left: Left edge of the canvas on the picture plane, body heights.
        top: Upper edge, body heights above the ground.
    """

    yaw: float
    pitch: float
    scale: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "facing", cos(self.yaw))
        object.__setattr__(self, "turn", sin(self.yaw))
        object.__setattr__(self, "tilt", sin(self.pitch))

    facing: float = field(init=False)
    """1 if the person looks into the camera, -1 if away from it."""
    turn: float = field(init=False)
    """1 if the person looks to the right, -1 if to the left."""
    tilt: float = field(init=False)
    """0 if the camera is level with the person, 1 if above."""

    def plane(self, points: Floats) -> Floats:
        """Points (n, 3) on the picture plane: right and up, body heights, float64 (n, 2)."""
        down = cos(self.pitch)
        axes = ((self.facing, self.turn * self.tilt), (0.0, down), (self.turn, -self.facing * self.tilt))
        return np.asarray(points @ np.array(axes))

    def depth(self, point: Point) -> float:
        """A point's distance towards the camera, body heights."""
        return point[2] * self.facing - point[0] * self.turn


@dataclass(frozen=True)
class _Part:
    """A shape whose corners are points ``start`` to ``stop`` of the sketch; size is a width in body heights."""

    depth: float
    ink: int
    shape: str
    start: int
    stop: int
    size: float = 0.0


@dataclass
class Sketch:
    """Parts of one image, with colour and group of each label.

    Args:
        view: The camera.
    """

    view: View
    colours: list[Colour] = field(default_factory=lambda: [(0.0, 0.0, 0.0)])
    groups: list[str] = field(default_factory=lambda: [""])
    _corners: "array[float]" = field(default_factory=lambda: array("d"))
    _parts: list[_Part] = field(default_factory=list)

    def ink(self, colour: Colour, group: str = "") -> int:
        """A new label of this colour; patterns are laid over all labels of a group."""
        self.colours.append(colour)
        self.groups.append(group)
        return len(self.colours) - 1

    def _add(self, shape: str, ink: int, depth: float, corners: Iterable[Sequence[float]], size: float = 0.0) -> None:
        start = len(self._corners) // _COLUMNS
        for corner in corners:
            self._corners.extend(corner)
        self._parts.append(_Part(depth, ink, shape, start, len(self._corners) // _COLUMNS, size))

    def polygon(self, ink: int, points: Sequence[Point], depth: float) -> None:
        """A filled area with these corners."""
        self._add("polygon", ink, depth, [(*point, 0.0, 0.0, 0.0, 0.0) for point in points])

    def line(self, ink: int, points: Sequence[Point], width: float, depth: float, *, closed: bool = False) -> None:
        """A line through points, width in body heights."""
        corners = [(*point, 0.0, 0.0, 0.0, 0.0) for point in points]
        self._add("loop" if closed else "line", ink, depth, corners, width)

    def hull(self, ink: int, rings: Sequence[Ring], depth: float) -> None:
        """The convex hull of horizontal ellipses."""
        self._add("hull", ink, depth, [(*centre, 0.0, 0.0, side, front) for centre, side, front in rings])

    def stack(self, ink: int, rings: Sequence[Ring], depth: float) -> None:
        """The outline of a body through horizontal ellipses from top to bottom."""
        facing, turn = self.view.facing, self.view.turn
        sides = [(centre, hypot(side * facing, front * turn)) for centre, side, front in rings]
        left = [(*centre, -half, 0.0, 0.0, 0.0) for centre, half in sides]
        self._add("polygon", ink, depth, left + [(*centre, half, 0.0, 0.0, 0.0) for centre, half in reversed(sides)])

    def ellipse(
        self, ink: int, centre: Point, radii: tuple[float, float], depth: float, shift: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """An ellipse on the picture plane around a point, moved by ``shift`` (right, up) on that plane."""
        self._add("ellipse", ink, depth, [(*centre, *shift, *radii)])

    def tube(self, ink: int, points: Sequence[Point], radii: Sequence[float], depth: float) -> None:
        """A limb through points with these radii."""
        corners = [(*point, 0.0, 0.0, radius, radius) for point, radius in zip(points, radii, strict=True)]
        self._add("tube", ink, depth, corners)

    def labels(self, height: int, width: int) -> Labels:
        """Paint every part, far ones first.

        Args:
            height: Rows of the canvas.
            width: Columns.

        Returns:
            Labels, uint8 (height, width); 0 where nothing was painted.
        """
        canvas = np.zeros((height, width), np.uint8)
        table = np.frombuffer(self._corners).reshape(-1, _COLUMNS)
        scale = self.view.scale * (1 << _SHIFT)
        corners = (self.view.plane(table[:, :3]) + table[:, 3:5] - (self.view.left, self.view.top)) * (scale, -scale)
        radii = table[:, 5:] * scale
        rings, capsules = _rings(self.view, corners, radii), _capsules(corners, radii)
        shapes = _Shapes(corners.astype(np.int32), radii.astype(np.int32), rings, capsules)
        for part in sorted(self._parts, key=lambda part: part.depth):
            shapes.paint(canvas, part, max(1, round(part.size * self.view.scale)))
        return canvas

    def palette(self) -> NDArray[np.uint8]:
        """Colour of every label, uint8 (256, 3)."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.colours)] = np.clip(np.array(self.colours), 0, 255)
        return table


def _rings(view: View, corners: Floats, radii: Floats) -> Pixels:
    """A horizontal ellipse around every corner, int32 (n, 10, 2)."""
    right = _RING * (view.facing, view.turn)
    down = _RING * (-view.turn * view.tilt, view.facing * view.tilt)
    offsets = np.stack([radii @ right.T, radii @ down.T], axis=2)
    return (corners[:, None] + offsets).astype(np.int32)


def _capsules(corners: Floats, radii: Floats) -> Pixels:
    """The rounded, tapered segment between each corner and the next, int32 (n - 1, 10, 2)."""
    along = corners[1:] - corners[:-1]
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    cap = _CAP[None, :, :1] * across[:, None] + _CAP[None, :, 1:] * along[:, None]
    ends = corners[1:, None] + cap * radii[1:, None, :1]
    starts = corners[:-1, None] - cap * radii[:-1, None, :1]
    return np.concatenate([ends, starts], axis=1).astype(np.int32)


@dataclass(frozen=True)
class _Shapes:
    """Corners of all parts on the canvas, with radii, rings and capsules, in eighths of a pixel."""

    corners: Pixels
    radii: Pixels
    rings: Pixels
    capsules: Pixels

    def paint(self, canvas: Labels, part: _Part, width: int) -> None:
        """Paint one part; width in pixels, for lines."""
        rows = slice(part.start, part.stop)
        if part.shape == "tube":
            for capsule in self.capsules[part.start : part.stop - 1]:
                cv2.fillConvexPoly(canvas, capsule, part.ink, cv2.LINE_8, _SHIFT)
        elif part.shape == "polygon":
            cv2.fillPoly(canvas, [self.corners[rows]], part.ink, cv2.LINE_8, _SHIFT)
        elif part.shape == "hull":
            outline = cv2.convexHull(self.rings[rows].reshape(-1, 2))
            cv2.fillConvexPoly(canvas, outline, part.ink, cv2.LINE_8, _SHIFT)
        elif part.shape == "ellipse":
            centre, axes = self.corners[part.start].tolist(), np.maximum(self.radii[part.start], 1).tolist()
            cv2.ellipse(canvas, centre, axes, 0, 0, 360, part.ink, -1, cv2.LINE_8, _SHIFT)
        else:
            cv2.polylines(canvas, [self.corners[rows]], part.shape == "loop", part.ink, width, cv2.LINE_8, _SHIFT)
