"""Identity of model weights, as fingerprints need it."""

import functools
from pathlib import Path

from pipeline.corpus.files import digest
from stages.resources import locate
from stages.weights import file_sha256


def weights_digest(name: str) -> str:
    """SHA-256 of a local weights file; for a model folder, a digest of its files' digests; for a hub's tag, the tag."""
    path = Path(locate(name))
    if path.is_file():
        return _file_digest(path, path.stat().st_mtime_ns)
    if not path.is_dir():
        return name
    files = sorted(item for item in path.iterdir() if item.is_file() and item.suffix != ".md")
    return digest(*(f"{item.name}:{_file_digest(item, item.stat().st_mtime_ns)}" for item in files), length=64)


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, _mtime_ns: int) -> str:
    return file_sha256(path)
