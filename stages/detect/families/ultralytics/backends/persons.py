"""A detection model of ultralytics, reduced to persons and objects near them: PyTorch runs it, or exports it.

Importing this module imports PyTorch, so backends do so only when they need it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stages.detect.objects import object_classes
from stages.detect.suppress import PERSON

_PERSON = 0  # COCO's first class
_NEITHER = -1
_TASKS = ("detect", "pose", "segment")


class Persons(torch.nn.Module):
    """Canvases in, persons and objects out.

    Args:
        model: A detection model of ultralytics, in evaluation mode.
        kinds: Kind of each of its classes.
        final: Whether it suppresses duplicates itself.
        square: Whether it accepts square canvases only.

    Attributes:
        final: As given.
        square: As given.
        knows_objects: Whether it knows objects besides persons.
    """

    kinds: torch.Tensor

    def __init__(self, model: Any, kinds: list[int], *, final: bool, square: bool) -> None:
        super().__init__()
        self.model, self.final, self.square = model, final, square
        self.knows_objects = max(kinds) > PERSON
        self.register_buffer("kinds", torch.tensor(kinds, dtype=torch.float32))
        self.dtype = next((weights.dtype for weights in model.parameters()), torch.float32)

    def forward(self, canvases: torch.Tensor) -> torch.Tensor:
        """Find persons and objects.

        Args:
            canvases: uint8 [B, H, W, 3], BGR.

        Returns:
            float32 [B, N, 6]: x1, y1, x2, y2 in pixels of the canvas, the score and the kind; the score is 0 where
            another class has a higher one.
        """
        pixels = canvases.permute(0, 3, 1, 2).flip(1).to(self.dtype) / 255
        found = self.model(pixels)
        while isinstance(found, tuple | list):
            found = found[0]
        return self._ready(found.float()) if self.final else self._decoded(found.float())

    def _ready(self, found: torch.Tensor) -> torch.Tensor:
        """From [B, N, 6]: xyxy, score, class."""
        return self._looked_for(found[..., :4], found[..., 4:5], found[..., 5:6].long())

    def _decoded(self, found: torch.Tensor) -> torch.Tensor:
        """From [B, 4 + classes, N]: centre and size, scores."""
        centre, half = found[:, :2], found[:, 2:4] / 2
        score, number = found[:, 4 : 4 + len(self.kinds)].max(1, keepdim=True)
        corners = torch.cat((centre - half, centre + half), 1)
        return self._looked_for(corners.transpose(1, 2), score.transpose(1, 2), number.transpose(1, 2))

    def _looked_for(self, corners: torch.Tensor, score: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
        kind = self.kinds[number]
        return torch.cat((corners, torch.where(kind >= PERSON, score, 0.0), kind), 2)


def load_persons(path: Path, name: str, device: str, dtype: torch.dtype) -> Persons:
    """Load a detector, fused, in channels-last memory.

    Args:
        path: Weights; any format that ultralytics runs.
        name: What the recipe calls them, for messages.
        device: "cpu" or "cuda".
        dtype: Number format of the layers; boxes are decoded in fp32 whatever it is.

    Returns:
        The detector, in evaluation mode.

    Raises:
        ValueError: The model does not detect persons.
    """
    os.environ.setdefault("YOLO_VERBOSE", "False")
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    from ultralytics.nn.autobackend import AutoBackend

    # Without end2end ultralytics predicts by the one-to-many head and suppresses duplicates; so do we.
    loaded = AutoBackend(str(path), device=torch.device(device), verbose=False, end2end=False)
    task = getattr(loaded.model, "task", None) or loaded.task
    if task not in _TASKS or loaded.names.get(_PERSON) != "person":
        raise ValueError(f"detect.model {name}: it is a {task} model of {loaded.names}; class 0 must be person")
    plain = loaded.format == "pt"
    model = loaded.model if plain else loaded
    if plain:
        model.to(dtype=dtype, memory_format=torch.channels_last)
        if dtype != torch.float32:
            _decode_in_full(model.model[-1])
    return Persons(model.eval(), _kinds(loaded.names), final=loaded.end2end, square=not (plain or loaded.dynamic))


def _kinds(names: Mapping[int, str]) -> list[int]:
    """Kind of each class, as ``stages.detect.suppress`` numbers them; ``_NEITHER`` for other classes."""
    objects = {number: position + 1 for number, position in object_classes(names).items()}
    return [objects.get(number, _NEITHER) if number != _PERSON else PERSON for number in range(len(names))]


def _decode_in_full(head: Any) -> None:
    """Let the head decode boxes in fp32: in fp16 a coordinate of 640 pixels moves in steps of half a pixel."""
    decode = head._inference  # noqa: SLF001 - the only seam between layers and decoding

    def in_full(found: dict[str, Any]) -> torch.Tensor:
        # The head reads only shape and number format of the feature maps.
        features = [feature[:, :1].float() for feature in found["feats"]]
        rest = {name: value.float() for name, value in found.items() if name != "feats"}
        return decode({**rest, "feats": features})  # type: ignore[no-any-return]

    head._inference = in_full  # noqa: SLF001
