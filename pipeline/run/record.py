"""The record of a run in ``runs/<run_id>/``: recipe and the files that it names, versions, statistics, log."""

import datetime as dt
import importlib.metadata
import json
import logging
import platform
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline import __version__
from pipeline.corpus.files import Corpus
from pipeline.recipe import Recipe, dump_recipe
from pipeline.run.code_version import code_version
from pipeline.run.runner import StageSummary
from pipeline.run.stage import Stage
from pipeline.run.weights_digest import weights_digest
from stages.resources import locate

_PACKAGES = (
    "av", "duckdb", "numpy", "open_clip_torch", "opencv-python", "pyarrow", "ray", "torch", "torchvision",
    "ultralytics", "yt-dlp",
)  # fmt: skip

# The list of addresses of LUPerson's 74,000 videos is 4 MB; a larger file is kept as its digest.
_LARGEST_COPY = 32 << 20


def new_run_id() -> str:
    """A run id: sorts by time, and is unique even if two runs start in the same second."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@contextmanager
def recorded(
    corpus: Corpus, recipe: Recipe, stages: Sequence[Stage], run_id: str, summaries: Sequence[StageSummary]
) -> Iterator[None]:
    """Record a run below ``runs/<run_id>``; ``summaries`` is read at the end, and the caller extends it until then."""
    folder = f"runs/{run_id}"
    corpus.put(f"{folder}/recipe.yaml", dump_recipe(recipe).encode())
    facts = _environment(recipe, stages) | {"files": _keep_files(corpus, folder, recipe, stages)}
    corpus.put(f"{folder}/environment.json", json.dumps(facts, indent=1).encode())
    with tempfile.TemporaryDirectory() as scratch:
        log_file = Path(scratch) / "log.txt"
        handler = logging.FileHandler(log_file, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger("reidforge").addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger("reidforge").removeHandler(handler)
            handler.close()
            corpus.put(
                f"{folder}/statistics.json", json.dumps([_statistics(item) for item in summaries], indent=1).encode()
            )
            corpus.put(f"{folder}/log.txt", log_file.read_bytes())


def _environment(recipe: Recipe, stages: Sequence[Stage]) -> dict[str, object]:
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        # Nodes of a cluster have the locked packages, and not the distribution reidforge.
        "packages": {"reidforge": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "fingerprints": {stage.name: stage.fingerprint(recipe) for stage in stages},
    }


def _keep_files(corpus: Corpus, folder: str, recipe: Recipe, stages: Sequence[Stage]) -> dict[str, dict[str, object]]:
    """Copy the text files that a recipe names into the record; returns name, digest and copy of each, by recipe key."""
    named = {key: name for stage in stages for key, name in stage.files(recipe).items() if name is not None}
    kept: dict[str, dict[str, object]] = {}
    for key, name in sorted(named.items()):
        path = Path(locate(name))
        content, copy = _text(path), f"files/{key}/{path.name}"
        if content is not None:
            corpus.put(f"{folder}/{copy}", content)
        kept[key] = {
            "name": name,
            "digest": weights_digest(name) if path.exists() else None,
            "copy": None if content is None else copy,
        }
    return kept


def _text(path: Path) -> bytes | None:
    """Content of a text file; None for weights, folders, and what does not exist."""
    if not path.is_file() or path.stat().st_size > _LARGEST_COPY:
        return None
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return content


def _statistics(summary: StageSummary) -> dict[str, object]:
    return {
        "stage": summary.stage,
        "units_wanted": summary.wanted,
        "units_ran": dict(summary.ran),
        "units_failed": summary.failed,
        "seconds": round(summary.seconds, 3),
        "errors": [{"type": kind, "message": text, "units": units} for kind, text, units in summary.reasons],
    }
