"""Recipes by name: the ones that ship with reidforge need no path."""

from pathlib import Path

from pipeline.errors import UserError
from stages.resources import locate, shipped_files

_PATTERN = "recipes/*.yaml"


def find_recipe(name: Path) -> Path:
    """Find a recipe by its path or, if it ships with reidforge, by its name.

    Args:
        name: A path, such as ``recipes/demo.yaml``, or a name, such as ``demo``.

    Raises:
        UserError: Neither a file nor a shipped recipe has this name.
    """
    # A folder may have a recipe's name: demo/ does.
    for candidate in (str(name), f"recipes/{name}.yaml"):
        if (path := Path(locate(candidate))).is_file():
            return path
    raise UserError(f"recipe {name}: no such file, and not one of the shipped recipes: {', '.join(shipped_recipes())}")


def shipped_recipes() -> dict[str, str]:
    """The recipes that ship with reidforge: name -> the first sentence of the comment at the top of the file."""
    return {path.stem: _purpose(path) for path in shipped_files(_PATTERN)}


def _purpose(path: Path) -> str:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines).partition(". ")[0].rstrip(".")
