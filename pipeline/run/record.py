"""What a run leaves behind for whoever asks a year later: recipe, versions, statistics, log."""

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
from pipeline.run.runner import StageSummary
from pipeline.run.stage import Stage
from pipeline.run.weights import weights_digest

_PACKAGES = (
    "av", "duckdb", "numpy", "open_clip_torch", "opencv-python", "pyarrow", "ray", "torch", "torchvision",
    "ultralytics", "yt-dlp",
)  # fmt: skip


def new_run_id() -> str:
    """Sortable by time, and unique when two runs start in one second."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@contextmanager
def recorded(corpus: Corpus, recipe: Recipe, stages: Sequence[Stage], run_id: str) -> Iterator[list[StageSummary]]:
    """Record a run below ``runs/<run_id>``; the caller appends stage summaries to the list it is given."""
    folder = f"runs/{run_id}"
    corpus.put(f"{folder}/recipe.yaml", dump_recipe(recipe).encode())
    corpus.put(f"{folder}/environment.json", _environment(recipe, stages).encode())
    summaries: list[StageSummary] = []
    with tempfile.TemporaryDirectory() as scratch:
        log_file = Path(scratch) / "log.txt"
        handler = logging.FileHandler(log_file, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger("reidforge").addHandler(handler)
        try:
            yield summaries
        finally:
            logging.getLogger("reidforge").removeHandler(handler)
            handler.close()
            corpus.put(
                f"{folder}/statistics.json", json.dumps([_statistics(item) for item in summaries], indent=1).encode()
            )
            corpus.put(f"{folder}/log.txt", log_file.read_bytes())


def _environment(recipe: Recipe, stages: Sequence[Stage]) -> str:
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        # Nodes of a cluster have the locked packages, and not the distribution reidforge.
        "packages": {"reidforge": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "weights": {name: weights_digest(name) for name in (recipe.detect.model, recipe.embed.model)},
        "fingerprints": {stage.name: stage.fingerprint(recipe) for stage in stages},
    }
    return json.dumps(facts, indent=1)


def _statistics(summary: StageSummary) -> dict[str, object]:
    return {
        "stage": summary.stage,
        "units_wanted": summary.wanted,
        "units_ran": dict(summary.ran),
        "units_failed": summary.failed,
        "seconds": round(summary.seconds, 3),
        "errors": [{"type": kind, "message": text, "units": units} for kind, text, units in summary.reasons],
    }
