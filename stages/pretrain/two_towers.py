"""Two towers from open_clip's own classes, with a head for masked language modelling."""

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import nn

from stages import architectures
from stages.pretrain.config import PretrainConfig
from stages.pretrain.images import Image, normalised
from stages.pretrain.losses import MASKED
from stages.resources import locate

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"


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
        return normalised(images, self.mean, self.std)


@dataclass(frozen=True)
class Outputs:
    """Result of one forward pass."""

    image: torch.Tensor
    """float [B, D] of unit norm."""
    text: torch.Tensor
    """float [U, D] of unit norm."""
    scale: torch.Tensor
    """Scalar, one over the temperature."""
    words: torch.Tensor | None
    """float [M, V], logits at the hidden words; None without masked language modelling."""


class MlmHead(nn.Module):
    """BERT's head: a small transform, then the token embedding itself as the output layer."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.mask = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, features: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Token features [M, W] and the embedding [V, W] to logits [M, V]."""
        logits: torch.Tensor = self.transform(features) @ embedding.T + self.bias
        return logits


class TwoTowers(nn.Module):
    """An open_clip model and, unless its weight is 0, the head for masked language modelling."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.spec = read_spec(config)
        self.clip = _build(self.spec, config)
        self.clip.logit_scale.requires_grad_(config.temperature.learnable)
        self.locked = config.lock_image
        if self.locked:
            self.clip.visual.requires_grad_(False)
        embedding = self._tower.token_embedding
        self.head = MlmHead(embedding.embedding_dim, embedding.num_embeddings) if config.mlm.weight else None

    @property
    def _tower(self) -> Any:
        return getattr(self.clip, "text", self.clip)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self._tower.token_embedding.num_embeddings)

    def train(self, mode: bool = True) -> "TwoTowers":
        """Set the mode; a locked image tower stays in evaluation mode, which keeps its running statistics."""
        super().train(mode)
        if self.locked:
            self.clip.visual.eval()
        return self

    def inputs(self) -> Inputs:
        """Input size, normalisation and tokeniser of the model."""
        height, width = _size(self.spec["model_cfg"])
        preprocess = self.spec["preprocess_cfg"]
        tokenizer = _tokenizer(self.spec["model_cfg"]["text_cfg"])
        return Inputs(height, width, tuple(preprocess["mean"]), tuple(preprocess["std"]), tokenizer)

    def forward(
        self,
        images: torch.Tensor,
        tokens: torch.Tensor,
        masked: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ) -> Outputs:
        """One pass of both towers.

        Args:
            images: float [B, 3, H, W].
            tokens: int64 [U, L], nothing hidden.
            masked: int64 [U, L], with ``MASKED`` where a word is hidden; only for masked language modelling.
            hidden: bool [U, L], where the loss is taken.
        """
        words = None
        if self.head is not None and masked is not None and hidden is not None:
            words = self.head(self._token_features(masked)[hidden], self._tower.token_embedding.weight)
        # 100 is CLIP's own limit; beyond it training diverges.
        scale = self.clip.logit_scale.exp().clamp(max=100.0)
        image = F.normalize(self.clip.encode_image(images).float(), dim=-1)
        return Outputs(image, F.normalize(self.clip.encode_text(tokens).float(), dim=-1), scale, words)

    def _token_features(self, tokens: torch.Tensor) -> torch.Tensor:
        tower, head = self._tower, self.head
        assert head is not None
        known = tokens != MASKED
        embedded = tower.token_embedding(tokens.where(known, torch.zeros_like(tokens)))
        embedded = torch.where(known[..., None], embedded, head.mask.to(embedded.dtype))
        embedded = embedded + tower.positional_embedding.to(embedded.dtype)
        features: torch.Tensor = tower.ln_final(tower.transformer(embedded, attn_mask=tower.attn_mask))
        return features


def read_spec(config: PretrainConfig) -> dict[str, Any]:
    """Content of open_clip_config.json for the model that the configuration names, overrides applied.

    Raises:
        ValueError: The name is neither an architecture of open_clip nor a readable configuration, or the model is of a
            kind that cannot be trained here.
    """
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    path = Path(locate(config.model))
    file = path / CONFIG_FILE if path.is_dir() else path
    if file.is_file():
        read = json.loads(file.read_text(encoding="utf-8"))
    else:
        read = open_clip.get_model_config(config.model.replace("/", "-"))
    if read is None:
        raise ValueError(
            f"pretrain.model {config.model!r}: no such architecture in open_clip, file or folder; "
            f"accepted are {architectures.nearest(config.model)}, ... or the path of an open_clip configuration"
        )
    model = deepcopy(read.get("model_cfg", read))
    _check(model, config.model)
    if config.image_size:
        model["vision_cfg"]["image_size"] = list(config.image_size)
    if config.bidirectional:
        model["text_cfg"]["no_causal_mask"] = True
    preprocess = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD, "interpolation": "bicubic"}
    preprocess |= read.get("preprocess_cfg", {})
    return {"model_cfg": model, "preprocess_cfg": preprocess | {"resize_mode": "squash"}}


def _check(model: dict[str, Any], name: str) -> None:
    text = model.get("text_cfg", {})
    if "hf_model_name" in text or "hf_tokenizer_name" in text or "multimodal_cfg" in model:
        raise ValueError(
            f"pretrain.model {name!r} has a Hugging Face text tower or a caption decoder; "
            "accepted are open_clip's own two-tower models with its own tokeniser, such as ViT-B-16"
        )


def _size(model: dict[str, Any]) -> tuple[int, int]:
    size = model["vision_cfg"].get("image_size", 224)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _tokenizer(text: dict[str, Any]) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=text.get("context_length", 77), **text.get("tokenizer_kwargs", {}))


def special_tokens(tokenizer: Any) -> tuple[int, ...]:
    """Ids that are not words: padding, start and end of a text."""
    return (0, int(tokenizer.sot_token_id), int(tokenizer.eot_token_id))


def _build(spec: dict[str, Any], config: PretrainConfig) -> Any:
    import open_clip

    model = deepcopy(spec["model_cfg"])
    kind = open_clip.CustomTextCLIP if model.pop("custom_text", False) else open_clip.CLIP
    clip = kind(**model)
    clip.logit_scale.data.fill_(-math.log(config.temperature.initial))
    if config.init is not None:
        _load(clip, config.init)
    return clip


def _load(clip: Any, init: str) -> None:
    from open_clip.factory import load_checkpoint

    path = Path(locate(init))
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"pretrain.init {init!r}: no such file; give a weights file, or null for random numbers")
    try:
        load_checkpoint(clip, str(file), weights_only=True)
    except (RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"pretrain.init {init!r} does not fit the model: {first}") from error


def export(towers: TwoTowers, directory: Path, *, half: bool = False) -> Path:
    """Write the towers as a model folder that open_clip loads as ``local-dir:<directory>``.

    Args:
        towers: The trained towers; the head for masked language modelling is not exported.
        directory: Folder to write, created if missing.
        half: Store float16, half the size.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    state = {name: value.detach().cpu().contiguous() for name, value in towers.clip.state_dict().items()}
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    (directory / CONFIG_FILE).write_text(json.dumps(towers.spec, indent=2) + "\n", encoding="utf-8")
    partial = directory / f".{WEIGHTS_FILE}.part"
    save_file(state, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(directory / WEIGHTS_FILE)
    return directory
