"""Finding the detector's weights, and refusing those that nobody vouched for."""

import hashlib
import os
from pathlib import Path

from stages.detect.config import DetectConfig
from stages.resources import locate

# Files whose origin this repository tells (models/README.md).
_KNOWN = {"yolo26n.pt": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef"}

_PICKLED = (".pt", ".pth")


def find_weights(config: DetectConfig) -> Path:
    """The weights file of ``config.model``, its digest checked.

    A bare name such as ``yolo26m.pt`` that is no file here is fetched by ultralytics from its own releases, unless
    YOLO_OFFLINE is set.

    Raises:
        ValueError: There is no such file, its digest is another, or it is a pickled file without a known digest.
    """
    path = Path(locate(config.model))
    if not path.exists():
        path = _fetch(config.model)
    if path.is_file():
        _check_digest(path, config)
    return path


def _fetch(name: str) -> Path:
    offline = os.environ.get("YOLO_OFFLINE", "").lower() in ("1", "true", "yes")
    path = Path(name)
    if path.name == name and not offline:
        path = _download(name)
    if path.exists():
        return path
    reason = "YOLO_OFFLINE is set, so ultralytics was not asked" if offline else "ultralytics could not fetch it"
    raise ValueError(
        f"detect.model {name}: no such file, and {reason if path.name == name else 'a path is not fetched'}. Give a "
        "weights file (https://github.com/ultralytics/assets/releases has them), or models/yolo26n.pt, which is here"
    )


def _download(name: str) -> Path:
    from ultralytics.utils.downloads import attempt_download_asset

    try:
        return Path(attempt_download_asset(name))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"detect.model {name}: ultralytics could not fetch it: {error}") from error


def _check_digest(path: Path, config: DetectConfig) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    expected = config.model_sha256 or _KNOWN.get(path.name)
    if expected is None and path.suffix in _PICKLED:
        raise ValueError(
            f"detect.model {config.model}: loading a {path.suffix} file can run code, so its digest must be known. If "
            f"you trust where it came from, set detect.model_sha256: {found}"
        )
    if expected not in (None, found):
        raise ValueError(
            f"detect.model {config.model}: its SHA-256 is {found}, expected is {expected}. Get the file that is meant, "
            "or name the digest of the one that you mean in detect.model_sha256"
        )
