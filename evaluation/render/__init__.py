"""Rendered pedestrians with known attributes: the images on which the embedded CLIP is trained and tested.

``render_sample(seed, index)`` returns a crop and its attributes; ``rendered_crops.render_table`` returns a manifest.
"""

from evaluation.render.drawn_attributes import VOCABULARY, sample_attributes
from evaluation.render.person import render, render_sample

__all__ = ["VOCABULARY", "render", "render_sample", "sample_attributes"]
