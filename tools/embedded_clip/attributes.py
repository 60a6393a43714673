"""First half of the embedded CLIP's training: its image tower learns to classify attributes of rendered pedestrians.

Two small towers with random weights learn little from each other: the text tower does not know yet what words mean, so
it cannot teach the image tower what to look for. Labels can. The image tower is therefore first trained as a
classifier of every attribute (cosines with one vector per value, as CLIP will compare them later), each on the region
that it is read from and on the whole crop; the text tower is tuned to it afterwards.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import nn

from stages.caption.bank.bank import Bank
from stages.embed.config import Region
from stages.embed.regions import cut_region
from stages.heap import keep_freed_memory
from stages.pictures import decode
from stages.pretrain.config import PretrainConfig
from stages.pretrain.optimization import schedule
from stages.pretrain.two_towers import Inputs, TwoTowers, export
from tools.embedded_clip.texts import Truth

Pixels = npt.NDArray[np.uint8]

UNKNOWN = -100
SHIFT = 2
"""Largest random shift to either side, in pixels; twice as many up or down."""
SAVE_EVERY, PRINT_EVERY = 500, 100
CYCLE = PretrainConfig(warmup_share=0.1, decay="cosine")
"""Learning rate of each cycle: as in SGDR, after a warm-up over a tenth of the steps."""


class Classifier(nn.Module):
    """The towers' image side with one vector per value of every attribute."""

    def __init__(self, towers: TwoTowers, bank: Bank) -> None:
        super().__init__()
        self.visual, self.scale = towers.clip.visual, towers.clip.logit_scale
        dim = towers.spec["model_cfg"]["embed_dim"]
        self.values = nn.ParameterDict(
            {facet.name: nn.Parameter(torch.randn(len(facet.phrases), dim)) for facet in bank.facets}
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits [B, values] of every attribute for images float [B, 3, H, W]."""
        features = F.normalize(self.visual(images), dim=-1)
        scale = self.scale.exp().clamp(max=100.0)
        return {name: scale * features @ F.normalize(self.values[name], dim=-1).T for name in self.values}


class Crops:
    """Every region of every render at the model's size, and the labels."""

    def __init__(
        self,
        jpegs: Sequence[bytes],
        truths: Sequence[Truth],
        bank: Bank,
        inputs: Inputs,
        shown: Mapping[Region, float],
    ) -> None:
        self.inputs, self.count, self._shown = inputs, len(jpegs), shown
        self._pixels: list[Pixels] = [np.empty((len(jpegs), inputs.height, inputs.width, 3), np.uint8) for _ in shown]
        for row, jpeg in enumerate(jpegs):
            image = decode(jpeg)
            assert image is not None
            for region, pixels in zip(shown, self._pixels, strict=True):
                part = cut_region(image, region)
                cv2.resize(part, (inputs.width, inputs.height), dst=pixels[row], interpolation=cv2.INTER_AREA)
        self.labels = {facet.name: _labels(facet, truths) for facet in bank.facets}
        self._asked = {
            facet.name: np.array([region in ("whole", facet.block.region) for region in shown]) for facet in bank.facets
        }

    def batch(self, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Images and labels of one step.

        Every batch mixes all regions: with one region per batch, batch normalisation would learn statistics that no
        later batch has.

        Returns:
            float32 [size, 3, H, W], and for each attribute int64 [size], ``UNKNOWN`` where the region does not show it.
        """
        shares = np.array(list(self._shown.values()))
        regions = rng.choice(len(shares), size, p=shares / shares.sum())
        rows = rng.integers(0, self.count, size)
        pixels = np.stack([self._pixels[region][row] for region, row in zip(regions, rows, strict=True)])
        pixels[::2] = pixels[::2, :, ::-1]
        for image, (down, across) in zip(pixels, rng.integers(-SHIFT, SHIFT + 1, (size, 2)), strict=True):
            image[:] = np.roll(image, (2 * down, across), axis=(0, 1))
        labels = {
            name: torch.where(torch.from_numpy(self._asked[name][regions]), values[rows], UNKNOWN)
            for name, values in self.labels.items()
        }
        return self.inputs.pixels(list(pixels)).contiguous(memory_format=torch.channels_last), labels


def _labels(facet: Any, truths: Sequence[Truth]) -> torch.Tensor:
    places = {phrase.value: place for place, phrase in enumerate(facet.phrases)}
    return torch.tensor([places.get(truth.get(facet.name, ""), UNKNOWN) for truth in truths])


def teach(config: PretrainConfig, lessons: Mapping[str, Any], bank: Bank, crops: Crops, work: Path) -> Path:
    """Train the image tower as a classifier; resumes from the last checkpoint.

    Args:
        config: The model, its initial weights and the batch size.
        lessons: ``cycles``, each with its ``steps`` and highest ``learning_rate``; ``weight_decay``; ``threads``; and
            ``weights``, the factor of an attribute's loss where it is not 1.
        bank: Attributes and their values.
        crops: Renders, their attributes, and how often each region is drawn.
        work: Folder of the checkpoint and of the model.

    Returns:
        Folder of the model, the ``init`` of the next step.
    """
    keep_freed_memory()
    torch.set_num_threads(lessons["threads"])
    torch.manual_seed(config.seed)
    towers = TwoTowers(config)
    model = Classifier(towers, bank).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=lessons["weight_decay"])
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
    file, step = work / "lessons.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        step = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    started = time.monotonic()
    rates = _rates(lessons["cycles"])
    while step < len(rates):
        images, labels = crops.batch(config.batch_size, np.random.default_rng([config.seed, step]))
        losses = {
            name: F.cross_entropy(values, labels[name], ignore_index=UNKNOWN)
            for name, values in model(images).items()
            if (labels[name] != UNKNOWN).any()
        }
        loss = torch.stack([lessons["weights"].get(name, 1.0) * value for name, value in losses.items()]).sum()
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1
        if step % PRINT_EVERY == 0:
            shown = " ".join(f"{name}={value.item():.2f}" for name, value in losses.items())
            print(f"{time.monotonic() - started:7.1f} s lesson {step} {shown}", flush=True)
        if step % SAVE_EVERY == 0 or step == len(rates):
            work.mkdir(parents=True, exist_ok=True)
            state = {name: part.state_dict() for name, part in parts.items()} | {"step": step}
            torch.save(state, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
    return export(towers, work / "taught")


def _rates(cycles: Sequence[Mapping[str, Any]]) -> list[float]:
    """Learning rate of every step."""
    return [
        cycle["learning_rate"] * schedule(step, cycle["steps"], CYCLE)
        for cycle in cycles
        for step in range(cycle["steps"])
    ]
