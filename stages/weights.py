"""Weights files: their digest, and refusing a file that is not the one meant."""

import hashlib
from pathlib import Path
from typing import Final

KNOWN: Final = {
    "yolo26n.pt": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
    "yolo11n-pose.pt": "869e83fcdffdc7371fa4e34cd8e51c838cc729571d1635e5141e3075e9319dc0",
    "osnet_x1_0_msmt17.pt": "b7d73dc67c016fd044e4027ff856019496392a7aca8fa0ed56d862a1632c1cf2",
}
"""SHA-256 of files whose origin models/README.md and docs/dedup.md document, by file name."""

_PICKLED: Final = (".pt", ".pth")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(
    path: Path, key: str, name: str, sha256: str | None, *, origin: str = "", runs_code: bool = False
) -> None:
    """Refuse a weights file whose digest is wrong, or unknown where that is dangerous.

    Args:
        path: The file.
        key: The recipe key that names it, such as ``detect.model``; ``<key>_sha256`` holds the expected digest.
        name: The value of that key, for messages.
        sha256: Expected digest; None = the one in ``KNOWN``, if the file's name stands there.
        origin: Where to get the intended file, a sentence.
        runs_code: Whether loading a pickled file of this kind can run code, so that its digest must be known.

    Raises:
        ValueError: The digest differs, or the file is pickled, ``runs_code`` is set and no digest is known.
    """
    expected, found = sha256 or KNOWN.get(path.name), file_sha256(path)
    if expected is None and runs_code and path.suffix in _PICKLED:
        raise ValueError(
            f"{key} {name}: loading a {path.suffix} file can run code, so its digest must be known. "
            f"If you trust its source, set {key}_sha256: {found}"
        )
    if expected not in (None, found):
        raise ValueError(
            f"{key} {name}: its SHA-256 is {found}, expected {expected}. Get the intended file, "
            f"or set {key}_sha256 to the digest of the one that you mean. {origin}".rstrip()
        )
