"""Weights of ultralytics' models: finding or downloading them, and refusing those with a wrong or unknown digest."""

import os
from pathlib import Path

from stages.detect.config import DetectConfig, PoseConfig
from stages.resources import locate
from stages.weights import check_weights


def check_named(config: DetectConfig | PoseConfig, key: str, example: str) -> None:
    """Check the file of ``config.model`` before a run, without downloading it.

    Args:
        config: Model and its digest.
        key: The recipe key that names the model.
        example: A path to suggest.

    Raises:
        ValueError: A path is given that does not exist, or the digest is wrong or unknown.
    """
    path = Path(locate(config.model))
    if path.is_file():
        _check(path, config, key)
    elif not path.exists() and "/" in config.model and "://" not in config.model:
        raise ValueError(
            f"{key} {config.model}: no such file. Give the path of YOLO weights, such as {example}, "
            "or a bare name like yolo26m.pt, which ultralytics downloads"
        )


def find_weights(config: DetectConfig | PoseConfig, key: str = "detect.model") -> Path:
    """The weights file of ``config.model``, its digest checked.

    Ultralytics downloads a bare name such as ``yolo26m.pt`` from its own releases if no such file exists, unless
    YOLO_OFFLINE is set.

    Args:
        config: Model and its digest.
        key: The recipe key that names the model.

    Raises:
        ValueError: The file does not exist, its digest is wrong, or it is a pickled file whose digest is unknown.
    """
    path = Path(locate(config.model))
    if not path.exists():
        path = _fetch(config.model, key)
    if path.is_file():
        _check(path, config, key)
    return path


def _check(path: Path, config: DetectConfig | PoseConfig, key: str) -> None:
    # Ultralytics unpickles .pt files.
    check_weights(path, key, config.model, config.model_sha256, runs_code=True)


def _fetch(name: str, key: str) -> Path:
    offline = os.environ.get("YOLO_OFFLINE", "").lower() in ("1", "true", "yes")
    path = Path(name)
    if path.name == name and not offline:
        path = _download(name, key)
    if path.exists():
        return path
    reason = "YOLO_OFFLINE is set, so ultralytics was not asked" if offline else "ultralytics could not download it"
    raise ValueError(
        f"{key} {name}: no such file, and {reason if path.name == name else 'a path is not downloaded'}. Give a "
        "weights file (https://github.com/ultralytics/assets/releases has them); models/ holds "
        "yolo26n.pt and yolo11n-pose.pt"
    )


def _download(name: str, key: str) -> Path:
    from ultralytics.utils.downloads import attempt_download_asset

    try:
        return Path(attempt_download_asset(name))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{key} {name}: ultralytics could not download it: {error}") from error
