"""Device, number format and threads of models, chosen in one place."""

import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


def pick_device(device: Device) -> str:
    """``auto`` becomes ``cuda`` if PyTorch finds a GPU, else ``cpu``."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_dtype(precision: Precision, device: str) -> "torch.dtype":
    """``auto`` becomes bf16 on a GPU and fp32 on a CPU."""
    import torch

    if precision == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def pick_detector_dtype(precision: Precision, device: str) -> "torch.dtype":
    """As ``pick_dtype``, for models that locate persons: ``auto`` becomes fp16 on a GPU.

    docs/speed.md, "Half precision", says how far boxes and scores may differ from those of fp32.
    """
    # fp16 rounds to an eighth of bf16's error, at equal speed.
    return pick_dtype("fp16" if precision == "auto" and device != "cpu" else precision, device)


def set_threads(threads: int) -> None:
    """Set the threads of OpenCV, and of PyTorch if it is loaded, to ``threads`` each.

    Ray starts actors with OMP_NUM_THREADS=1, and OpenCV takes every core it finds; both would be wrong by accident.
    """
    import cv2

    cv2.setNumThreads(threads)
    # Importing PyTorch takes seconds and half a gigabyte; processes that run a model without it must not pay for that.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
