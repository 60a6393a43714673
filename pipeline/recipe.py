"""The recipe: one YAML file that states everything a corpus depends on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from pipeline.errors import UserError
from pipeline.recipe_files import find_recipe
from stages.caption.config import CaptionConfig
from stages.config import Config
from stages.crawl.config import CrawlConfig
from stages.dedup.config import DedupConfig
from stages.detect.config import DetectConfig
from stages.embed.config import EmbedConfig
from stages.embed.reid_model import ReidConfig
from stages.pretrain.config import PretrainConfig
from stages.publish.config import PublishConfig
from stages.track.config import TrackConfig


class RunConfig(Config):
    """How a run treats failures and resources. Nothing here changes the content of the corpus."""

    max_attempts: int = Field(default=3, ge=1)
    """Attempts of a unit before it is quarantined; permanent errors are not retried."""
    max_failed_share: float = Field(default=0.05, ge=0, le=1)
    """Share of a stage's units that may be failed or quarantined before the run exits with 1."""
    compact: bool = True
    """Merge small files to larger ones at the end of a run, as reidforge compact does."""
    cpus: int | None = Field(default=None, ge=1)
    """CPUs of the local cluster; null = all. Has no effect with --address."""
    object_store_mb: int = Field(default=2048, ge=128)
    """Memory for rows between operators, on the local cluster."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Port on which the local cluster serves its metrics to Prometheus; null = any free one. Has no effect with
    --address."""


class Recipe(Config):
    """A whole recipe, one block per stage."""

    corpus: str
    """Folder or object-store URI of the corpus; --corpus overrides it."""
    crawl: CrawlConfig = CrawlConfig()
    """Where videos come from."""
    detect: DetectConfig = DetectConfig()
    """Which frames are processed, which persons are kept."""
    embed: EmbedConfig = EmbedConfig()
    """Which CLIP embeds the crops."""
    reid: ReidConfig = ReidConfig()
    """Which re-identification network embeds the crops, beside CLIP; none by default."""
    track: TrackConfig = TrackConfig()
    """How detections are joined to tracklets; not at all by default."""
    dedup: DedupConfig = DedupConfig()
    """Which crops are marked as duplicates, and which as posters."""
    caption: CaptionConfig = CaptionConfig()
    """How captions are written; one variant."""
    publish: PublishConfig = PublishConfig()
    """Which crops enter the manifest, in which split."""
    pretrain: PretrainConfig = PretrainConfig()
    """How the towers are trained on the manifest."""
    run: RunConfig = RunConfig()
    """Failures and resources."""


def load_recipe(path: Path, overrides: Sequence[str] = (), corpus: str | None = None) -> Recipe:
    """Read a recipe, apply ``--set`` overrides, validate.

    Args:
        path: The YAML file, or the name of a recipe that ships with reidforge.
        overrides: ``a.b=value`` each, the value written as in YAML.
        corpus: Replaces the recipe's own corpus when given.

    Raises:
        UserError: One line per mistake: the key, what was given, what is accepted.
    """
    content = _read(path)
    for override in overrides:
        _override(content, override)
    if corpus is not None:
        content["corpus"] = corpus
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(_explain(path, error)) from error


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe, including defaults, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(find_recipe(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"recipe {path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"recipe {path}: holds {type(content).__name__}, expected keys such as corpus, crawl, detect")
    return content


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not all(key.split(".")):
        raise UserError(f"--set {override!r}: expected key=value, such as caption.seed=7")
    *parents, last = key.split(".")
    block = content
    for parent in parents:
        below = block.get(parent)
        block[parent] = below if isinstance(below, dict) else {}
        block = block[parent]
    try:
        block[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value is not YAML: {' '.join(str(error).split())}") from error


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        lines.append(f"recipe {path}: {key}: got {_short(item['input'])}; {_accepted(key, item['type'], item['msg'])}")
    return "\n".join(lines)


def _accepted(key: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"no such key here; accepted are {', '.join(_siblings(key))}"
    if kind == "missing":
        return "this key is needed"
    return message[0].lower() + message[1:]


def _siblings(key: str) -> list[str]:
    block: Any = Recipe
    for part in key.split(".")[:-1]:
        field = getattr(block, "model_fields", {}).get(part)
        block = field.annotation if field else None
    return sorted(getattr(block, "model_fields", {})) or ["none that this version knows"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
