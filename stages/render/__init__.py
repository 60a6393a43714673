"""Rendered pedestrians with known attributes: the pictures on which the embedded CLIP is trained and checked.

``render_sample(seed, index)`` gives a crop and its truth, ``stages.render.table`` gives them as a manifest.
"""

from stages.render.attributes import VOCABULARY, sample_attributes
from stages.render.person import render, render_sample

__all__ = ["VOCABULARY", "render", "render_sample", "sample_attributes"]
