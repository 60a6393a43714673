"""The ultralytics family; implements ``stages.detect.detector.Family``."""

from stages.detect.config import DetectConfig
from stages.detect.detector import Detector
from stages.detect.families.ultralytics.backends.pick_backend import pick_backend
from stages.detect.families.ultralytics.named_weights import check_named

BACKENDS: tuple[str, ...] = ("torch", "onnx", "openvino")
KEYPOINTS: bool = True


def backend(config: DetectConfig, device: str) -> str:
    """Name of the backend; pose models run in PyTorch only."""
    picked = pick_backend(config, device)
    return "torch" if config.pose.source == "detector" else picked


def weights(config: DetectConfig) -> str:
    """The weights file, or the name of one that ultralytics downloads."""
    return config.model


def check(config: DetectConfig) -> None:
    """Check backend and weights file.

    Raises:
        ValueError: The backend cannot be used, or the file is missing or not the intended one.
    """
    # Whether the cluster has GPUs is not known yet, so a backend is checked as if on a CPU unless the recipe says cuda.
    pick_backend(config, "cuda" if config.device == "cuda" else "cpu")
    check_named(config, "detect.model", "models/yolo26n.pt")


def load(config: DetectConfig) -> Detector:
    """Load a detection model, or a pose model where ``detect.pose.source`` is ``detector``."""
    if config.pose.source == "detector":
        from stages.detect.families.ultralytics.pose_detector import PoseDetector

        return PoseDetector(config)
    from stages.detect.families.ultralytics.yolo_detector import YoloDetector

    return YoloDetector(config)
