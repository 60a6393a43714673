"""A body in three dimensions: build, joints and gait.

Lengths are in body heights; x is the person's side, y up from the ground, z where the person looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np

from evaluation.render.geometry import LEFT, RIGHT, SIGN, Point, chain, moved, swung


@dataclass(frozen=True)
class Build:
    """Proportions of a body, as shares of its height; ``limb`` and ``head`` are factors on thickness and size."""

    shoulder: float
    hip: float
    depth: float
    limb: float
    head: float
    leg: float
    torso: float
    arm: float


@dataclass(frozen=True)
class Pose:
    """Joints of a body, for the left and the right side where there are two.

    Args:
        legs: Hip, knee and ankle.
        toes: Tip of the foot.
        arms: Shoulder, elbow and wrist.
        pelvis: Middle of the hips.
        spine: Unit vector from the pelvis to the neck.
        front: Unit vector out of the breast.
        head: Centre of the head.
        upright: False when the thighs point forward (sitting, squatting).
        build: Proportions.
    """

    legs: tuple[tuple[Point, Point, Point], tuple[Point, Point, Point]]
    toes: tuple[Point, Point]
    arms: tuple[tuple[Point, Point, Point], tuple[Point, Point, Point]]
    pelvis: Point
    spine: Point
    front: Point
    head: Point
    upright: bool
    build: Build

    def torso(self, along: float, side: float = 0.0, front: float = 0.0) -> Point:
        """A point of the torso: ``along`` 0 at the hips, 1 at the shoulders; ``side`` and ``front`` in body heights."""
        rise = along * self.build.torso
        return (
            self.pelvis[0] + side,
            self.pelvis[1] + self.spine[1] * rise + self.front[1] * front,
            self.pelvis[2] + self.spine[2] * rise + self.front[2] * front,
        )

    def leg(self, side: int, share: float) -> Point:
        """The point at a share of the way from the hip to the ankle."""
        return chain(self.legs[side], share)

    def arm(self, side: int, share: float) -> Point:
        """The point at a share of the way from the shoulder to the wrist."""
        return chain(self.arms[side], share)

    def extent(self) -> list[Point]:
        """Points that span the extent of the body."""
        top = moved(self.head, y=0.095 * self.build.head)
        points = [top, moved(self.head, 0.05), moved(self.head, -0.05), *self.toes]
        for side in (LEFT, RIGHT):
            points += [*self.legs[side], *self.arms[side]]
        return points


def make_build(truth: Mapping[str, str], rng: np.random.Generator) -> Build:
    """Proportions that suit gender and age."""
    mean = {"middle-aged": 0.09, "old": 0.05}.get(truth["age"], -0.03)
    stout = 1 + min(0.34, max(-0.16, float(rng.normal(mean, 0.09))))
    if truth["gender"] == "child":
        return Build(0.106 * stout, 0.082 * stout, 0.070 * stout, stout, rng.uniform(1.3, 1.6), 0.41, 0.275, 0.31)
    if truth["gender"] == "woman":
        return Build(0.099 * stout, 0.088 * stout, 0.062 * stout, stout - 0.06, 0.99, 0.475, 0.285, 0.325)
    return Build(0.121 * stout, 0.083 * stout, 0.068 * stout, stout + 0.03, 1.0, 0.475, 0.295, 0.34)


@dataclass
class _Angles:
    """Angles of the joints in radians; thigh and upper arm forward of straight down, knee and elbow bent."""

    thigh: list[float]
    knee: list[float]
    arm: list[float]
    elbow: list[float]
    lean: float = 0.0
    spread: float = 0.0
    abduction: float = 0.1


def _degrees(rng: np.random.Generator, mean: float, deviation: float) -> float:
    return radians(mean + deviation * min(2.0, max(-2.0, float(rng.standard_normal()))))


def _drawn(rng: np.random.Generator, spreads: tuple[tuple[float, float], ...]) -> _Angles:
    """Angles of both sides from mean and deviation in degrees: thigh, knee, arm, elbow."""
    thigh, knee, arm, elbow = ([_degrees(rng, mean, deviation) for _ in SIGN] for mean, deviation in spreads)
    return _Angles(thigh, knee, arm, elbow)


def _gait(rng: np.random.Generator, swing: float, lift: float, bend: float, elbow: float) -> _Angles:
    """One instant of a gait; arms swing against the legs."""
    phase = rng.uniform(0, 2 * pi)
    angles = _Angles([], [], [], [])
    for offset in (0.0, pi):
        angles.thigh.append(radians(swing) * sin(phase + offset) + bend / 3)
        angles.knee.append(radians(lift) * max(0.0, cos(phase + offset)) + bend)
        angles.arm.append(-radians(swing * 0.95) * sin(phase + offset))
        angles.elbow.append(elbow + 0.15 * rng.random())
    return angles


def _walk(rng: np.random.Generator) -> _Angles:
    angles = _gait(rng, rng.uniform(17, 31), 45, 0.06, _degrees(rng, 22, 8))
    angles.lean = _degrees(rng, 3, 2)
    return angles


def _run(rng: np.random.Generator) -> _Angles:
    angles = _gait(rng, rng.uniform(38, 50), 88, 0.35, _degrees(rng, 88, 10))
    angles.lean = _degrees(rng, 13, 3)
    return angles


def _stand(rng: np.random.Generator) -> _Angles:
    angles = _drawn(rng, ((0, 4), (3, 2), (0, 7), (14, 6)))
    if rng.random() < 0.25:
        angles.elbow = [1.3 + 0.4 * rng.random()] * 2
    angles.lean, angles.spread, angles.abduction = _degrees(rng, 1, 2), rng.uniform(0, 0.06), rng.uniform(0.05, 0.2)
    return angles


def _fold(rng: np.random.Generator, thigh: float, knee: float, lean: float) -> _Angles:
    """Sitting and squatting: the thighs point forward, the hands lie on the knees."""
    angles = _drawn(rng, ((thigh, 5), (knee, 7), (25, 9), (50, 14)))
    angles.lean, angles.spread = _degrees(rng, lean, 5), rng.uniform(0.02, 0.18)
    return angles


def _ride(rng: np.random.Generator, circle: float) -> _Angles:
    """On a saddle, hands at the bar; ``circle`` is how far the pedals move the thighs."""
    pedal = rng.uniform(0, 2 * pi)
    thigh = [1.05 + circle * sin(pedal), 1.05 - circle * sin(pedal)]
    knee = [1.25 + circle * cos(pedal), 1.25 - circle * cos(pedal)]
    return _Angles(thigh, knee, [0.95, 0.95], [0.3, 0.3], _degrees(rng, 15, 5), 0.08)


def _angles(truth: Mapping[str, str], rng: np.random.Generator) -> _Angles:
    """Angles that show the action."""
    action = truth["action"]
    if action == "sitting":
        if truth["vehicle"] == "none":
            return _fold(rng, 84, 84, 0)
        return _ride(rng, 0.04 if truth["vehicle"] == "motorcycle" else 0.32)
    if action == "squatting":
        return _fold(rng, 112, 140, 24)
    return {"standing": _stand, "walking": _walk, "running": _run}[action](rng)


def make_pose(truth: Mapping[str, str], rng: np.random.Generator) -> Pose:
    """Place the joints of one person.

    Args:
        truth: Attributes; age, gender, action and vehicle shape the pose, what is held moves an arm.
        rng: Source of chance.

    Returns:
        The pose; the lower foot stands on the ground (y = 0).

    Raises:
        KeyError: The action is not in the vocabulary.
    """
    build, angles = make_build(truth, rng), _angles(truth, rng)
    if truth["age"] == "old":
        angles.lean += radians(rng.uniform(6, 15))
    _hold(truth, angles, rng)
    return _assemble(build, angles, float(rng.normal(0, 0.004)))


def _assemble(build: Build, angles: _Angles, tilt: float) -> Pose:
    """Joints from angles."""
    hanging = [_leg(build, angles, side) for side in (LEFT, RIGHT)]
    rise = -min(min(leg[2][1] - 0.035, toe[1] - 0.012) for leg, toe in hanging)
    legs = [(moved(leg[0], y=rise), moved(leg[1], y=rise), moved(leg[2], y=rise)) for leg, _ in hanging]
    pelvis: Point = (0.0, rise, 0.0)
    spine: Point = (0.0, cos(angles.lean), sin(angles.lean))
    top = moved(pelvis, 0.0, spine[1] * build.torso, spine[2] * build.torso)
    neck = 0.045 + 0.065 * build.head
    return Pose(
        legs=(legs[0], legs[1]),
        toes=(moved(hanging[0][1], y=rise), moved(hanging[1][1], y=rise)),
        arms=(_arm(build, angles, LEFT, top), _arm(build, angles, RIGHT, top)),
        pelvis=pelvis,
        spine=spine,
        front=(0.0, -spine[2], spine[1]),
        head=moved(top, tilt, spine[1] * neck, spine[2] * neck + 0.012),
        upright=max(angles.thigh) < 0.9,
        build=build,
    )


def _leg(build: Build, angles: _Angles, side: int) -> tuple[tuple[Point, Point, Point], Point]:
    """Hip, knee, ankle, and the toe, hanging from hips at height 0."""
    sign, bone = SIGN[side], build.leg / 2
    hip = (sign * build.hip * 0.56, 0.0, 0.0)
    knee = swung(hip, bone, angles.thigh[side], sign * angles.spread)
    shin = angles.thigh[side] - angles.knee[side]
    ankle = swung(knee, bone, shin, sign * angles.spread * 0.1)
    tilt = min(0.0, shin) * 0.8
    return (hip, knee, ankle), moved(ankle, sign * 0.014, 0.095 * (sin(tilt) - 0.22), 0.095 * cos(tilt))


def _arm(build: Build, angles: _Angles, side: int, top: Point) -> tuple[Point, Point, Point]:
    """Shoulder, elbow and wrist."""
    sign, bone, bend = SIGN[side], build.arm / 2, angles.elbow[side]
    shoulder = moved(top, sign * build.shoulder * 0.86, -0.012)
    elbow = swung(shoulder, bone, angles.arm[side], sign * angles.abduction)
    inward = -sign * (0.35 * angles.abduction if bend < 0.8 else 0.3)
    return shoulder, elbow, swung(elbow, bone, angles.arm[side] + bend, inward)


PHONE, OTHER = RIGHT, LEFT
"""The hand that holds a phone, and the one that holds an umbrella or a handbag."""


def smoking_hand(truth: Mapping[str, str]) -> int:
    """The hand that holds a cigarette: the free one."""
    return OTHER if truth["cellphone"] != "none" else PHONE


def _hold(truth: Mapping[str, str], angles: _Angles, rng: np.random.Generator) -> None:
    """Bend the arm that holds an object so that the hand is at the object's place."""
    if truth["umbrella"] != "none":
        angles.arm[OTHER], angles.elbow[OTHER] = 0.3, 1.9
    elif truth["bag"] == "handbag":
        angles.arm[OTHER], angles.elbow[OTHER] = 0.05, 0.15 if rng.random() < 0.7 else 1.4
    if truth["cellphone"] != "none":
        angles.arm[PHONE], angles.elbow[PHONE] = (0.75, 2.15) if rng.random() < 0.5 else (0.35, 1.35)
    free = smoking_hand(truth)
    if truth["smoke"] != "none":
        angles.arm[free], angles.elbow[free] = 0.75, 1.95
    elif rng.random() < 0.15 and truth["action"] in ("standing", "walking") and truth["bag"] != "handbag":
        angles.arm[free], angles.elbow[free] = -0.35, 0.75
