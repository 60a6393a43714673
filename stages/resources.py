"""Finds the files that ship with reidforge: recipes, weights, the demo's video."""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]

# A wheel cannot keep recipes/, models/ and demo/ at the top, where their names would clash with other packages. It has
# them in the package reidforge, beside this one; see setup.py.
_SHIPPED = (_CHECKOUT, _CHECKOUT / "reidforge")


def locate(name: str) -> str:
    """Find a file or folder that the user named or that ships with reidforge.

    Args:
        name: A path, such as ``models/yolo26n.pt``. It is looked up in the working directory first, where
            ``ray job submit --working-dir`` unpacks the repository; then in the checkout or the installed package.

    Returns:
        The path that exists, or ``name`` itself if none does.
    """
    for folder in (Path(), *_SHIPPED):
        if (folder / name).exists():
            return str(folder / name)
    return name


def shipped_files(pattern: str) -> list[Path]:
    """The files that ship with reidforge under a pattern such as ``recipes/*.yaml``, sorted by name."""
    found = {path.name: path for folder in reversed(_SHIPPED) for path in folder.glob(pattern)}
    return [found[name] for name in sorted(found)]
