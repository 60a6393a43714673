"""One rendered pedestrian: from attributes to a crop as a surveillance camera would give it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.render import camera, colours, scene, textures
from stages.render.accessories import draw_accessories
from stages.render.attributes import sample_attributes
from stages.render.colours import Colour
from stages.render.garments import UPPER, draw_upper
from stages.render.head import draw_head
from stages.render.legs import LOWER, draw_lower
from stages.render.pose import Pose, make_pose
from stages.render.sketch import Labels, Sketch, View
from stages.render.textures import Picture
from stages.render.vehicles import draw_vehicle

_ASPECT = (1.9, 3.2)


@dataclass(frozen=True)
class Figure:
    """A person without a background.

    Args:
        picture: Shaded person, RGB uint8 (h, w, 3); of no meaning where ``labels`` is 0.
        labels: Parts, uint8 (h, w).
        groups: Group of each label: upper, lower or nothing.
        ground: Row on which the person stands.
    """

    picture: Picture
    labels: Labels
    groups: list[str]
    ground: float

    def mask(self, group: str) -> NDArray[np.uint8]:
        """Where a group is seen, 0 or 255, uint8 (h, w)."""
        table = np.zeros(256, np.uint8)
        table[: len(self.groups)] = [255 * (name == group) for name in self.groups]
        return np.asarray(cv2.LUT(self.labels, table), np.uint8)


def _view(truth: Mapping[str, str], rng: np.random.Generator) -> View:
    """A camera that can see what the truth tells: the face for glasses and cigarettes, else from anywhere."""
    yaw = rng.uniform(-np.pi, np.pi)
    if truth["glasses"] != "none" or truth["smoke"] != "none":
        yaw *= 0.42
    return View(yaw, float(np.deg2rad(rng.uniform(0, 32))))


def _frame(view: View, pose: Pose, truth: Mapping[str, str], size: int, rng: np.random.Generator) -> tuple[View, int, int]:
    """The box of a detector around the person: never quite tight, sometimes off.

    Returns:
        The view with its place on the picture plane, and the canvas' height and width.
    """
    plane = view.plane(np.array(pose.extent()))
    low, high = plane.min(0) - (0.03, 0.025), plane.max(0) + (0.03, 0.0)
    if truth["hat"] != "none":
        high += (0.0, 0.025)
    if truth["umbrella"] != "none":
        high += (0.06, rng.uniform(0.05, 0.17))
        low -= (0.06, 0.0)
    if truth["vehicle"] != "none":
        low, high = low - (rng.uniform(0, 0.15), 0.05), high + (rng.uniform(0, 0.15), 0.0)
    extent = high - low
    edges = rng.uniform(-0.02, 0.07, 4) * extent[[0, 1, 0, 1]]
    if rng.random() < 0.08:
        edges[1] -= extent[1] * rng.uniform(0.03, 0.14)
    low, high = low - edges[:2], high + edges[2:]
    low, high = _bounded(low, high)
    height = high[1] - low[1]
    scale = size / height
    placed = replace(view, scale=scale, left=float(low[0]), top=float(high[1]))
    return placed, size, max(24, round((high[0] - low[0]) * scale))


def _bounded(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Widen or heighten a box until its aspect is that of a crop."""
    width, height = high - low
    if height / width > _ASPECT[1]:
        more = (height / _ASPECT[1] - width) / 2
        return low - (more, 0), high + (more, 0)
    if height / width < _ASPECT[0]:
        more = width * _ASPECT[0] - height
        return low - (0, more * 0.35), high + (0, more * 0.65)
    return low, high


def draw_person(truth: Mapping[str, str], size: int, rng: np.random.Generator) -> Figure:
    """Draw a person alone, shaded, on a canvas ``size`` pixels high.

    Args:
        truth: Attributes in the vocabulary of ``attributes.VOCABULARY``.
        size: Rows of the canvas, at most 500.
        rng: Source of chance.

    Returns:
        The figure.
    """
    pose, view = make_pose(truth, rng), _view(truth, rng)
    view, height, width = _frame(view, pose, truth, size, rng)
    sketch = Sketch(view)
    skin = colours.skin(rng)
    upper = colours.cloth(truth["upper_colour"], rng)
    lower = colours.cloth(truth["lower_colour"], rng) if "lower_colour" in truth else skin
    draw_lower(sketch, pose, truth, lower, skin, rng)
    draw_upper(sketch, pose, truth, upper, skin, rng)
    draw_head(sketch, pose, truth, skin, rng)
    draw_accessories(sketch, pose, truth, upper, rng)
    draw_vehicle(sketch, pose, truth, rng)
    labels = sketch.labels(height, width)
    flat = cv2.LUT(cv2.merge([labels] * 3), sketch.palette()[None])
    figure = Figure(np.asarray(flat, np.uint8), labels, sketch.groups, view.top * view.scale)
    _print(figure, UPPER, truth["upper_pattern"], upper, view.scale, rng)
    if "lower" in truth and rng.random() < 0.08:
        _print(figure, LOWER, ("striped", "plaid", "patterned")[int(rng.integers(3))], lower, view.scale, rng)
    return replace(figure, picture=camera.shade(figure.picture, labels, rng))


def _print(figure: Figure, group: str, kind: str, colour: Colour, scale: float, rng: np.random.Generator) -> None:
    """Lay a pattern in a second colour over a garment."""
    if kind == "plain":
        return
    height, width = figure.labels.shape
    second = colours.contrasting(colour, rng)
    variant = int(rng.integers(textures.PATTERN_COUNT))
    turn = {"striped": (0.0, 0.0, np.pi / 2)[int(rng.integers(3))], "plaid": rng.choice((0.0, 0.0, np.pi / 4))}.get(kind, rng.uniform(0, 6.3))
    zoom = 32 / (rng.uniform(0.034, 0.07) * scale)
    warp = np.float32([[np.cos(turn), -np.sin(turn), rng.uniform(0, 9)], [np.sin(turn), np.cos(turn), rng.uniform(0, 9)]]) * np.float32(zoom)
    share = cv2.warpAffine(
        textures.pattern(kind, variant), warp, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
    )
    share = cv2.bitwise_and(share, figure.mask(group))
    other = cv2.LUT(cv2.merge([figure.labels] * 3), np.array([[second]] * 256, np.uint8).reshape(1, 256, 3))
    weight = cv2.merge([share] * 3)
    mixed = cv2.add(
        cv2.multiply(figure.picture, cv2.bitwise_not(weight), scale=1 / 255), cv2.multiply(other, weight, scale=1 / 255)
    )
    figure.picture[:] = mixed


def render(attributes: Mapping[str, str], rng: np.random.Generator) -> Picture:
    """Render a crop of one pedestrian with these attributes.

    Args:
        attributes: Attribute -> value, in the vocabulary of ``attributes.VOCABULARY``.
        rng: Source of chance; decides everything that the attributes leave open.

    Returns:
        The crop, RGB uint8 (h, w, 3), 60 to 200 rows, 1.9 to 3.2 times as high as wide.

    Raises:
        KeyError: An attribute is missing or has a value outside the vocabulary.
    """
    height = round(60 * (200 / 60) ** rng.random())
    figure = draw_person(attributes, min(256, max(130, round(height * 1.8))), rng)
    rows, columns = figure.labels.shape
    width = max(19, round(height * columns / rows))
    # Outside the person the figure is black, so that area averaging gives it weighted with its own coverage.
    person = cv2.resize(figure.picture, (width, height), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(cv2.compare(figure.labels, 0, cv2.CMP_GT), (width, height), interpolation=cv2.INTER_AREA)
    ground = figure.ground * height / rows
    picture = scene.draw_scene(height, width, ground, rng)
    scene.draw_shadow(picture, mask, ground, rng)
    picture = cv2.add(cv2.multiply(picture, cv2.merge([255 - mask] * 3), scale=1 / 255), person)
    return camera.capture(camera.expose(np.asarray(picture, np.uint8), rng), rng)


def render_sample(seed: int, index: int) -> tuple[Picture, dict[str, str]]:
    """The crop of a number in a series, and its truth; the same for the same seed and index, whatever was made before.

    Args:
        seed: Seed of the series.
        index: Number in the series, from 0.

    Returns:
        The crop, RGB uint8 (h, w, 3), and attribute -> value.
    """
    rng = np.random.default_rng((seed, index))
    truth = sample_attributes(rng)
    return render(truth, rng), truth
