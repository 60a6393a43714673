"""The recipe of a synthetic corpus, the runs that made it, and what each of them asked for."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.scale import noise
from benchmarks.scale.noise import Ints
from pipeline.recipe import Recipe, load_recipe
from stages.crawl.targets import listing_queries
from stages.embed.config import EMBEDDED

VIDEOS: Final = 46_260
"""Videos of LUPerson."""

EMBEDDED_SHARE: Final = 0.306
"""Share of the packs with embeddings and captions: 1.28 of 4.18 million crops, as in LUPerson-T."""

RECIPE: Final = "recipe.yaml"
"""The recipe, beside the tables."""

ADDRESSES: Final = "addresses.txt"
"""List of the videos that are given by their address."""

VARIANT: Final = "luperson_t"

_WORDS: Final = ("street walk", "walking tour", "downtown walk", "market walk", "night walk", "shopping street", "4k")
_CITIES: Final = (
    "Tokyo", "Delhi", "Shanghai", "Mexico City", "Cairo", "Mumbai", "Dhaka", "Osaka", "New York", "Karachi", "Istanbul",
    "Kolkata", "Manila", "Lagos", "Rio de Janeiro", "Moscow", "Lahore", "Paris", "Jakarta", "Lima", "Bangkok", "Seoul",
    "London", "Chicago", "Madrid",
)  # fmt: skip

# Videos per query: a search for 500 finds some that an earlier one listed.
_PER_QUERY: Final = 470

# Shares of the videos that each weekly run added. The second run changed the recipe of detect, and detected the videos
# of the first again.
_SHARES: Final = (0.05, 0.35, 0.10, 0.10, 0.10, 0.10, 0.10, 0.10)

_BY_ADDRESS: Final = 0.01
"""Share of the videos that are listed by their address, not found by a search."""

_FAILING: Final = 0.02
"""Videos that could not be downloaded, as a share of those that could."""


@dataclass(frozen=True)
class Run:
    """One weekly run.

    Attributes:
        number: From 0.
        run_id: Its name in the ledger.
        first: Position of its first new video.
        stop: Position past its last new video.
        failing: Positions, past those of all videos, of those that it failed to download.
        queries: Search queries that are new in it.
        embeds: Share of the packs that it embeds and captions.
    """

    number: int
    run_id: str
    first: int
    stop: int
    failing: range
    queries: tuple[str, ...]
    embeds: float


def write_recipe(folder: Path, videos: int) -> Recipe:
    """Write the recipe that the corpus is made by, after its last change, beside the tables, and read it."""
    queries = max(len(_SHARES), -(-videos // _PER_QUERY))
    pairs = list(itertools.islice(itertools.cycle(itertools.product(_WORDS, _CITIES)), queries))
    searches = [
        {"query": f"{{city}} {words}", "cities": [city for _, city in group], "limit": 500}
        for words, group in itertools.groupby(pairs, key=lambda pair: pair[0])
    ]
    content = {
        "corpus": str(folder),
        "crawl": {
            "searches": searches,
            "url_files": [str(folder / ADDRESSES)],
            # As many videos share a file.
            "concurrency": 16,
            "keep_media": False,
        },
        "embed": {"model": EMBEDDED, "pretrained": None},
        "track": {"tracker": "bytetrack"},
        "caption": {"variant": VARIANT, "seed": 1},
        "run": {"cpus": 2},
    }
    path = folder / RECIPE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return load_recipe(path)


def first_recipe(recipe: Recipe) -> Recipe:
    """The recipe as it was in the first run."""
    rules = recipe.detect.rules.model_copy(update={"min_confidence": 0.5})
    return recipe.model_copy(update={"detect": recipe.detect.model_copy(update={"rules": rules})})


def make_runs(recipe: Recipe, videos: int, embedded: float) -> list[Run]:
    """The runs that the corpus grew by.

    Args:
        recipe: Result of ``write_recipe``.
        videos: Number of videos.
        embedded: Share of the packs that the last run embeds and captions.
    """
    ends = np.round(np.cumsum(_SHARES) * videos).astype(np.int64)
    bounds: list[int] = [0, *ends.tolist()]
    queries = np.array_split(np.array(listing_queries(recipe.crawl), dtype=object), _query_bounds(recipe, bounds))
    runs = []
    for number, (first, stop) in enumerate(itertools.pairwise(bounds)):
        failing = range(videos + round(first * _FAILING), videos + round(stop * _FAILING))
        share = {0: 1.0, len(_SHARES) - 1: embedded}
        runs.append(
            Run(
                number=number, run_id=f"2026{_day(number)}T040000Z-{number:06x}", first=first, stop=stop,
                failing=failing, queries=tuple(queries[number]), embeds=share.get(number, 0.0),
            )
        )  # fmt: skip
    return runs


def given_by_address(seed: int, positions: Ints) -> npt.NDArray[np.bool_]:
    """Which videos the list of addresses names."""
    return noise.uniform(seed, "given", positions) < _BY_ADDRESS


def _query_bounds(recipe: Recipe, bounds: Sequence[int]) -> list[int]:
    """Where the queries of each run begin: at least one each, as many more as the run has videos."""
    count, runs = len(listing_queries(recipe.crawl)), len(bounds) - 1
    spare = [round(stop / bounds[-1] * (count - runs)) for stop in bounds[1:-1]]
    return [number + 1 + more for number, more in enumerate(spare)]


def _day(week: int) -> str:
    days: Any = np.datetime64("2026-01-05") + 7 * week
    return str(days).replace("-", "")[4:]
