"""Points in three dimensions as plain tuples: a person is a few hundred of them, too few for arrays to pay."""

from math import cos, sin

Point = tuple[float, float, float]
"""x to the person's side, y up from the ground, z in the person's viewing direction; body heights."""

LEFT, RIGHT = 0, 1
"""Index of a side: the one at negative x, the one at positive x."""

SIGN = (-1.0, 1.0)
"""Direction of a side along x."""


def moved(point: Point, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Point:
    """The point moved by an offset."""
    return point[0] + x, point[1] + y, point[2] + z


def between(one: Point, other: Point, share: float) -> Point:
    """The point at a share of the way from one point to another."""
    return (
        one[0] + (other[0] - one[0]) * share,
        one[1] + (other[1] - one[1]) * share,
        one[2] + (other[2] - one[2]) * share,
    )


def swung(point: Point, length: float, angle: float, out: float = 0.0) -> Point:
    """The end of a bone that hangs from a point: ``angle`` radians forward of straight down, ``out`` to the side."""
    return point[0] + length * out, point[1] - length * cos(angle), point[2] + length * sin(angle)


def chain(joints: tuple[Point, Point, Point], share: float) -> Point:
    """The point at a share of the way along two bones: 0 at the root, 0.5 at the knee or elbow, 1 at the end."""
    if share < 0.5:
        return between(joints[0], joints[1], share * 2)
    return between(joints[1], joints[2], share * 2 - 1)
