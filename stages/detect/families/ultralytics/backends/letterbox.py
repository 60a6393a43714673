"""Letterbox: scales an image onto the model's input canvas, and maps boxes back to the image.

The geometry is that of ultralytics' ``predict``: the longer side becomes ``size``, the shorter is padded to the next
multiple of the stride, so the input of a 768x576 image is 640x480, not 640x640.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from stages.arrays import Image

if TYPE_CHECKING:
    import torch


_STRIDE = 32
_GREY = 114  # the padding that YOLO models are trained with

# Ultralytics rounds half a padding pixel up on one side and down on the other.
_HAIR = 0.1


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies on its canvas; all in pixels."""

    source: tuple[int, int]
    """Height and width of the image."""
    scaled: tuple[int, int]
    """Height and width of the image on the canvas."""
    origin: tuple[int, int]
    """Row and column of its upper left corner on the canvas."""
    canvas: tuple[int, int]
    """Height and width of the canvas."""

    @classmethod
    def fit(cls, source: tuple[int, int], size: int, *, square: bool = False) -> Self:
        """The letterbox of an image of height and width ``source``; ``square`` pads both sides to ``size``."""
        gain = min(size / side for side in source)
        height, width = (max(round(side * gain), 1) for side in source)
        down, across = ((size - side) % (size + 1 if square else _STRIDE) / 2 for side in (height, width))
        top, left = round(down - _HAIR), round(across - _HAIR)
        canvas = (height + top + round(down + _HAIR), width + left + round(across + _HAIR))
        return cls(source, (height, width), (top, left), canvas)

    def place(self, images: Sequence[Image]) -> Image:
        """Images on their canvases: uint8 [B, H, W, 3], channels in the order of the images."""
        import cv2

        batch = np.full((len(images), *self.canvas, 3), _GREY, np.uint8)
        rows, columns = self._window()
        for canvas, image in zip(batch, images, strict=True):
            if image.shape[:2] == self.scaled:
                canvas[rows, columns] = image
            else:
                cv2.resize(image, self.scaled[::-1], dst=canvas[rows, columns])
        return batch

    def place_tensor(self, images: "torch.Tensor") -> "torch.Tensor":
        """``place`` on the tensor's device, uint8 [B, h, w, 3] to uint8 [B, H, W, 3]; within one grey level of it."""
        import torch

        pixels = images.permute(0, 3, 1, 2).float()
        scaled = torch.nn.functional.interpolate(pixels, self.scaled, mode="bilinear", align_corners=False)
        batch = images.new_full((len(images), *self.canvas, 3), _GREY)
        rows, columns = self._window()
        batch[:, rows, columns] = scaled.round_().to(torch.uint8).permute(0, 2, 3, 1)
        return batch

    def undo(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes on the canvas (float32 [n, 4], xyxy) in pixels of the image, clipped to it."""
        (top, left), (height, width) = self.origin, self.source
        gain = np.array([self.scaled[1] / width, self.scaled[0] / height] * 2, np.float32)
        found = (boxes - np.array([left, top] * 2, np.float32)) / gain
        return found.clip(0, np.array([width, height] * 2, np.float32))

    def _window(self) -> tuple[slice, slice]:
        (top, left), (height, width) = self.origin, self.scaled
        return slice(top, top + height), slice(left, left + width)
