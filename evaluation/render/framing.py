"""The camera's position, and the box that a detector puts around the person."""

from collections.abc import Mapping
from dataclasses import replace
from math import pi, radians

import numpy as np
from numpy.typing import NDArray

from evaluation.render.body import Pose
from evaluation.render.sketch import View

_ASPECT = (1.9, 3.2)
"""Least and greatest height divided by width of a crop."""

_MISSING_FEET = 0.08
"""Share of the crops that end above the feet."""

_Corner = NDArray[np.float64]


def choose_view(truth: Mapping[str, str], rng: np.random.Generator) -> View:
    """A camera that sees the attributes of the truth: in front for glasses and cigarettes, else anywhere."""
    yaw = rng.uniform(-pi, pi)
    if truth["glasses"] != "none" or truth["smoke"] != "none":
        yaw *= 0.42
    return View(yaw, radians(rng.uniform(0, 32)))


def frame(view: View, pose: Pose, truth: Mapping[str, str], size: int, rng: np.random.Generator) -> tuple[View, int]:
    """Put a detector's box around the person: never exactly tight, sometimes shifted.

    Args:
        view: The camera.
        pose: The body.
        truth: Attributes; a hat, an umbrella and a vehicle need room.
        size: Rows that the canvas shall have.
        rng: Source of chance.

    Returns:
        The view with its place on the picture plane, and the columns of the canvas.
    """
    low, high = _extent(view, pose, truth, rng)
    width, height = (high - low).tolist()
    left, bottom, right, top = rng.uniform(-0.02, 0.07, 4).tolist()
    if rng.random() < _MISSING_FEET:
        bottom -= rng.uniform(0.03, 0.14)
    low, high = low - np.array([left * width, bottom * height]), high + np.array([right * width, top * height])
    low, high = _bounded(low, high)
    scale = size / float(high[1] - low[1])
    return replace(view, scale=scale, left=float(low[0]), top=float(high[1])), max(
        24, round((high[0] - low[0]) * scale)
    )


def _extent(view: View, pose: Pose, truth: Mapping[str, str], rng: np.random.Generator) -> tuple[_Corner, _Corner]:
    """Lower left and upper right corner of the person with carried objects and vehicle, on the picture plane."""
    plane = view.plane(np.array(pose.extent()))
    low, high = plane.min(0) - np.array([0.03, 0.025]), plane.max(0) + np.array([0.03, 0.0])
    if truth["hat"] != "none":
        high[1] += 0.025
    if truth["umbrella"] != "none":
        low[0], high[0], high[1] = low[0] - 0.06, high[0] + 0.06, high[1] + rng.uniform(0.05, 0.17)
    if truth["vehicle"] != "none":
        low[0], high[0], low[1] = low[0] - rng.uniform(0, 0.15), high[0] + rng.uniform(0, 0.15), low[1] - 0.05
    return low, high


def _bounded(low: _Corner, high: _Corner) -> tuple[_Corner, _Corner]:
    """Extend the width or height of a box until its aspect is that of a crop."""
    width, height = (high - low).tolist()
    wider = max(0.0, height / _ASPECT[1] - width) / 2
    taller = max(0.0, width * _ASPECT[0] - height)
    return low - np.array([wider, taller * 0.35]), high + np.array([wider, taller * 0.65])
