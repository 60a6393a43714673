"""A detector of ultralytics, reduced to persons: the module that PyTorch runs and that is exported."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PERSON = 0  # COCO's first class
_TASKS = ("detect", "pose", "segment")


def load_persons(path: Path, name: str, device: str, dtype: "torch.dtype") -> "torch.nn.Module":
    """Load a detector, fused, in channels-last memory.

    Args:
        path: Weights; any format that ultralytics runs.
        name: What the recipe calls them, for messages.
        device: "cpu" or "cuda".
        dtype: Number format of the layers; boxes are decoded in fp32 whatever it is.

    Returns:
        A ``Persons`` module.

    Raises:
        ValueError: It is no detector of persons.
    """
    import torch

    os.environ.setdefault("YOLO_VERBOSE", "False")
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    from ultralytics.nn.autobackend import AutoBackend

    # Without end2end ultralytics predicts by the one-to-many head and suppresses doubles; so do we.
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
    return _module(model.eval(), len(loaded.names), final=loaded.end2end, square=not (plain or loaded.dynamic))


def _module(model: Any, classes: int, *, final: bool, square: bool) -> "torch.nn.Module":
    """``Persons`` is defined in here so that this file can be imported without PyTorch."""
    import torch

    class Persons(torch.nn.Module):
        """Canvases in, persons out.

        Attributes:
            final: Whether doubles are suppressed already.
            square: Whether the model takes square canvases only.
        """

        def __init__(self) -> None:
            super().__init__()
            self.model, self.final, self.square = model, final, square
            self.dtype = next((weights.dtype for weights in model.parameters()), torch.float32)

        def forward(self, canvases: torch.Tensor) -> torch.Tensor:
            """Find persons.

            Args:
                canvases: uint8 [B, H, W, 3], BGR.

            Returns:
                float32 [B, N, 5]: x1, y1, x2, y2 in pixels of the canvas, and the score of a person; 0 where another
                class has a higher one.
            """
            pixels = canvases.permute(0, 3, 1, 2).flip(1).to(self.dtype) / 255
            found = self.model(pixels)
            while isinstance(found, tuple | list):
                found = found[0]
            return self._ready(found.float()) if final else self._decoded(found.float())

        def _ready(self, found: torch.Tensor) -> torch.Tensor:
            """From [B, N, 6]: xyxy, score, class."""
            score = torch.where(found[..., 5:6] == _PERSON, found[..., 4:5], 0.0)
            return torch.cat((found[..., :4], score), 2)

        def _decoded(self, found: torch.Tensor) -> torch.Tensor:
            """From [B, 4 + classes, N]: centre and size, scores."""
            centre, half, scores = found[:, :2], found[:, 2:4] / 2, found[:, 4 : 4 + classes]
            person = scores[:, _PERSON : _PERSON + 1]
            score = torch.where(person >= scores.amax(1, keepdim=True), person, 0.0)
            return torch.cat((centre - half, centre + half, score), 1).transpose(1, 2)

    return Persons()


def _decode_in_full(head: Any) -> None:
    """Let the head decode boxes in fp32: in fp16 a coordinate of 640 pixels moves in steps of half a pixel."""
    decode = head._inference  # noqa: SLF001 - the only seam between layers and decoding

    def in_full(found: dict[str, Any]) -> "torch.Tensor":
        # Of the feature maps only shape and number format are looked at.
        features = [feature[:, :1].float() for feature in found["feats"]]
        rest = {name: value.float() for name, value in found.items() if name != "feats"}
        return decode({**rest, "feats": features})  # type: ignore[no-any-return]

    head._inference = in_full  # noqa: SLF001
