"""CLIP, by open_clip: image features of crops, text features of prompts."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages import architectures
from stages.arrays import Features, Image
from stages.devices import pick_device, pick_dtype, set_threads
from stages.embed.config import EMBEDDED, EmbedConfig
from stages.pictures import squash
from stages.prefetch import ahead
from stages.resources import locate


class ClipModel:
    """A frozen CLIP with its preprocessing and its tokeniser.

    Args:
        config: The recipe's embed block; ``config.model`` may be a folder.

    Raises:
        ValueError: The architecture is unknown, or its weights are neither local nor can they be downloaded.
    """

    def __init__(self, config: EmbedConfig) -> None:
        import open_clip

        set_threads(config.threads)
        self.batch_size = config.batch_size
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.precision, self.device)
        folder = locate(config.model)
        self.name = f"local-dir:{folder}" if Path(folder).is_dir() else config.model
        weights = config.pretrained and locate(config.pretrained)
        # A name with a colon is an address: of a local folder or of a hub.
        if ":" not in self.name and not architectures.known(self.name):
            raise ValueError(
                f"embed.model {config.model!r} is neither an architecture of open_clip "
                f"({architectures.nearest(config.model)}, ...) nor a folder with a model, such as {EMBEDDED!r}"
            )
        try:
            model, _, _ = open_clip.create_model_and_transforms(self.name, pretrained=weights)
        # open_clip and the hub raise a dozen unrelated exception types here.
        except Exception as error:
            raise ValueError(_no_weights(config, error)) from error
        self.model = model.eval().to(self.device, self.dtype)
        self.preprocess = open_clip.get_model_preprocess_cfg(model)

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return int(self.encode_texts(["a person"]).shape[1])

    @property
    def logit_scale(self) -> float:
        """Factor on cosine similarities before a softmax, as trained."""
        return float(self.model.logit_scale.detach().exp())

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image tower's input."""
        size = self.preprocess["size"]
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def encode_images(self, images: Iterable[Image]) -> Features:
        """Image features of RGB crops.

        Args:
            images: uint8 arrays [H, W, 3] of any sizes, iterated in another thread. Each is squashed to the model's
                input; a crop is taller than wide, so the usual centre crop would cut off head and feet.

        Returns:
            float32 [N, D], rows of unit L2 norm.
        """
        # The next batch is decoded and resized while the model runs on this one: both release Python's lock.
        features = [self._encode_batch(sized) for sized in ahead(map(self._sized, batched(images, self.batch_size)))]
        return np.concatenate(features) if features else np.zeros((0, self.dim), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Features:
        """Text features of prompts: float32 [N, D], rows of unit L2 norm."""
        import open_clip
        import torch

        tokenizer = open_clip.get_tokenizer(self.name)
        parts = []
        for start in range(0, len(texts), self.batch_size):
            tokens = tokenizer(list(texts[start : start + self.batch_size])).to(self.device)
            with torch.inference_mode():
                parts.append(self.model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return np.concatenate(parts)

    def _encode_batch(self, sized: npt.NDArray[np.uint8]) -> Features:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(sized).to(self.device).permute(0, 3, 1, 2).to(self.dtype)
            mean, std = (pixels.new_tensor(self.preprocess[key])[:, None, None] * 255 for key in ("mean", "std"))
            features = self.model.encode_image(pixels.sub_(mean).div_(std), normalize=True)
            return np.asarray(features.float().cpu().numpy())

    def _sized(self, images: Sequence[Image]) -> npt.NDArray[np.uint8]:
        height, width = self.image_size
        sized = np.empty((len(images), height, width, 3), np.uint8)
        for image, target in zip(images, sized, strict=True):
            squash(image, height, width, out=target)
        return sized


def batched(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    """Lists of ``size`` images; the last may be shorter."""
    source = iter(images)
    while batch := list(islice(source, size)):
        yield batch


def _no_weights(config: EmbedConfig, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"embed.model {config.model!r} with embed.pretrained {config.pretrained!r} could not be loaded: {first}. "
        "If no model hub can be reached, give a local weights file as embed.pretrained, or a model folder such as "
        f"{EMBEDDED!r} with embed.pretrained null"
    )
