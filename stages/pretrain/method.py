"""The protocol between the training loop and a pre-training method."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import pyarrow as pa
import torch
from torch import nn

from stages.pretrain.config import PretrainConfig

Row = Mapping[str, Any]
"""One crop of the manifest: the values of ``Method.columns``."""
Tensors = dict[str, torch.Tensor]
"""A batch, or the figures of a step, by name."""

Sample = TypeVar("Sample")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where training stands when a step begins; the same after a resumption."""

    step: int
    """Optimiser steps done."""
    epoch: int
    """Pass over the training split, from 0."""
    rank: int
    """This worker, from 0."""
    seed: int
    """``pretrain.seed``."""

    def generator(self) -> torch.Generator:
        """Random numbers that follow from seed, worker and step, so that a resumed run draws the same ones."""
        # PyTorch's CPU generator uses 32 bits of its seed: with rank and seed in higher bits, all workers hid the same
        # words. Odd factors set the workers' and seeds' sequences far apart.
        mixed = self.step + self.rank * 0x85EBCA6B + self.seed * 0x9E3779B1
        return torch.Generator().manual_seed(mixed & 0xFFFFFFFF)


class Method(Protocol[Sample]):
    """A way to pre-train: a model, what it reads, its losses, its evaluation and its export.

    The loop does everything else: order and shares of the data, decoding ahead in threads, device, mixed precision,
    optimiser, schedule, gradient clipping, DistributedDataParallel, checkpoints, reports. It constructs the method
    after seeding PyTorch, so first weights follow from ``pretrain.seed``.
    """

    columns: ClassVar[tuple[str, ...]]
    """Columns of the manifest that ``sample`` reads; ``crop_id`` is one of them."""
    evaluation_columns: ClassVar[tuple[str, ...]]
    """Columns that ``evaluate`` reads; empty if the method has no evaluation."""

    def __init__(self, config: PretrainConfig) -> None: ...

    @property
    def module(self) -> nn.Module:
        """The model that is trained, with all parts that follow it to the device (a key encoder, a queue as buffer)."""
        ...

    def sample(self, row: Row, rng: random.Random) -> Sample | None:
        """Decode and augment one crop; called from several threads.

        Args:
            row: Values of ``columns``.
            rng: Random numbers that follow from seed, epoch and crop_id. Nothing else may decide the sample.

        Returns:
            What ``collate`` needs; None for a crop that cannot be used, which is counted and replaced by the next.
        """
        ...

    def collate(self, samples: Sequence[Sample]) -> Tensors:
        """Tensors of a step, on the CPU; the loop moves them to the device. Called in the loader's thread."""
        ...

    def losses(self, model: nn.Module, batch: Tensors, moment: Moment) -> Tensors:
        """Forward pass of a step.

        Args:
            model: ``module``, wrapped for several workers; gradients are averaged if its ``forward`` is called.
            batch: From ``collate``, on the device.
            moment: Where training stands.

        Returns:
            ``loss``, the scalar to minimise, and further scalars to report under their names.
        """
        ...

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether ``pretrain.weight_decay`` applies to a parameter of ``module``."""
        ...

    def evaluate(self, stream: Iterable[pa.RecordBatch], device: str) -> dict[str, float]:
        """Metrics on a split, by name. Called in the first worker, in inference mode, with ``module.eval()``.

        Args:
            stream: Record batches with ``evaluation_columns``.
            device: Where ``module`` is.
        """
        ...

    def export(self, directory: Path) -> Path:
        """Write what users load after the training; called once in the first worker. Returns the folder or file."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything of the method that a checkpoint must hold: that of ``module``, and state outside of it."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Restore ``state_dict``."""
        ...
