"""Finding the detector's weights, and refusing those that nobody vouched for."""

import os
from pathlib import Path

from stages.detect.config import DetectConfig, PoseConfig
from stages.resources import locate
from stages.weights import check_weights


def find_weights(config: DetectConfig | PoseConfig, key: str = "detect.model") -> Path:
    """The weights file of ``config.model``, its digest checked; ``key`` is the recipe's name of it.

    A bare name such as ``yolo26m.pt`` that is no file here is fetched by ultralytics from its own releases, unless
    YOLO_OFFLINE is set.

    Raises:
        ValueError: There is no such file, its digest is another, or it is a pickled file without a known digest.
    """
    path = Path(locate(config.model))
    if not path.exists():
        path = _fetch(config.model, key)
    if path.is_file():
        # ultralytics unpickles .pt files.
        check_weights(path, key, config.model, config.model_sha256, runs_code=True)
    return path


def _fetch(name: str, key: str) -> Path:
    offline = os.environ.get("YOLO_OFFLINE", "").lower() in ("1", "true", "yes")
    path = Path(name)
    if path.name == name and not offline:
        path = _download(name, key)
    if path.exists():
        return path
    reason = "YOLO_OFFLINE is set, so ultralytics was not asked" if offline else "ultralytics could not fetch it"
    raise ValueError(
        f"{key} {name}: no such file, and {reason if path.name == name else 'a path is not fetched'}. Give a "
        "weights file (https://github.com/ultralytics/assets/releases has them); models/ holds "
        "yolo26n.pt and yolo11n-pose.pt"
    )


def _download(name: str, key: str) -> Path:
    from ultralytics.utils.downloads import attempt_download_asset

    try:
        return Path(attempt_download_asset(name))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{key} {name}: ultralytics could not fetch it: {error}") from error
