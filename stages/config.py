"""Base of all configuration blocks: frozen, strict about unknown keys, explicit about which fields decide a result."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A block of the recipe. Unknown keys are refused, values cannot be changed once validated.

    ``operational`` names the fields that change how fast a result comes, not what it is: batch sizes, threads,
    concurrency. They stay out of fingerprints, so that tuning them makes no finished work stale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    operational: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """The fields that decide the result: all but the operational ones, ready for JSON."""
        kept = (name for name in type(self).model_fields if name not in self.operational)
        return {name: _plain(getattr(self, name)) for name in kept}


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.identity()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)
