"""Configuration of the detect stage; the defaults are LUPerson's (CVPR 2021)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, model_validator

from stages.config import Config
from stages.devices import Device, Precision
from stages.resources import locate
from stages.video.limits import VideoLimits

BackendName = Literal["torch", "onnx", "openvino"]


class SamplingConfig(Config):
    """Which frames are processed: one of the first three keys; without any, every 20th frame."""

    every_frames: int | None = Field(default=None, ge=1)
    """Every n-th frame, from frame 0."""
    every_seconds: float | None = Field(default=None, gt=0)
    """The first frame at or after each multiple of this many seconds, by the video's mean frame rate."""
    key_frames: bool = False
    """Key frames only: about one in every 1 to 10 seconds, and the cheapest to decode."""
    adaptive: float | None = Field(default=None, ge=0, le=255)
    """Skip sampled frames that barely changed: those in which no cell of a 16x16 thumbnail differs by this many grey
    levels from the last frame processed. A walking person changes a cell by about 8; null = process all."""
    adaptive_reset: int = Field(default=8, ge=1)
    """With adaptive: every n-th sampled frame is processed in any case, and comparison restarts from it."""

    @model_validator(mode="before")
    @classmethod
    def _default(cls, given: Any) -> Any:
        grids = ("every_frames", "every_seconds", "key_frames")
        if given is None or (isinstance(given, Mapping) and not any(key in given for key in grids)):
            return dict(given or {}) | {"every_frames": 20}
        return given

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.every_frames is not None) + (self.every_seconds is not None) + self.key_frames != 1:
            raise ValueError("give one of every_frames, every_seconds and key_frames: true, and null for the others")
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the choice; the reset has no effect where no frame is skipped."""
        return super().identity() | ({} if self.adaptive is not None else {"adaptive_reset": None})


class RulesConfig(Config):
    """Rules that a detection must pass to be cropped. All failed rules are recorded. null = rule not applied."""

    operational: ClassVar[frozenset[str]] = frozenset({"preset"})

    preset: str = "luperson"
    """Source of the values that are not given here: luperson (the defaults below), webperson, or a YAML file with keys
    of this block (recipes/filters)."""
    min_confidence: float = Field(default=0.72, ge=0, le=1)
    """The detector's score must be above this."""
    min_width: float = Field(default=48, ge=0)
    """The box must be wider than this, pixels."""
    min_height: float | None = Field(default=None, ge=0)
    """The box must be higher than this, pixels."""
    min_aspect: float = Field(default=1.5, ge=0)
    """Least height divided by width."""
    max_aspect: float = Field(default=5.0, gt=0)
    """Greatest height divided by width."""
    max_truncation: int | None = Field(default=None, ge=0, le=4)
    """Most sides of the box that may lie on the frame's border (crops.truncation)."""
    max_overlap: float | None = Field(default=None, ge=0, le=1)
    """Greatest share of the box that another box of the frame may cover (crops.overlap)."""
    min_sharpness: float | None = Field(default=None, ge=0)
    """Least sharpness (crops.sharpness)."""
    min_brightness: float | None = Field(default=None, ge=0, le=255)
    """Least mean luma (crops.brightness)."""
    max_brightness: float | None = Field(default=None, ge=0, le=255)
    """Greatest mean luma (crops.brightness)."""
    min_contrast: float | None = Field(default=None, ge=0)
    """Least contrast (crops.contrast)."""
    min_colourfulness: float | None = Field(default=None, ge=0)
    """Least colourfulness (crops.colourfulness): 3 rejects grey images."""
    keypoint_confidence: float = Field(default=0.5, ge=0, le=1)
    """A keypoint is visible from this confidence on. This key and those below have an effect only if detect.pose gives
    keypoints."""
    min_head_points: int = Field(default=1, ge=0, le=5)
    """Least visible points among nose, eyes and ears."""
    min_upper_points: int = Field(default=2, ge=0, le=6)
    """Least visible points among shoulders, elbows and wrists."""
    min_hip_points: int = Field(default=0, ge=0, le=2)
    """Least visible hips."""
    min_leg_points: int = Field(default=1, ge=0, le=4)
    """Least visible points among knees and ankles."""
    min_points: int = Field(default=0, ge=0, le=17)
    """Least visible points of all 17."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        preset = given.get("preset", "luperson") if isinstance(given, Mapping) else "luperson"
        if preset == "luperson" or not isinstance(preset, str):
            return given
        return read_preset(preset) | dict(given)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_aspect > self.max_aspect:
            raise ValueError(f"min_aspect {self.min_aspect} is above max_aspect {self.max_aspect}")
        low, high = self.min_brightness, self.max_brightness
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_brightness {low} is above max_brightness {high}")
        return self


def preset_path(preset: str) -> str:
    """File of a set of rules: ``luperson``, ``webperson``, or the path of a YAML file."""
    return locate(preset if preset.endswith((".yaml", ".yml")) else f"recipes/filters/{preset}.yaml")


def read_preset(preset: str) -> dict[str, Any]:
    """Values of a set of rules: ``luperson``, ``webperson``, or the path of a YAML file.

    Raises:
        ValueError: The set does not exist, or its file holds no keys.
    """
    path = Path(preset_path(preset))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        accepted = "luperson, webperson, or a YAML file with keys of detect.rules"
        raise ValueError(f"preset {preset!r} cannot be read ({path}: {error.strerror}); give {accepted}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"preset {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "preset" in content:
        raise ValueError(f"preset {path} must hold keys of detect.rules, such as min_width: 48, and no preset")
    return content


class PoseConfig(Config):
    """Keypoints: where a person's head, shoulders, hips and feet are (COCO's 17)."""

    operational: ClassVar[frozenset[str]] = frozenset({"model_sha256", "batch_size"})

    source: Literal["none", "second_pass", "detector"] = "none"
    """second_pass = a pose model processes each detection that passes the rules on boxes; detector = detect.model is
    itself a pose model, and returns keypoints with its boxes; none = no keypoints, and no rules on them."""
    model: str = "models/yolo11n-pose.pt"
    """Pose model of the second pass."""
    model_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 that its file must have."""
    image_height: int = Field(default=192, ge=64, multiple_of=32)
    """Input height of the second pass, pixels; its width is 2/3 of that."""
    batch_size: int | None = Field(default=None, ge=1)
    """Persons in one forward pass of the second pass; null = 32 on a GPU, 1 on a CPU."""

    def identity(self) -> dict[str, Any]:
        """What decides the keypoints; the second pass's keys where there is one."""
        return super().identity() if self.source == "second_pass" else {"source": self.source}


class CropConfig(Config):
    """How crops are cut and stored."""

    jpeg_quality: int = Field(default=95, ge=1, le=100)
    """Quality of the JPEG."""
    every_frames: int | None = Field(default=None, ge=1)
    """Cut crops only from frames whose index is a multiple of this; the others serve tracking. null = from every
    processed frame."""
    margin: float = Field(default=0.0, ge=0, le=1)
    """Border around the box, as a share of its width and height on each side; cut off at the frame's edge."""


class DetectConfig(Config):
    """Which frames are processed, by which detector, and which persons are kept."""

    operational: ClassVar[frozenset[str]] = frozenset(
        # The backend changes boxes as little as device and batch size do: it sums the same products in another order.
        # If it were part of the fingerprint, a corpus started on a laptop would be stale on a cluster.
        {"model_sha256", "backend", "batch_size", "device", "threads", "actors", "units_per_file", "limits"}
    )

    source: Literal["detector", "imported"] = "detector"
    """Where boxes come from: the model below, or the published lists that 'reidforge import' has read (docs/import.md).
    With imported, the boxes decide which frames are processed, and keys that concern the model have no effect."""
    reference: str = Field(default="auto", pattern=r"^(auto|[1-9]\d*x[1-9]\d*)$")
    """Frame size that imported boxes refer to, such as 1280x720; auto = found for each video by its boxes."""
    model: str = "models/yolo26n.pt"
    """Detection model, as <family>:<model>; without a family, ultralytics. Its model is a file, or a name such as
    yolo26m.pt that ultralytics downloads unless YOLO_OFFLINE is set (docs/detect.md)."""
    model_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 that the file must have. A .pt file can run code when it is loaded, so an unknown one is refused."""
    image_size: int = Field(default=640, ge=32, multiple_of=32)
    """Longer side of the model's input, pixels."""
    confidence_floor: float = Field(default=0.25, gt=0, lt=1)
    """Detections below this confidence are not recorded."""
    max_persons: int = Field(default=300, ge=1)
    """Maximum number of detections per frame."""
    sampling: SamplingConfig = SamplingConfig()
    """Which frames are processed."""
    chunk_seconds: float = Field(default=20.0, gt=0)
    """Running time of a chunk, the unit of work."""
    rules: RulesConfig = RulesConfig()
    """Which detections are cropped."""
    pose: PoseConfig = PoseConfig()
    """Whether and how keypoints are found."""
    crop: CropConfig = CropConfig()
    """How crops are cut and stored."""
    faces: Literal["keep", "blur"] = "keep"
    """blur = the heads of all detections are blurred before crops are cut, so that no crop holds a face."""
    limits: VideoLimits = VideoLimits()
    """Videos beyond these limits are refused."""
    precision: Precision = "auto"
    """Number format of the forward pass; auto = fp16 on a GPU, fp32 on a CPU. docs/speed.md says how far boxes and
    scores in half precision may differ from those in fp32."""
    backend: Literal["auto"] | BackendName = "auto"
    """What runs the model; auto = ONNX Runtime in fp32 on a CPU where it is installed, else torch."""
    batch_size: int | None = Field(default=None, ge=1)
    """Images in one forward pass; null = 16 on a GPU, 1 on a CPU, where larger batches are no faster."""
    device: Device = "auto"
    """Where the model runs."""
    threads: int = Field(default=1, ge=1)
    """Threads of one actor on a CPU."""
    actors: int | None = Field(default=None, ge=1)
    """Actors; null = one per GPU, or as many as the CPUs allow."""
    units_per_file: int = Field(default=64, ge=1)
    """Number of chunks whose rows share a file."""

    @model_validator(mode="after")
    def _crops_of_sampled_frames(self) -> Self:
        every, sampled = self.crop.every_frames, self.sampling.every_frames
        if every is not None and (sampled is None or every % sampled):
            raise ValueError(
                f"crop.every_frames {every} must be a multiple of sampling.every_frames, which is {sampled}: crops are "
                "cut from sampled frames"
            )
        return self
