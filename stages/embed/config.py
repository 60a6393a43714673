"""Configuration of the embed stage."""

import re
from typing import ClassVar, Literal

from pydantic import Field

from stages.config import Config
from stages.devices import Device, Precision

Region = Literal["whole", "head", "upper", "lower", "feet"]

EMBEDDED = "models/reidforge-clip-s"


class EmbedConfig(Config):
    """Which CLIP embeds the crops, and how."""

    operational: ClassVar[frozenset[str]] = frozenset({"batch_size", "device", "threads", "actors"})

    model: str = "ViT-B-16"
    """Architecture as open_clip names it, or a folder with open_clip_config.json and open_clip_model.safetensors."""
    pretrained: str | None = "openai"
    """open_clip tag of weights to download, or a local file. Null if model is a folder, which has its own weights."""
    regions: tuple[Region, ...] = ("whole",)
    """Regions of the crop to embed. The paper uses whole; the others serve single attributes."""
    evidence: bool = True
    """Also name the colours of the clothes from their pixels, as evidence in addition to CLIP."""
    batch_size: int = Field(default=256, ge=1)
    """Images in one forward pass. The last batch of a file is smaller, and products of matrices of another size may add
    in another order: features of a crop can differ by 3e-5 between corpora whose files hold other crops together."""
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
        """Name of the model's folder in the corpus."""
        parts = (self.model.rstrip("/").rpartition("/")[2], (self.pretrained or "").rpartition("/")[2])
        return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part for part in parts if part)).lower()
