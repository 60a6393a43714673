"""Contrastive training of an image and a text tower on crops and captions, with masked language modelling if asked.

CLIP (Radford et al., ICML 2021) in the form that UniPT (ICCV 2023) gives it for person re-identification.
"""

import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
import torch
from torch import nn

from stages.pictures import decode, squash
from stages.pretrain.config import PretrainConfig
from stages.pretrain.images import Image, augment
from stages.pretrain.losses import contrastive_loss, mask_tokens, mlm_loss
from stages.pretrain.method import Moment, Row, Tensors
from stages.pretrain.retrieval import evaluate
from stages.pretrain.two_towers import Outputs, TwoTowers, export, special_tokens


class Sample(NamedTuple):
    """A crop and the captions that one step reads of it."""

    image: Image
    captions: list[str]


class Clip:
    """The method ``clip``; see ``stages.pretrain.method.Method``."""

    columns: ClassVar[tuple[str, ...]] = ("crop_id", "jpeg", "captions")
    evaluation_columns: ClassVar[tuple[str, ...]] = (*columns, "attributes")

    def __init__(self, config: PretrainConfig) -> None:
        self.config, self.module = config, TwoTowers(config)
        self.inputs = self.module.inputs()
        self.special = special_tokens(self.inputs.tokenize)

    def sample(self, row: Row, rng: random.Random) -> Sample | None:
        """Augmented image and chosen captions; None without a readable JPEG or without captions."""
        image = decode(row["jpeg"] or b"")
        if image is None or not row["captions"]:
            return None
        captions = choose(row["captions"], self.config, rng)
        return Sample(squash(augment(image, self.config.augment, rng), self.inputs.height, self.inputs.width), captions)

    def collate(self, samples: Sequence[Sample]) -> Tensors:
        """Tensors of a step, with every distinct text tokenised once.

        Returns:
            ``images``: float32 [B, 3, H, W], normalised.
            ``tokens``: int64 [U, L], one row per distinct text.
            ``keys``: int64 [U], digest of the text, the same on every worker.
            ``texts``: int64 [B, K], row in ``tokens`` of the k-th caption of each crop.
        """
        places: dict[str, int] = {}
        index = [[places.setdefault(text, len(places)) for text in sample.captions] for sample in samples]
        return {
            "images": self.inputs.pixels([sample.image for sample in samples]),
            "tokens": self.inputs.tokenize(list(places)),
            "keys": torch.tensor([_key(text) for text in places]),
            "texts": torch.tensor(index),
        }

    def losses(self, model: nn.Module, batch: Tensors, moment: Moment) -> Tensors:
        """Contrastive loss, masked language modelling and the temperature."""
        tokens, mlm = batch["tokens"], self.config.mlm
        masked = hidden = None
        if self.module.head is not None:
            masked, hidden = mask_tokens(
                tokens, self.special, self.module.vocabulary, mlm.probability, moment.generator()
            )
        outputs: Outputs = model(batch["images"], tokens, masked, hidden)
        losses = {"contrastive": self._contrastive(outputs, batch["texts"], batch["keys"])}
        total = losses["contrastive"]
        if outputs.words is not None and hidden is not None:
            losses["mlm"] = mlm_loss(outputs.words, tokens[hidden])
            total = total + mlm.weight * losses["mlm"]
        return {"loss": total, **losses, "temperature": 1 / outputs.scale}

    def _contrastive(self, outputs: Outputs, texts: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        parts = [
            contrastive_loss(
                outputs.image,
                outputs.text[own],
                outputs.scale,
                keys[own],
                equal_texts=self.config.equal_texts,
                gathered=self.config.gather_negatives,
            )
            for own in texts.unbind(1)
        ]
        return torch.stack(parts).mean()

    def decays(self, name: str, parameter: nn.Parameter) -> bool:  # noqa: ARG002 - the protocol's signature
        """Matrices decay; biases, norms, the class token and the temperature do not."""
        return parameter.ndim >= 2

    def evaluate(self, stream: Iterable[pa.RecordBatch], device: str) -> dict[str, float]:
        """Text-to-image retrieval."""
        return evaluate(self.module, self.inputs, stream, device=device, size=self.config.eval_batch_size)

    def export(self, directory: Path) -> Path:
        """A model folder that open_clip loads."""
        return export(self.module, directory)

    def state_dict(self) -> dict[str, Any]:
        """Weights of both towers, the logit scale and the head for masked language modelling."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Restore them."""
        return self.module.load_state_dict(state)


def choose(captions: Sequence[str], config: PretrainConfig, rng: random.Random) -> list[str]:
    """The captions that a step reads of a crop; a crop with fewer repeats its own."""
    ordered = list(captions) if config.caption_order == "stored" else rng.sample(list(captions), len(captions))
    return [ordered[index % len(ordered)] for index in range(config.captions_per_crop)]


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
