"""One rendered pedestrian: from attributes to a crop like that of a surveillance camera."""

from collections.abc import Mapping

import cv2
import numpy as np

from evaluation.render import camera, scene
from evaluation.render.drawn_attributes import sample_attributes
from evaluation.render.figure import draw_figure
from evaluation.render.textures import Picture

_HEIGHT = (60, 200)
_CANVAS = (130, 256)


def render(attributes: Mapping[str, str], rng: np.random.Generator) -> Picture:
    """Render a crop of one pedestrian with these attributes.

    Args:
        attributes: Attribute -> value, in the vocabulary of ``attributes.VOCABULARY``.
        rng: Source of chance; decides everything that the attributes leave open.

    Returns:
        The crop, RGB uint8 (h, w, 3), 60 to 200 rows, about 1.9 to 3.2 times as high as wide.

    Raises:
        KeyError: An attribute is missing or has a value outside the vocabulary.
    """
    height = round(_HEIGHT[0] * (_HEIGHT[1] / _HEIGHT[0]) ** rng.random())
    figure = draw_figure(attributes, min(_CANVAS[1], max(_CANVAS[0], round(height * 1.8))), rng)
    rows, columns = figure.labels.shape
    width, ground = max(19, round(height * columns / rows)), figure.ground * height / rows
    # The figure is black outside the person, so area averaging leaves it weighted with its own coverage.
    person = cv2.resize(figure.picture, (width, height), interpolation=cv2.INTER_AREA)
    mask = np.asarray(cv2.resize(figure.mask, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    picture = scene.draw_scene(height, width, ground, rng)
    scene.draw_shadow(picture, mask, ground, rng)
    picture = np.asarray(cv2.add(cv2.multiply(picture, cv2.merge([255 - mask] * 3), scale=1 / 255), person), np.uint8)
    scene.draw_foreground(picture, rng)
    return camera.capture(camera.expose(picture, rng), rng)


def render_sample(seed: int, index: int) -> tuple[Picture, dict[str, str]]:
    """The crop of an index in a series, and its truth; they depend on seed and index only.

    Args:
        seed: Seed of the series.
        index: Number in the series, from 0.

    Returns:
        The crop, RGB uint8 (h, w, 3), and attribute -> value.
    """
    rng = np.random.default_rng((seed, index))
    truth = sample_attributes(rng)
    return render(truth, rng), truth
