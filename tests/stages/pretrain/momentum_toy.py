"""A second pre-training method: momentum contrast of two views on a small convolutional net, images only."""

import copy
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from stages.pictures import decode, squash
from stages.pretrain.config import PretrainConfig
from stages.pretrain.images import Image, augment, normalised
from stages.pretrain.method import Moment, Row, Tensors
from stages.pretrain.retrieval import retrieval_metrics

HALF = (0.5, 0.5, 0.5)
QUEUE = 20
TEMPERATURE = 0.2


class TwoEncoders(nn.Module):
    """The encoder that is trained, and its copy that follows it."""

    def __init__(self) -> None:
        super().__init__()
        # Dropout draws from PyTorch's own random numbers, which a checkpoint must hold, too.
        layers = (nn.Conv2d(3, 8, 5, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.query = nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(32, 8))
        self.key = copy.deepcopy(self.query).requires_grad_(False)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            for key, query in zip(self.key.parameters(), self.query.parameters(), strict=True):
                key.lerp_(query, 0.1)
            keys = F.normalize(self.key(second), dim=1)
        return F.normalize(self.query(first), dim=1), keys


class Momentum:
    """MoCo (He et al., CVPR 2020), small. Its queue is outside the module, as state of its own."""

    columns: ClassVar[tuple[str, ...]] = ("crop_id", "jpeg")
    evaluation_columns: ClassVar[tuple[str, ...]] = ("jpeg", "captions")

    def __init__(self, config: PretrainConfig) -> None:
        self.config, self.module = config, TwoEncoders()
        self.queue = F.normalize(torch.randn(QUEUE, 8), dim=1)

    def sample(self, row: Row, rng: random.Random) -> list[Image] | None:
        assert set(row) == set(self.columns)
        image = decode(row["jpeg"] or b"")
        if image is None:
            return None
        return [squash(augment(image, self.config.augment, rng), 32, 16) for _ in range(2)]

    def collate(self, samples: Sequence[list[Image]]) -> Tensors:
        first, second = zip(*samples, strict=True)
        return {"first": normalised(first, HALF, HALF), "second": normalised(second, HALF, HALF)}

    def losses(self, model: nn.Module, batch: Tensors, moment: Moment) -> Tensors:
        query, key = model(batch["first"], batch["second"])
        positive, negative = (query * key).sum(dim=1, keepdim=True), query @ self.queue.T
        logits = torch.cat([positive, negative], dim=1) / TEMPERATURE
        self.queue = torch.cat([key, self.queue])[:QUEUE]
        loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
        return {"loss": loss, "similarity": positive.mean(), "at_step": torch.tensor(moment.step)}

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        return True

    def evaluate(self, stream: Iterable[pa.RecordBatch], device: str) -> dict[str, float]:
        assert not self.module.training
        assert not torch.is_grad_enabled()
        rows = [row for batch in stream for row in batch.to_pylist()]
        images = [image for image in (decode(row["jpeg"]) for row in rows) if image is not None]
        features = self.module.query(normalised([squash(image, 32, 16) for image in images], HALF, HALF))
        same = np.array([[one["captions"] == other["captions"] for other in rows] for one in rows])
        others = ~np.eye(len(rows), dtype=bool)
        similarity = F.normalize(features, dim=1) @ F.normalize(features, dim=1).T
        found = retrieval_metrics(np.where(others, similarity.numpy(), -2.0), same & others)
        return found | {"gallery": float(len(rows))}

    def export(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        torch.save(self.module.query.state_dict(), directory / "encoder.pt")
        return directory

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "queue": self.queue}

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        self.queue = state["queue"]
        return self.module.load_state_dict(state["module"])
