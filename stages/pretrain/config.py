"""Configuration of the pretrain stage."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from stages.config import Config
from stages.devices import Device, Precision


class MlmConfig(Config):
    """Masked language modelling beside the contrastive loss."""

    probability: float = Field(default=0.15, gt=0, lt=1)
    """Share of the word tokens that are hidden."""
    weight: float = Field(default=1.0, ge=0)
    """Factor of its loss; 0 leaves out the head and the second pass through the text tower."""


class TemperatureConfig(Config):
    """Temperature of the contrastive softmax."""

    initial: float = Field(default=0.07, gt=0)
    """Start value. Weights that are loaded bring their own."""
    learnable: bool = True
    """False keeps the start value; UniPT's formula has no temperature, so ``initial: 1, learnable: false``."""


class AugmentConfig(Config):
    """Random changes made to a crop each time it is read."""

    hflip: bool = True
    """Mirror half of the crops."""
    crop_scale_min: float = Field(default=0.9, gt=0, le=1)
    """Smallest share of the area that a random resized crop keeps; 1 keeps the whole."""
    colour_jitter: float = Field(default=0.0, ge=0, le=1)
    """Strength of random changes of brightness, contrast and saturation. 0 by default, as captions mention colours."""


class PretrainConfig(Config):
    """Method, model, losses and schedule. Defaults follow UniPT (ICCV 2023) unless they depend on its machine."""

    operational: ClassVar[frozenset[str]] = frozenset(
        {
            "device",
            "threads",
            "loader_threads",
            "eval_batch_size",
            "checkpoint_every_steps",
            "keep_checkpoints",
            "log_every_steps",
        }
    )

    method: Literal["clip"] = "clip"
    """clip: contrastive training of an image and a text tower, with masked language modelling (``mlm``)."""
    model: str = "ViT-B-16"
    """Architecture by its open_clip name, an open_clip configuration (JSON), or a folder with open_clip_config.json."""
    init: str | None = None
    """Weights to start from, a file or a model folder; null starts from random numbers."""
    lock_image: bool = False
    """Keep the image tower as ``init`` has it and train only the text tower to match it (LiT, Zhai et al. 2022)."""
    image_size: tuple[int, int] | None = None
    """Height and width of the input, in place of the model's own; UniPT trains at 384 x 128."""
    bidirectional: bool = True
    """Let every word attend to the words after it, as masked language modelling needs; false keeps the model's mask."""
    batch_size: int = Field(default=512, ge=1)
    """Crops in one step, all workers together."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the training split."""
    max_steps: int | None = Field(default=None, ge=1)
    """Steps after which training ends, whatever ``epochs`` is; the schedule ends there too."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Highest learning rate."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's weight decay; ``clip`` applies it to matrices, not to vectors and scalars."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates of the averages of gradients and of their squares."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; null turns clipping off."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps during which the learning rate rises from 0."""
    decay: Literal["linear", "cosine"] = "linear"
    """How it falls to 0 afterwards."""
    captions_per_crop: int = Field(default=1, ge=1)
    """Captions of a crop that one step reads, each in a contrastive problem of its own with the same image features."""
    caption_order: Literal["shuffled", "stored"] = "shuffled"
    """shuffled: drawn by (seed, epoch, crop_id). stored: the k-th captions of all crops are contrasted with each other,
    for tables whose k-th captions describe the same thing of every crop."""
    equal_texts: Literal["positives", "negatives"] = "negatives"
    """negatives: the paper's loss, where another crop with the same caption counts as wrong. positives: a text stands
    once in the softmax, and every crop that has it is right."""
    gather_negatives: bool = True
    """Contrast with the crops of all workers instead of each worker's own."""
    temperature: TemperatureConfig = TemperatureConfig()
    """Temperature of the softmax."""
    mlm: MlmConfig = MlmConfig()
    """Masked language modelling."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of the crops."""
    shuffle_buffer: int = Field(default=4096, ge=1)
    """Rows that the shuffle draws from; 1 keeps the order of the stream."""
    seed: int = Field(default=0, ge=0)
    """Decides the first weights, the order and every random change."""
    workers: int = Field(default=1, ge=1)
    """Training workers: one per GPU, or one on a CPU."""
    precision: Precision = "auto"
    """Number format of the forward pass; weights stay float32."""
    device: Device = "auto"
    """Where the model runs."""
    threads: int = Field(default=2, ge=1)
    """Threads of one worker on a CPU."""
    loader_threads: int = Field(default=1, ge=1)
    """Threads of one worker that decode JPEGs while the model trains."""
    eval_batch_size: int = Field(default=256, ge=1)
    """Crops in one forward pass of the evaluation."""
    checkpoint_every_steps: int = Field(default=500, ge=1)
    """Steps between two checkpoints; the last step always writes one."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept; older ones are deleted."""
    log_every_steps: int = Field(default=20, ge=1)
    """Steps between two rows of metrics."""

    @model_validator(mode="after")
    def _whole_batches(self) -> "PretrainConfig":
        if self.batch_size % self.workers:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of workers {self.workers}")
        return self

    @model_validator(mode="after")
    def _weights_to_lock(self) -> "PretrainConfig":
        if self.lock_image and self.init is None:
            raise ValueError("lock_image keeps the image tower of init, but init is null; name weights to start from")
        return self
