"""The parts of the benchmark: what is measured of a corpus, each by the command that users run."""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import yaml

from benchmarks.scale import noise
from benchmarks.scale.settings import RECIPE
from benchmarks.scale.spending import ask, reidforge, watch
from benchmarks.scale.verdicts import Line, line

ADDRESSES: Final = 20_000
"""Media addresses in the plan of a crawl."""


# The parts before compaction measure the files that stages write.
_SMALL_FILES: Final = ("--set", "run.compact=false")

_TIMES: Final = ("clock", "processor")


@dataclass(frozen=True)
class Place:
    """Where a corpus lies.

    Args:
        folder: The corpus as its runs left it; parts read it.
        copy: A copy made of hard links, which parts may change: files of a corpus are replaced, never overwritten.
    """

    folder: Path
    copy: Path

    @property
    def recipe(self) -> str:
        """Its recipe."""
        return str(self.folder / RECIPE)


@contextmanager
def linked(folder: Path) -> Iterator[Place]:
    """A corpus and a copy of it, which is removed in the end."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=os.link)
    try:
        yield Place(folder, copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def publish(folder: Path) -> None:
    """Write the manifest of the corpus's variant, unless it has one: by a run, as only that knows all that it needs.

    Raises:
        RuntimeError: The run failed.
    """
    if (folder / "ledger" / "publish").exists():
        return
    spent = reidforge("run", str(folder / RECIPE), *_SMALL_FILES, "--from", "publish", "--until", "publish")
    if spent.failed:
        raise RuntimeError(f"the manifest could not be written: {spent.failed}")


def plan(place: Place) -> Iterator[Line]:
    """Plan the whole recipe."""
    spent = reidforge("plan", place.recipe)
    yield line("plan: detect done, embed a third done", spent, {"processor": 5, "megabytes": 1000})


def idle(place: Place) -> Iterator[Line]:
    """Run the stages that have nothing to do."""
    spent = reidforge("run", place.recipe, *_SMALL_FILES, "--corpus", str(place.copy), "--until", "detect")
    yield line("run with nothing to do, until detect", spent, {"processor": 5})


def crawl(place: Place) -> Iterator[Line]:
    """Plan a crawl of media addresses into an empty corpus."""
    folder = place.copy.with_name(f"{place.copy.name}-crawl")
    folder.mkdir(exist_ok=True)
    try:
        names = noise.bits(0, "addresses", np.arange(ADDRESSES)).tolist()
        (folder / "addresses.txt").write_text("".join(f"https://media.example.org/{n:016x}.mp4\n" for n in names))
        content = {"corpus": str(folder / "corpus"), "crawl": {"url_files": [str(folder / "addresses.txt")]}}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
        spent = reidforge("plan", str(folder / "recipe.yaml"), "--until", "crawl")
    finally:
        shutil.rmtree(folder)
    yield line(f"plan of a crawl of {ADDRESSES:,} media addresses", spent, {"processor": 2})


def catalog(place: Place) -> Iterator[Line]:
    """Build the catalog, and open it for one trivial statement."""
    yield line("full build of the catalog", reidforge("catalog", str(place.copy)), {"processor": 60})
    yield line("catalog with nothing new", reidforge("catalog", str(place.copy)))
    yield line("sql 'SELECT 1', the whole command", reidforge("sql", str(place.copy), "SELECT 1"))


def queries(place: Place) -> Iterator[Line]:
    """Open the catalog, ask what an audit asks, and trace one crop; within 4 GiB."""
    cost: dict[str, Any] = ask("benchmarks.scale.queries", str(place.copy))
    asked = cost["queries"]
    yield Line(what="open the catalog", values=cost["open"], goals={"processor": 0.5})
    trace = asked.pop("trace")
    answered = [one for one in asked.values() if "failed" not in one]
    for name, one in asked.items():
        yield _question(f"  {name}", one)
    count, failed = len(asked), len(asked) - len(answered)
    problem = f"{failed} of {count} failed" if failed else None
    for what, of, goal in (("median", median, 1), ("slowest", max, 5)):
        values: dict[Any, float] = {name: of(one[name] for one in answered) for name in _TIMES if answered}
        yield Line(what=f"{what} of {count} audit queries", values=values, goals={"processor": goal}, failed=problem)
    peak: dict[Any, float] = {"megabytes": cost["megabytes"]}
    yield Line(what="memory of all of them", values=peak, goals={"megabytes": 4 * 1024**3 / 1e6})
    yield _question("FROM trace(id), one crop", trace, {"processor": 0.1})


def variant(place: Place) -> Iterator[Line]:
    """Caption all embeddings under a new name; then again, and publish them."""
    yield _variant(place, "a variant", *_SMALL_FILES)
    yield _variant(place, "a variant, published", *_SMALL_FILES, "--publish")


def compact(place: Place) -> Iterator[Line]:
    """Merge the files of the corpus: what is planned must not change."""
    before = reidforge("plan", place.recipe, "--corpus", str(place.copy))
    files = sum(count_files(place.copy).values())
    spent = reidforge("compact", str(place.copy), "--grace", "0")
    yield line("compact", spent, said=f"{files:,} files before")
    yield line("gc of what the changed recipe left", reidforge("gc", str(place.copy), "--min-age", "0"))
    left: dict[Any, float] = {"files": sum(count_files(place.copy).values())}
    yield Line(what="files, compacted", values=left, goals={"files": 500})
    yield line("compact with nothing to merge", reidforge("compact", str(place.copy), "--grace", "0"))
    after = reidforge("plan", place.recipe, "--corpus", str(place.copy))
    same = "the same plan" if before.output == after.output else "ANOTHER PLAN"
    yield line("plan, compacted", after, {"processor": 5, "megabytes": 1000}, same)
    yield _variant(place, "a variant, published, compacted", "--publish")


PARTS: Final[Mapping[str, Callable[[Place], Iterator[Line]]]] = {
    part.__name__: part for part in (plan, crawl, catalog, idle, queries, variant, compact)
}
"""What can be measured, by name; parts that change the copy come last."""


def count_files(folder: Path) -> Counter[str]:
    """Parquet files by the folder of their table."""
    return Counter(path.relative_to(folder).parts[0] for path in folder.rglob("*.parquet"))


def _variant(place: Place, what: str, *options: str) -> Line:
    """A variant with a name and a seed of its own."""
    now = int(time.time())
    chosen = ("--from", place.recipe, "--set", f"caption.seed={now}", *options)
    spent = watch([sys.executable, "-m", "pipeline", "variant", "create", str(place.copy), f"v{now}", *chosen])
    return line(what, spent, {"clock": 120, "megabytes": 3000})


def _question(what: str, cost: Mapping[str, Any], goals: Mapping[Any, float] | None = None) -> Line:
    values: dict[Any, float] = {name: cost[name] for name in _TIMES if name in cost}
    said = f"{cost['rows']:,} rows" if "rows" in cost else ""
    return Line(what=what, values=values, goals=goals or {}, failed=cost.get("failed"), said=said)
