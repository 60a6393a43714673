"""The choice of the backend that runs a detector."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.config import BackendName, DetectConfig
from stages.detect.families.ultralytics.backends.exported import ExportError
from stages.detect.families.ultralytics.backends.letterbox import Letterbox

log = logging.getLogger("reidforge")

# Packages that each backend needs.
_NEEDS = {"torch": (), "onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}


class Backend(Protocol):
    """A loaded detector.

    Attributes:
        name: As in the recipe.
        final: Whether duplicates are suppressed already.
        knows_objects: Whether the model knows objects besides persons.
        square: Whether the model takes square canvases only.
    """

    name: str
    final: bool
    knows_objects: bool
    square: bool

    def __call__(self, images: Sequence[Image], letterbox: Letterbox) -> list[Boxes]:
        """Candidates of each image.

        Args:
            images: uint8 [H, W, 3] each, BGR, all of the letterbox's source size.
            letterbox: Where they lie on their canvases.

        Returns:
            For each image float32 [n, 6]: x1, y1, x2, y2 on the canvas, the score, above the floor, and the kind as
            ``stages.detect.suppress`` numbers them.
        """


def pick_backend(config: DetectConfig, device: str) -> BackendName:
    """The backend that a recipe selects on a device.

    ``auto`` is ONNX Runtime for fp32 on a CPU, where it takes two thirds of PyTorch's time, and PyTorch otherwise.

    Raises:
        ValueError: The backend is not installed, or cannot do what the recipe asks for.
    """
    exact = config.precision in ("auto", "fp32")
    if config.backend == "auto":
        exportable = device == "cpu" and exact and Path(config.model).suffix == ".pt"
        return "onnx" if exportable and not _missing("onnx") else "torch"
    if config.backend == "torch":
        return "torch"
    _check(config, device, exact=exact)
    return config.backend


def load_backend(path: Path, config: DetectConfig, device: str) -> Backend:
    """Load the detector with the backend that the recipe selects.

    Args:
        path: Weights, their digest checked.
        config: Backend, precision, threads.
        device: "cpu" or "cuda".

    Raises:
        ValueError: As ``pick_backend``; or the weights are not those of a person detector.
    """
    from stages.detect.families.ultralytics.backends.onnx import OnnxBackend
    from stages.detect.families.ultralytics.backends.openvino import OpenvinoBackend
    from stages.detect.families.ultralytics.backends.pytorch import TorchBackend

    backend = pick_backend(config, device)
    if backend == "openvino":
        return OpenvinoBackend(path, config)
    if backend == "onnx":
        try:
            return OnnxBackend(path, config)
        except ExportError as error:
            if config.backend != "auto":
                raise
            log.warning("%s; PyTorch runs it instead", error)
    return TorchBackend(path, config, device)


def _missing(backend: str) -> list[str]:
    return [package for package in _NEEDS[backend] if importlib.util.find_spec(package) is None]


def _check(config: DetectConfig, device: str, *, exact: bool) -> None:
    asked = f"detect.backend {config.backend}"
    if missing := _missing(config.backend):
        raise ValueError(f"{asked} needs {' and '.join(missing)}: pip install {' '.join(missing)}, or set it to torch")
    if device != "cpu":
        raise ValueError(f"{asked} runs on a CPU only; set detect.device: cpu, or detect.backend: torch for the GPU")
    if not exact:
        raise ValueError(f"{asked} computes in fp32; set detect.precision: fp32, or detect.backend: torch")
    if Path(config.model).suffix != ".pt":
        raise ValueError(
            f"{asked} starts from a .pt file, not {config.model}; set detect.backend: torch to run it as is"
        )
