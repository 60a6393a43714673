"""Write docs/recipe.md, the list of a recipe's keys, from the models that validate it.

Usage::

    python -m tools.write_recipe_docs
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from pipeline.recipe import Recipe
from stages.config import Config

TARGET = Path(__file__).resolve().parents[1] / "docs/recipe.md"

HEAD = """\
# Keys of a recipe

Written by `tools/write_recipe_docs.py`. `reidforge recipe show RECIPE` prints a recipe with every default filled in;
`--set key=value` overrides any key, the value written as in YAML. Keys marked with ° change how fast a result comes,
not what it is: they are not part of fingerprints, and changing them makes nothing stale.
"""


def document() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_block(Recipe, "")]) + "\n"


def _block(model: type[Config], path: str) -> Iterator[str]:
    plain = {name: field for name, field in model.model_fields.items() if not _nested(field)}
    if plain:
        yield from ("", "| key | default | meaning |", "|---|---|---|")
        yield from (_line(path, name, field, model) for name, field in plain.items())
    for name, field in model.model_fields.items():
        if (below := _nested(field)) is not None:
            yield from ("", f"{'#' * (2 + path.count('.'))} {path}{name}", "", field.description or "")
            yield from _block(below, f"{path}{name}.")
        for item in _items(field):
            yield from ("", f"{'#' * (3 + path.count('.'))} Each of {path}{name}", "", item.__doc__ or "")
            yield from _block(item, "")


def _line(path: str, name: str, field: FieldInfo, model: type[Config]) -> str:
    mark = "°" if name in model.operational else ""
    default = "needed" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{path}{name}`{mark} | {default} | {meaning} |"


def _nested(field: FieldInfo) -> type[Config] | None:
    return field.annotation if isinstance(field.annotation, type) and issubclass(field.annotation, Config) else None


def _items(field: FieldInfo) -> list[type[Config]]:
    """Models of the items of a list."""
    return [part for part in get_args(field.annotation) if isinstance(part, type) and issubclass(part, Config)]


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
