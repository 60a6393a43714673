"""From Arrow record batches of a manifest to the tensors of a training step."""

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from stages.arrays import Image
from stages.pictures import decode, squash
from stages.pretrain.config import AugmentConfig, PretrainConfig


class Row(NamedTuple):
    """One crop of the manifest."""

    crop_id: str
    jpeg: bytes
    captions: Sequence[str]


@dataclass(frozen=True)
class Inputs:
    """What a model takes: input size, normalisation and tokeniser."""

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokenize: Any
    """Sequence of texts -> int64 [N, L]."""

    def pixels(self, images: Sequence[Image]) -> torch.Tensor:
        """uint8 [H, W, 3] each, already of the input's size -> float32 [N, 3, H, W], normalised."""
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return stacked.sub_(mean).div_(std)


@dataclass(frozen=True)
class Batch:
    """One training step's worth of crops; a text that several crops bear is held once."""

    images: torch.Tensor
    """float32 [B, 3, H, W], normalised."""
    tokens: torch.Tensor
    """int64 [U, L], one row per distinct text."""
    keys: torch.Tensor
    """int64 [U], digest of the text, the same on every worker."""
    texts: torch.Tensor
    """int64 [B, K], row in ``tokens`` of the k-th caption of each crop."""
    position: int
    """Rows taken from the epoch's stream so far, unreadable ones counted."""
    unreadable: tuple[str, ...]
    """crop_id of those taken for this batch that could not be decoded or have no caption."""


def rows_of(stream: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    """Rows of record batches with the columns crop_id, jpeg and captions."""
    for batch in stream:
        columns = (batch.column(name).to_pylist() for name in Row._fields)
        for crop_id, jpeg, captions in zip(*columns, strict=True):
            yield Row(crop_id, jpeg or b"", captions or ())


def shuffled(rows: Iterator[Row], size: int, seed: str) -> Iterator[Row]:
    """The rows in random order, as far as a buffer of ``size`` rows allows."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    held = list(islice(rows, size))
    for row in rows:
        index = rng.randrange(len(held))
        drawn, held[index] = held[index], row
        yield drawn
    rng.shuffle(held)
    yield from held


def augment(image: Image, config: AugmentConfig, rng: random.Random) -> Image:
    """A random part of the crop, mirrored or not, with its colours changed if the configuration says so."""
    area, stretch = rng.uniform(config.crop_scale_min, 1.0), rng.uniform(-1.0, 1.0)
    shape = math.exp(stretch * (1.0 - config.crop_scale_min) / 2)
    shares = (min(1.0, math.sqrt(area) * shape), min(1.0, math.sqrt(area) / shape))
    spans = [max(1, round(side * share)) for side, share in zip(image.shape[:2], shares, strict=True)]
    top, left = (rng.randint(0, side - span) for side, span in zip(image.shape[:2], spans, strict=True))
    part = image[top : top + spans[0], left : left + spans[1]]
    if rng.random() < 0.5 and config.hflip:
        part = part[:, ::-1]
    return _jitter(part, config.colour_jitter, rng) if config.colour_jitter else np.ascontiguousarray(part)


def _jitter(image: Image, strength: float, rng: random.Random) -> Image:
    brightness, contrast, saturation = (1 + rng.uniform(-strength, strength) for _ in range(3))
    pixels = image.astype(np.float32) * brightness
    pixels = (pixels - pixels.mean()) * contrast + pixels.mean()
    grey = pixels.mean(axis=2, keepdims=True)
    changed: Image = np.clip((pixels - grey) * saturation + grey, 0, 255).astype(np.uint8)
    return changed


def choose(captions: Sequence[str], config: PretrainConfig, rng: random.Random) -> list[str]:
    """The captions that a step reads; a crop with fewer repeats its own."""
    ordered = list(captions) if config.caption_order == "stored" else rng.sample(list(captions), len(captions))
    return [ordered[index % len(ordered)] for index in range(config.captions_per_crop)]


def batches(
    rows: Iterator[Row], config: PretrainConfig, inputs: Inputs, *, size: int, epoch: int, skip: int = 0
) -> Iterator[Batch]:
    """Training batches from rows that are already in order.

    Every random choice about a crop follows from (seed, epoch, crop_id) alone, so neither the order of the stream
    nor an interruption changes it. An incomplete last batch is left out.

    Args:
        rows: Rows of one epoch.
        config: Augmentation, captions, seed.
        inputs: What the model takes.
        size: Crops in a batch.
        epoch: Number of the pass, from 0.
        skip: Rows to pass over undecoded: ``Batch.position`` of the last batch that was trained on.

    Yields:
        Batches of exactly ``size`` crops.
    """
    position = skip
    kept: list[tuple[Image, list[str]]] = []
    unreadable: list[str] = []
    with ThreadPoolExecutor(config.loader_threads) as pool:
        remaining = islice(rows, skip, None)
        while taken := list(islice(remaining, size - len(kept))):
            # Only what still lacks is taken, so the position is known exactly when a batch is full.
            position += len(taken)
            samples = pool.map(lambda row: _sample(row, config, inputs, epoch), taken)
            for row, sample in zip(taken, samples, strict=True):
                if sample is None:
                    unreadable.append(row.crop_id)
                else:
                    kept.append(sample)
            if len(kept) == size:
                yield _collate(kept, inputs, position, tuple(unreadable))
                kept, unreadable = [], []


def _sample(row: Row, config: PretrainConfig, inputs: Inputs, epoch: int) -> tuple[Image, list[str]] | None:
    image = decode(row.jpeg)
    if image is None or not row.captions:
        return None
    rng = random.Random(f"{config.seed}/{epoch}/{row.crop_id}")  # noqa: S311 - not for secrets
    texts = choose(row.captions, config, rng)
    return squash(augment(image, config.augment, rng), inputs.height, inputs.width), texts


def _collate(
    samples: Sequence[tuple[Image, list[str]]], inputs: Inputs, position: int, unreadable: tuple[str, ...]
) -> Batch:
    images, texts = zip(*samples, strict=True)
    places: dict[str, int] = {}
    index = [[places.setdefault(text, len(places)) for text in chosen] for chosen in texts]
    keys, tokens = torch.tensor([_key(text) for text in places]), inputs.tokenize(list(places))
    return Batch(inputs.pixels(images), tokens, keys, torch.tensor(index), position, unreadable)


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
