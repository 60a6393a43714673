"""Configuration of the detect stage; the defaults are LUPerson's (CVPR 2021)."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stages.config import Config
from stages.devices import Device, Precision
from stages.video.limits import VideoLimits

BackendName = Literal["torch", "onnx", "openvino"]


class SamplingConfig(Config):
    """Which frames are looked at: one of the keys; without any, every 20th frame."""

    every_frames: int | None = Field(default=None, ge=1)
    """Every n-th frame, from frame 0."""
    every_seconds: float | None = Field(default=None, gt=0)
    """The first frame at or after each multiple of so many seconds, by the video's mean frame rate."""

    @model_validator(mode="before")
    @classmethod
    def _default(cls, given: Any) -> Any:
        return given or {"every_frames": 20}

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.every_frames is None) == (self.every_seconds is None):
            raise ValueError("give either every_frames or every_seconds, and null for the other")
        return self


class RulesConfig(Config):
    """What a detection must fulfil to be cut out. All that it fails is recorded."""

    min_confidence: float = Field(default=0.72, ge=0, le=1)
    """The detector's score must be above this."""
    min_width: float = Field(default=48, ge=0)
    """The box must be wider than this, pixels."""
    min_aspect: float = Field(default=1.5, ge=0)
    """Least height divided by width."""
    max_aspect: float = Field(default=5.0, gt=0)
    """Greatest height divided by width."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_aspect > self.max_aspect:
            raise ValueError(f"min_aspect {self.min_aspect} is above max_aspect {self.max_aspect}")
        return self


class CropConfig(Config):
    """How a crop is cut and stored."""

    jpeg_quality: int = Field(default=95, ge=1, le=100)
    """Quality of the JPEG."""
    margin: float = Field(default=0.0, ge=0, le=1)
    """Border around the box, as a share of its width and height on each side; cut off at the frame's edge."""


class DetectConfig(Config):
    """Which frames are looked at, by which detector, and which persons are kept."""

    operational: ClassVar[frozenset[str]] = frozenset(
        # The backend changes a box no more than device and batch size do: the same products, added up in another order.
        # Were it part of the outcome, a corpus begun on a laptop would be stale on a cluster.
        {"model_sha256", "backend", "batch_size", "device", "threads", "actors", "units_per_file", "limits"}
    )

    model: str = "models/yolo26n.pt"
    """Detection model that ultralytics loads: a file, or a name such as yolo26m.pt that it fetches where it may."""
    model_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest that the file must have. A .pt file can run code when it is loaded, so an unknown one is refused."""
    image_size: int = Field(default=640, ge=32, multiple_of=32)
    """Longer side of the picture that the model sees, pixels."""
    confidence_floor: float = Field(default=0.25, gt=0, lt=1)
    """Detections below this are not even recorded."""
    max_persons: int = Field(default=300, ge=1)
    """Most detections of one frame."""
    sampling: SamplingConfig = SamplingConfig()
    """Which frames are looked at."""
    chunk_seconds: float = Field(default=20.0, gt=0)
    """Running time of a chunk, the unit of work."""
    rules: RulesConfig = RulesConfig()
    """Which detections are cut out."""
    crop: CropConfig = CropConfig()
    """How they are cut out."""
    limits: VideoLimits = VideoLimits()
    """Videos beyond these are refused."""
    precision: Precision = "auto"
    """Number format of the forward pass; auto = fp16 on a GPU, fp32 on a CPU."""
    backend: Literal["auto"] | BackendName = "auto"
    """What runs the model; auto = ONNX Runtime in fp32 on a CPU where it is installed, else torch."""
    batch_size: int | None = Field(default=None, ge=1)
    """Images in one forward pass; null = 16 on a GPU, 1 on a CPU, where more gain nothing."""
    device: Device = "auto"
    """Where the model runs."""
    threads: int = Field(default=1, ge=1)
    """Threads of one actor on a CPU."""
    actors: int | None = Field(default=None, ge=1)
    """Actors; null = one per GPU, or as many as the CPUs allow."""
    units_per_file: int = Field(default=64, ge=1)
    """Chunks whose rows share a file."""
