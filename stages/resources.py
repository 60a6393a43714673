"""Where files that the repository ships are found, whatever the working directory."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def locate(name: str) -> str:
    """Path of a shipped or given file or folder; the name itself where no such file exists.

    A path is looked up from the working directory first (``ray job submit --working-dir`` unpacks the repository
    there), then from the repository that this package lies in.
    """
    for candidate in (Path(name), _ROOT / name):
        if candidate.exists():
            return str(candidate)
    return name
