"""A person without a background: pose, garments, head and carried objects, shaded."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.render import camera, palette
from evaluation.render.accessories import draw_accessories
from evaluation.render.body import make_pose
from evaluation.render.fabric import lay_pattern
from evaluation.render.framing import choose_view, frame
from evaluation.render.garments import UPPER, draw_upper
from evaluation.render.head import draw_head
from evaluation.render.legs import LOWER, draw_lower
from evaluation.render.sketch import Labels, Sketch
from evaluation.render.textures import Picture
from evaluation.render.vehicles import draw_vehicle

_LOWER_PATTERNS = ("striped", "plaid", "patterned")
_LOWER_PATTERNED = 0.08
_PATTERN_GAP = 105.0


@dataclass(frozen=True)
class Figure:
    """A person without a background.

    Args:
        picture: RGB uint8 (h, w, 3); black outside the person.
        labels: Parts, uint8 (h, w); 0 outside the person.
        groups: Group of each label: upper, lower or nothing.
        ground: Row on which the person stands.
    """

    picture: Picture
    labels: Labels
    groups: list[str]
    ground: float

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Where the person is, 0 or 255, uint8 (h, w)."""
        return np.asarray(cv2.threshold(self.labels, 0, 255, cv2.THRESH_BINARY)[1], np.uint8)

    def worn(self, group: str) -> NDArray[np.uint8]:
        """Where a garment is visible, 0 or 255, uint8 (h, w)."""
        table = np.zeros(256, np.uint8)
        table[: len(self.groups)] = [255 * (name == group) for name in self.groups]
        return np.asarray(cv2.LUT(self.labels, table), np.uint8)


def draw_figure(truth: Mapping[str, str], size: int, rng: np.random.Generator, *, shaded: bool = True) -> Figure:
    """Draw a person.

    Args:
        truth: Attributes in the vocabulary of ``attributes.VOCABULARY``.
        size: Rows of the canvas, at most 256.
        rng: Source of chance.
        shaded: Whether light and folds are drawn; else every part is in its flat colour.

    Returns:
        The figure.

    Raises:
        KeyError: An attribute is missing or has a value outside the vocabulary.
    """
    pose, view = make_pose(truth, rng), choose_view(truth, rng)
    view, width = frame(view, pose, truth, size, rng)
    sketch, skin = Sketch(view), palette.skin(rng)
    upper = palette.cloth(truth["upper_colour"], rng)
    lower = palette.cloth(truth["lower_colour"], rng) if "lower" in truth else skin
    draw_lower(sketch, pose, truth, lower, skin, rng)
    draw_upper(sketch, pose, truth, upper, skin, rng)
    draw_head(sketch, pose, truth, skin, rng)
    draw_accessories(sketch, pose, truth, upper, rng)
    draw_vehicle(sketch, pose, truth, rng)
    labels = sketch.labels(size, width)
    picture = cv2.LUT(cv2.merge([labels] * 3), sketch.palette()[None])
    figure = Figure(np.asarray(picture, np.uint8), labels, sketch.groups, view.top * view.scale)
    if truth["upper_pattern"] != "plain":
        second = palette.contrasting(upper, rng, _PATTERN_GAP)
        lay_pattern(figure.picture, figure.worn(UPPER), truth["upper_pattern"], second, view.scale, rng)
    if "lower" in truth and rng.random() < _LOWER_PATTERNED:
        kind, second = _LOWER_PATTERNS[int(rng.random() * 3)], palette.contrasting(lower, rng, _PATTERN_GAP)
        lay_pattern(figure.picture, figure.worn(LOWER), kind, second, view.scale, rng)
    if shaded:
        figure.picture[:] = camera.shade(figure.picture, labels, rng)
    return figure
