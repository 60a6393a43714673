"""Head, hair, face, glasses and headwear."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.render import palette
from evaluation.render.body import Pose
from evaluation.render.geometry import moved
from evaluation.render.palette import Colour, lifted, scaled
from evaluation.render.sketch import Sketch

_DEPTH = 0.2
_FRAME = (18.0, 16.0, 20.0)
_LENS = (225.0, 230.0, 235.0)
_HELMETS = ("white", "red", "blue", "black", "yellow", "orange", "gray")


@dataclass(frozen=True)
class _Head:
    """Inputs of the drawing of a head's parts; lengths in head units (1 = half the head's height)."""

    sketch: Sketch
    pose: Pose
    skin: Colour
    hair: Colour
    rng: np.random.Generator

    @property
    def unit(self) -> float:
        return 0.07 * self.pose.build.head

    @property
    def turn(self) -> float:
        """How far the face is turned to the right in the image."""
        return self.sketch.view.turn

    @property
    def facing(self) -> float:
        return self.sketch.view.facing

    def oval(self, colour: Colour, radii: tuple[float, float], shift: tuple[float, float], rank: float) -> None:
        """An ellipse around the centre of the head, shifted to the right and up; a higher rank covers a lower one."""
        unit = self.unit
        self.sketch.ellipse(
            self.sketch.ink(colour),
            self.pose.head,
            (radii[0] * unit, radii[1] * unit),
            _DEPTH + 0.001 * rank,
            (shift[0] * unit, shift[1] * unit),
        )


def draw_head(sketch: Sketch, pose: Pose, truth: Mapping[str, str], skin: Colour, rng: np.random.Generator) -> None:
    """Draw neck, head, hair, face, glasses and headwear.

    Args:
        sketch: Where to draw.
        pose: The body.
        truth: Attributes; age, hair, glasses and hat are shown here.
        skin: Colour of the skin.
        rng: Source of chance.
    """
    head = _Head(sketch, pose, skin, palette.hair(truth["age"], rng), rng)
    away = head.facing < -0.3
    nape = pose.torso(1.12 if away else 1.0)
    sketch.tube(sketch.ink(scaled(skin, 0.82)), (nape, pose.head), (0.034, 0.034), 0.0012 if away else -0.0005)
    head.oval(skin, (0.76 + 0.08 * abs(head.turn), 1.0), (0.0, 0.0), 1)
    if truth["hair"] == "bald":
        _bald(head)
    else:
        _crown(head, truth["hair"])
    if truth["hair"] == "long":
        _fall(head)
    if head.facing > -0.45:
        _face(head, truth)
    if truth["hat"] != "none":
        {"hat": _hat, "helmet": _helmet}[truth["hat"]](head)


def _bald(head: _Head) -> None:
    """A shiny skull; half of them have a fringe of hair around the back."""
    if head.rng.random() < 0.5:
        back = -0.3 * head.turn
        head.oval(head.hair, (0.84, 0.42), (back, -0.22), 1.5 if head.facing < 0.3 else 0.5)
        head.oval(head.skin, (0.7, 0.66), (back * 0.6, 0.32), 2)
    head.oval(lifted(head.skin, 28), (0.32, 0.22), (-0.15, 0.62), 2.5)


def _crown(head: _Head, hair: str) -> None:
    """Hair on the skull."""
    volume = {"short": 0.04, "medium": 0.22, "long": 0.12}[hair] + 0.08 * head.rng.random()
    level, tall = {"short": (0.2, 0.88), "medium": (0.06, 0.98), "long": (0.0, 1.02)}[hair]
    head.oval(head.hair, (0.8 + volume, tall), (-0.16 * head.turn, level), 2)
    if hair == "medium":
        # If the face is visible, the ends of the hair lie behind the neck, or the head would look hooded.
        behind = (-0.02 - _DEPTH) * 1000
        head.oval(head.hair, (0.9 + volume, 0.72), (-0.14 * head.turn, -0.45), 2 if head.facing < 0.35 else behind)


def _fall(head: _Head) -> None:
    """Long hair: down the back, and in front of the shoulders if the face is visible."""
    pose, sketch, unit = head.pose, head.sketch, head.unit
    length, back = head.rng.uniform(0.5, 0.82), -pose.build.depth * 0.75
    rings = [
        (moved(pose.head, y=0.3 * unit), 0.88 * unit, unit),
        (pose.torso(1.0, 0, back * 0.7), 1.02 * unit, 0.8 * unit),
        (pose.torso(length, 0, back), 0.75 * unit, 0.5 * unit),
    ]
    sketch.hull(sketch.ink(scaled(head.hair, 0.88)), rings, -0.02 if head.facing > 0.2 else 0.15)
    if head.facing > -0.2:
        ink = sketch.ink(head.hair)
        for side in (-1, 1):
            top = moved(pose.head, side * 0.85 * unit, 0.1 * unit)
            end = pose.torso(length + 0.1, side * pose.build.shoulder * 0.5, pose.build.depth * 0.6)
            sketch.tube(ink, (top, pose.torso(1.02, side * 0.055, 0.02), end), (0.02, 0.026, 0.014), 0.19)


def _face(head: _Head, truth: Mapping[str, str]) -> None:
    """The face with eyes, mouth, sometimes a beard, and glasses."""
    front = max(0.0, head.facing + 0.45) / 1.45
    middle, wide = 0.48 * head.turn, 0.42 + 0.28 * front
    head.oval(scaled(head.skin, 1.04), (wide, 0.74), (middle, -0.2), 4)
    if truth["age"] == "old":
        head.oval(scaled(head.skin, 0.8), (wide * 0.7, 0.05), (middle, -0.32), 5)
    dark = scaled(head.skin, 0.55)
    spread = 0.3 * max(0.0, head.facing)
    eyes = [middle + 0.16 * head.turn + offset for offset in ((-spread, spread) if head.facing > 0.3 else (0.0,))]
    for eye in eyes:
        head.oval(dark, (0.12, 0.08), (eye, 0.0), 5)
    mouth = (dark[0] * 1.25, dark[1] * 0.95, dark[2] * 0.95)
    head.oval(mouth, (0.2 * front + 0.06, 0.06), (middle + 0.1 * head.turn, -0.55), 5)
    if truth["gender"] == "man" and head.rng.random() < 0.2:
        head.oval(head.hair, (wide * 0.8, 0.26), (middle, -0.72), 4.5)
    if truth["glasses"] != "none":
        _glasses(head, eyes, dark=truth["glasses"] == "sunglasses")


def _glasses(head: _Head, eyes: list[float], *, dark: bool) -> None:
    """Lenses, the bridge between them and the bow to the ear; sunglasses have dark lenses."""
    wide, high = (0.29, 0.24) if dark else (0.28, 0.2)
    narrow = 1.0 if head.facing > 0.5 else 0.75
    for eye in eyes:
        head.oval(_FRAME, (wide * narrow + 0.06, high + 0.05), (eye, 0.0), 6)
        if not dark:
            head.oval(_LENS, (wide * narrow - 0.05, high - 0.06), (eye, 0.0), 7)
    bows = [(sum(eyes) / len(eyes), 0.03)]
    if abs(head.turn) > 0.3:
        far = -1.0 if head.turn > 0 else 1.0
        start = min(eyes) if head.turn > 0 else max(eyes)
        bows += [(start + far * step, 0.06) for step in (0.25, 0.5, 0.75)]
    for bow in bows:
        head.oval(_FRAME, (0.2, 0.07), bow, 6)


def _hat(head: _Head) -> None:
    """A cap with a peak, a hat with a brim, or a knitted hat."""
    colour = palette.cloth(palette.any_name(head.rng), head.rng)
    band = palette.contrasting(colour, head.rng, 40)
    kind = head.rng.random()
    head.oval(colour, (0.94 if kind < 0.75 else 1.02, 0.62), (-0.06 * head.turn, 0.62), 8)
    if kind < 0.4:
        peak = (0.5 + 0.25 * abs(head.turn), 0.17)
        if head.facing > -0.4:
            head.oval(scaled(colour, 0.75), peak, (0.85 * head.turn, 0.3 - 0.08 * head.facing), 9)
    elif kind < 0.75:
        head.oval(scaled(colour, 0.85), (1.55, 0.24), (0.0, 0.3), 9)
        head.oval(band, (0.94, 0.14), (0.0, 0.46), 10)
    else:
        head.oval(band if head.rng.random() < 0.5 else scaled(colour, 0.8), (1.0, 0.2), (-0.04 * head.turn, 0.3), 9)
        if head.rng.random() < 0.4:
            head.oval(band, (0.26, 0.24), (0.0, 1.3), 9)


def _helmet(head: _Head) -> None:
    """A shell around the skull: with a visor and a chin guard, or open with a strap."""
    colour = palette.cloth(_HELMETS[int(head.rng.random() * len(_HELMETS))], head.rng)
    back = -0.1 * head.turn
    head.oval(colour, (1.12, 0.92), (back, 0.42), 8)
    head.oval(lifted(colour, 70), (0.3, 0.2), (-0.4, 0.75), 9)
    if head.rng.random() < 0.4:
        head.oval(colour, (1.08, 1.15), (back, 0.0), 3)
        head.oval(colour, (1.0, 0.4), (0.0, -0.85), 8)
        if head.facing > -0.35:
            visor = (0.5 + 0.35 * max(0.0, head.facing), 0.34)
            head.oval((28.0, 30.0, 36.0), visor, (0.45 * head.turn, -0.02), 5.5)
    elif head.facing > -0.6:
        head.oval(scaled(colour, 0.6), (0.95, 0.12), (0.3 * head.turn, 0.1), 9)
        head.oval((30.0, 30.0, 30.0), (0.06, 0.5), (back + 0.5 * head.facing, -0.6), 9)
