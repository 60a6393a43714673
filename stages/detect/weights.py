"""Finding the detector's weights, and refusing those that nobody vouched for."""

import hashlib
import os
from pathlib import Path

from stages.detect.config import DetectConfig, PoseConfig
from stages.resources import locate

# Files whose origin this repository tells (models/README.md).
_KNOWN = {
    "yolo26n.pt": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
    "yolo11n-pose.pt": "869e83fcdffdc7371fa4e34cd8e51c838cc729571d1635e5141e3075e9319dc0",
}

_PICKLED = (".pt", ".pth")


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
        _check_digest(path, config, key)
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


def _check_digest(path: Path, config: DetectConfig | PoseConfig, key: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    expected = config.model_sha256 or _KNOWN.get(path.name)
    if expected is None and path.suffix in _PICKLED:
        raise ValueError(
            f"{key} {config.model}: loading a {path.suffix} file can run code, so its digest must be known. If "
            f"you trust where it came from, set {key}_sha256: {found}"
        )
    if expected not in (None, found):
        raise ValueError(
            f"{key} {config.model}: its SHA-256 is {found}, expected is {expected}. Get the file that is meant, "
            f"or name the digest of the one that you mean in {key}_sha256"
        )
