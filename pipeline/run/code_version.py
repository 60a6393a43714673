"""Which code a run used: version, commit, and a digest of its files."""

import os
import subprocess
from pathlib import Path
from typing import Final

import pipeline
from pipeline.corpus.files import digest
from stages.weights import file_sha256

_ROOT: Final = Path(pipeline.__file__).resolve().parents[1]
_PACKAGES: Final = ("pipeline", "schemas", "stages")
_SUFFIXES: Final = (".py", ".sql", ".yaml")

COMMIT_VARIABLE: Final = "REIDFORGE_COMMIT"
"""Environment variable that states the commit where the code is no checkout: in an image, or in a submitted job."""


def code_version() -> dict[str, object]:
    """The code of this process.

    Returns:
        ``version``; ``commit``, None if unknown; ``modified``, whether tracked files differ from that commit, None if
        unknown; ``digest`` of all files of the code, equal for equal code wherever it lies.
    """
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "version": pipeline.__version__,
        # `ray job submit` leaves .git behind, so such a job has only the variable and the digest.
        "commit": _git("rev-parse", "HEAD") or os.environ.get(COMMIT_VARIABLE) or None,
        "modified": None if changes is None else bool(changes),
        "digest": code_digest(_ROOT),
    }


def code_digest(root: Path) -> str:
    """Digest of the code below a checkout or an installation, 64 hex digits."""
    found = (path for package in _PACKAGES for path in (root / package).rglob("*") if path.suffix in _SUFFIXES)
    named = sorted((path.relative_to(root).as_posix(), path) for path in found)
    return digest(*(f"{name}:{file_sha256(path)}" for name, path in named), length=64)


def _git(*arguments: str) -> str | None:
    # Without this test git would answer for a repository that happens to contain the virtual environment.
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
