"""What a run says while it works: a live bar on a terminal, plain lines elsewhere, and a log either way."""

import datetime as dt
import json
import logging
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.corpus.files import Corpus

log = logging.getLogger("reidforge")

# Often enough to see a run live, seldom enough to read its log a year later.
LINE_SECONDS = 10.0


class StageProgress(Protocol):
    """Progress of one stage."""

    def advance(self, units: int, note: str) -> None:
        """Some units have ended; the note sums up how."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BarProgress:
    """A live bar."""

    def __init__(self, console: Console, stage: str, unit: str, total: int) -> None:
        columns = (
            TextColumn("  {task.description:9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)
        self.task = self.bar.add_task(stage, total=total, note=f"{unit}s")

    def advance(self, units: int, note: str) -> None:
        """Move the bar."""
        self.bar.update(self.task, advance=units, note=note)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


class LineProgress:
    """A line every few seconds."""

    def __init__(self, stage: str, unit: str, total: int) -> None:
        self.stage, self.unit, self.total = stage, unit, total
        self.done = 0
        self.began = self.said = time.monotonic()

    def advance(self, units: int, note: str) -> None:
        """Say how far it is, if it is time to."""
        self.done += units
        now = time.monotonic()
        if now - self.said > LINE_SECONDS and self.done < self.total:
            self.said = now
            left = (now - self.began) / self.done * (self.total - self.done)
            log.info(
                "%s: %d of %d %ss (%s), about %.0f s left", self.stage, self.done, self.total, self.unit, note, left
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def stage_progress(console: Console, stage: str, unit: str, total: int) -> StageProgress:
    """A bar where there is a terminal, lines where there is none."""
    if console.is_terminal:
        return BarProgress(console, stage, unit, total)
    return LineProgress(stage, unit, total)


def announce(corpus: Corpus, run_id: str, stage: str, *, wanted: int, todo: int) -> None:
    """Say what a run is about to do: the ledger knows what was done, not what was to be done."""
    began = dt.datetime.now(dt.UTC).isoformat()
    corpus.put(announced_path(run_id, stage), json.dumps({"began": began, "wanted": wanted, "todo": todo}).encode())


def announced_path(run_id: str, stage: str) -> str:
    """File in which a run announces a stage."""
    return f"runs/{run_id}/stages/{stage}.json"
