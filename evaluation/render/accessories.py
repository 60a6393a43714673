"""Carried objects (bags, phones, cigarettes, umbrellas), and the bench under a seated person."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import cos, pi, sin

import numpy as np

from evaluation.render import palette
from evaluation.render.body import OTHER, PHONE, Pose, smoking_hand
from evaluation.render.garments import arm_depth
from evaluation.render.geometry import Point, between, moved
from evaluation.render.palette import Colour, lifted, scaled
from evaluation.render.sketch import Sketch

_CASE = (20.0, 20.0, 24.0)
_SCREEN = (150.0, 200.0, 235.0)
_PAPER = (250.0, 250.0, 245.0)
_EMBER = (255.0, 110.0, 30.0)
_SMOKE = (205.0, 208.0, 212.0)


def draw_accessories(
    sketch: Sketch, pose: Pose, truth: Mapping[str, str], against: Colour, rng: np.random.Generator
) -> None:
    """Draw the bag, phone, cigarette and umbrella that the truth names, and a seat under a seated person.

    Args:
        sketch: Where to draw.
        pose: The body.
        truth: Attributes.
        against: Colour of the upper garment; bags differ from it, since they would be invisible otherwise.
        rng: Source of chance.
    """
    if truth["bag"] != "none":
        _BAGS[truth["bag"]](sketch, pose, palette.contrasting(against, rng, 45))
    if truth["cellphone"] != "none":
        _phone(sketch, pose, rng)
    if truth["smoke"] != "none":
        _cigarette(sketch, pose, smoking_hand(truth))
    if truth["umbrella"] != "none":
        _umbrella(sketch, pose, rng)
    if truth["action"] == "sitting" and truth["vehicle"] == "none":
        _bench(sketch, pose, rng)


def _backpack(sketch: Sketch, pose: Pose, colour: Colour) -> None:
    """A backpack; from the front, its straps and edges."""
    build, facing = pose.build, sketch.view.facing
    back = -build.depth - 0.035
    profile = ((0.98, 0.055, 0.03), (0.9, 0.085, 0.055), (0.5, 0.095, 0.065), (0.18, 0.09, 0.06), (0.12, 0.07, 0.04))
    depth = 0.13 if facing < -0.1 else -0.015
    sketch.stack(sketch.ink(colour), [(pose.torso(along, 0, back), side, deep) for along, side, deep in profile], depth)
    if facing < -0.1:
        pocket = ((0.45, -0.065), (0.45, 0.065), (0.2, 0.06), (0.2, -0.06))
        points = [pose.torso(along, side, back - 0.06) for along, side in pocket]
        sketch.polygon(sketch.ink(scaled(colour, 0.65)), points, depth + 0.001)
    _pack_straps(sketch, pose, colour, back)


def _pack_straps(sketch: Sketch, pose: Pose, colour: Colour, back: float) -> None:
    """The straps of a backpack over the chest, and around the shoulder in side view."""
    build, view = pose.build, sketch.view
    strap = sketch.ink(scaled(colour, 0.85))
    for side in (-1, 1):
        x = side * build.shoulder * 0.58
        if view.facing > -0.1:
            end = pose.torso(0.4, x * 1.25, build.depth * 0.9)
            points = [pose.torso(1.04, x), pose.torso(0.85, x, build.depth), end]
            sketch.line(strap, points, 0.03, 0.03)
        if abs(view.facing) < 0.5:
            edge = side * build.shoulder * 0.9
            points = [pose.torso(1.02, x, back * 0.5), pose.torso(0.9, edge, 0.01), pose.torso(0.35, edge, back * 0.6)]
            sketch.line(strap, points, 0.022, 0.03 if side * view.turn < 0 else -0.02)


def _shoulder_bag(sketch: Sketch, pose: Pose, colour: Colour) -> None:
    """A bag at the hip on a strap across the body."""
    build = pose.build
    x = build.hip + 0.045
    hip = pose.torso(0.05, x, 0.03)
    _box(sketch, hip, (0.055, 0.075), (colour, sketch.view.depth(hip) + 0.05))
    front = build.depth * (1.15 if sketch.view.facing > 0 else -1.15)
    shoulder, hip = pose.torso(1.03, -build.shoulder * 0.45), pose.torso(0.15, x * 0.95, front * 0.6)
    points = [shoulder, pose.torso(0.7, -0.02, front), hip]
    sketch.line(sketch.ink(scaled(colour, 0.8)), points, 0.02, 0.035)


def _handbag(sketch: Sketch, pose: Pose, colour: Colour) -> None:
    """A bag that hangs from the hand."""
    hand, depth = pose.arms[OTHER][2], arm_depth(sketch, pose, OTHER) + 0.01
    middle = moved(hand, y=-0.125)
    _box(sketch, middle, (0.075, 0.06), (colour, depth))
    ink = sketch.ink(scaled(colour, 0.7))
    for end in (-0.04, 0.04):
        sketch.line(ink, [hand, moved(middle, 0.0, 0.06, end)], 0.012, depth)
        sketch.line(ink, [hand, moved(middle, end * 0.5, 0.06)], 0.012, depth)


def _box(sketch: Sketch, middle: Point, half: tuple[float, float], how: tuple[Colour, float]) -> None:
    """A bag of half depth and half height around a point, with a flap: (colour, depth)."""
    (deep, high), (colour, depth) = half, how
    top = (moved(middle, y=high), 0.031, deep * 0.86)
    sketch.hull(sketch.ink(colour), [top, (moved(middle, y=-high), 0.035, deep)], depth)
    edge = (moved(middle, y=high * 0.2), 0.034, deep * 0.8)
    sketch.hull(sketch.ink(scaled(colour, 0.78)), [top, edge], depth + 0.0005)


def _phone(sketch: Sketch, pose: Pose, rng: np.random.Generator) -> None:
    """A phone in the hand: at the ear, or in front of the chest with a lit screen."""
    _, elbow, hand = pose.arms[PHONE]
    depth = max(arm_depth(sketch, pose, PHONE), 0.0) + 0.25
    case = _CASE if rng.random() < 0.7 else lifted(_CASE, 205)
    sketch.tube(sketch.ink(case), (between(elbow, hand, 1.03), between(elbow, hand, 1.52)), (0.021, 0.021), depth)
    if rng.random() < 0.6:
        ends = (between(elbow, hand, 1.1), between(elbow, hand, 1.45))
        sketch.tube(sketch.ink(_SCREEN), ends, (0.011, 0.011), depth + 0.001)


def _cigarette(sketch: Sketch, pose: Pose, side: int) -> None:
    """A cigarette at the mouth, its ember and a wisp of smoke."""
    mouth = moved(pose.head, 0.0, -0.035 * pose.build.head, 0.065)
    tip = moved(mouth, 0.02 if side else -0.02, -0.008, 0.07)
    sketch.line(sketch.ink(_PAPER), [mouth, tip], 0.015, 0.3)
    sketch.tube(sketch.ink(_EMBER), (tip, moved(tip, y=0.002)), (0.01, 0.01), 0.301)
    drift = [moved(tip, 0.012 * sin(2.1 * step), 0.03 * step, 0.02 * step) for step in range(1, 5)]
    sketch.line(sketch.ink(_SMOKE), drift, 0.014, 0.299)


def _umbrella(sketch: Sketch, pose: Pose, rng: np.random.Generator) -> None:
    """An open umbrella over the head, or a closed one in the hand."""
    hand = pose.arms[OTHER][2]
    colour = palette.cloth(palette.any_name(rng), rng)
    depth = arm_depth(sketch, pose, OTHER) + 0.02
    if rng.random() < 0.08:
        sketch.tube(sketch.ink(colour), (hand, moved(hand, y=-0.28, z=-0.05)), (0.022, 0.008), depth)
        return
    top = (hand[0] * 0.5, pose.head[1] + 0.25, hand[2] * 0.6)
    sketch.line(sketch.ink((70.0, 70.0, 74.0)), [hand, top], 0.012, depth)
    _canopy(sketch, top, colour, rng)


def _canopy(sketch: Sketch, top: Point, colour: Colour, rng: np.random.Generator) -> None:
    """Eight cells of cloth, alternating a little in tone, some in colour."""
    size, start = rng.uniform(0.25, 0.32), rng.uniform(0, 0.7)
    second = palette.contrasting(colour, rng) if rng.random() < 0.2 else lifted(scaled(colour, 1.1), 6)
    inks = (sketch.ink(scaled(colour, 0.9)), sketch.ink(second))
    corners = [(cos(start + k * pi / 4) * size, sin(start + k * pi / 4) * size) for k in range(9)]
    for part, (one, other) in enumerate(pairwise(corners)):
        rim, follow = moved(top, one[0], -0.13, one[1]), moved(top, other[0], -0.13, other[1])
        shoulder = moved(top, one[0] * 0.72, -0.05, one[1] * 0.72)
        shoulder_next = moved(top, other[0] * 0.72, -0.05, other[1] * 0.72)
        depth = 0.4 + 0.05 * sketch.view.depth(between(rim, follow, 0.5))
        sketch.polygon(inks[part % 2], [top, shoulder, rim, follow, shoulder_next], depth)


def _bench(sketch: Sketch, pose: Pose, rng: np.random.Generator) -> None:
    """A bench, wall or stool under the thighs."""
    wide, tone = rng.uniform(0.14, 0.5), rng.uniform(50, 190)
    colour = (tone, tone * rng.uniform(0.8, 1.0), tone * rng.uniform(0.6, 1.0))
    level = pose.pelvis[1] - 0.075
    seat = [((x, level, z), 0.005, 0.005) for x in (-wide, wide) for z in (-0.12, 0.14)]
    sketch.hull(sketch.ink(colour), seat, -0.36)
    if rng.random() < 0.5:
        floor = [(moved(corner, y=-level), 0.005, 0.005) for corner, _, _ in seat]
        sketch.hull(sketch.ink(scaled(colour, 0.7)), seat + floor, -0.37)
    else:
        legs = sketch.ink(scaled(colour, 0.55))
        for (x, y, z), _, _ in seat:
            sketch.line(legs, [(x, y, z), (x, 0.0, z)], 0.022, -0.37)


_BAGS: Mapping[str, Callable[[Sketch, Pose, Colour], None]] = {
    "backpack": _backpack,
    "shoulder bag": _shoulder_bag,
    "handbag": _handbag,
}
