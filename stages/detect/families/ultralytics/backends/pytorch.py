"""The detector in PyTorch: on a GPU, and on a CPU if no faster backend is installed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.config import DetectConfig
from stages.detect.families.ultralytics.backends.letterbox import Letterbox
from stages.devices import pick_detector_dtype


class TorchBackend:
    """Runs a model in PyTorch. On a GPU images are copied as bytes; letterbox and conversion happen there."""

    name = "torch"

    def __init__(self, path: Path, config: DetectConfig, device: str) -> None:
        from stages.detect.families.ultralytics.backends.persons import load_persons

        self._device = device
        self._floor = config.confidence_floor
        self._model = model = load_persons(path, config.model, device, pick_detector_dtype(config.precision, device))
        self.final, self.knows_objects, self.square = model.final, model.knows_objects, model.square

    def __call__(self, images: Sequence[Image], letterbox: Letterbox) -> list[Boxes]:
        """Candidates of each image."""
        import torch

        with torch.inference_mode():
            found = self._model(self._canvases(images, letterbox))
            above = found[..., 4] > self._floor
            counts = above.sum(1).tolist()
            rows = found[above].cpu().numpy()
        return np.split(rows, np.cumsum(counts)[:-1])

    def _canvases(self, images: Sequence[Image], letterbox: Letterbox) -> "torch.Tensor":  # type: ignore[name-defined]  # noqa: F821
        import torch

        if self._device == "cpu":
            return torch.from_numpy(letterbox.place(images))
        pixels = torch.from_numpy(np.stack(images)).pin_memory()
        return letterbox.place_tensor(pixels.to(self._device, non_blocking=True))
