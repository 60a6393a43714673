"""Errors in banks, grammars and calibration files: one line per error, with the key, the value and what is accepted."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


class BankError(ValueError):
    """A bank, grammar or calibration, or a value looked up in one, is not valid.

    The message states where, what was given and what is accepted.
    """


def read_yaml(text: str, source: str) -> Any:
    """Parse YAML; ``source`` names the file in the message of a BankError."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BankError(f"{source}: not valid YAML: {error}") from error


def explain(
    error: ValidationError, content: Any, source: str, models: Mapping[str, type[BaseModel]], root: type[BaseModel]
) -> str:
    """Describe validation errors, one line each.

    Args:
        error: The errors.
        content: The parsed file.
        source: Name of the file.
        models: Model of the blocks below each key, to list the keys that they accept.
        root: Model of the whole file.
    """
    return "\n".join(_line(item, content, source, models, root) for item in error.errors())


def _line(
    item: ErrorDetails, content: Any, source: str, models: Mapping[str, type[BaseModel]], root: type[BaseModel]
) -> str:
    location, message = item["loc"], item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        model = next((models[key] for key in reversed(location[:-1]) if isinstance(key, str) and key in models), root)
        message = f"unknown key; accepted: {', '.join(model.model_fields)}"
    given = item["input"]
    shown = f" (given {given!r})" if isinstance(given, str | int | float | None) else ""
    path = ".".join(_named(content, location))
    return ": ".join(part for part in (source, path, message) if part) + shown


def _named(content: Any, location: tuple[str | int, ...]) -> Iterator[str]:
    """The path of a value, with the names of list items instead of their positions where they have names."""
    for key in location:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            content = None
        label = None
        if isinstance(key, int) and isinstance(content, dict):
            label = content.get("name") or content.get("value")
        yield str(key if label is None else label)
