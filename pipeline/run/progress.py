"""Progress of a run: a live bar on a terminal, plain lines elsewhere, and a log in both cases."""

import logging
import math
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.run.pace import WINDOW_S, Pace

log = logging.getLogger("reidforge")

# Frequent enough to follow a run, rare enough to read its log a year later.
LINE_SECONDS = 10.0

# Set on records that a bar shows already: the log file takes them, a terminal does not.
ON_BAR = "on_bar"

_IRREGULAR = {"corpus": "corpora", "query": "queries"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Progress inside one unit that takes long.

    Args:
        step: What is counted, in the singular.
        done: Steps done.
        total: Steps of the whole unit.
        note: Figures of the last steps, such as loss and rate.
        seconds_left: Estimated time to the last step.
    """

    step: str
    done: int
    total: int
    note: str
    seconds_left: float

    def __str__(self) -> str:
        left = f", about {duration(self.seconds_left)} left" if self.done < self.total else ""
        return f"{self.step} {self.done} of {self.total}, {self.note}{left}"


class StageProgress(Protocol):
    """Progress of one stage."""

    def advance(self, units: int, note: str) -> None:
        """Count units that ended; the note summarizes their outcomes."""
        ...

    def within(self, part: Part) -> None:
        """Report progress inside a unit. May be called from any thread."""
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
        self.bar = Progress(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Units may take minutes; Rich's own 30 s would forget one before the next ends.
            speed_estimate_period=WINDOW_S,
        )
        self.task = self.bar.add_task(stage, total=total, note=counted(total, unit))
        self.part: TaskID | None = None
        self.lines = _Lines(stage)

    def advance(self, units: int, note: str) -> None:
        """Move the bar."""
        self.bar.update(self.task, advance=units, note=note)

    def within(self, part: Part) -> None:
        """Move a second bar below the stage's own, and write a line to the log now and then."""
        if self.part is None:
            # Created where a resumed unit stands: a jump from 0 would spoil the estimate of the time left.
            self.part = self.bar.add_task(f"  {part.step}", total=part.total, completed=part.done, note=part.note)
        self.bar.update(self.part, completed=part.done, note=part.note)
        self.lines.write(part, extra={ON_BAR: True})

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


class LineProgress:
    """A line every few seconds."""

    def __init__(self, stage: str, unit: str, total: int) -> None:
        self.stage, self.unit = stage, unit
        self.pace = Pace(total)
        self.written = time.monotonic()
        self.lines = _Lines(stage)

    def advance(self, units: int, note: str) -> None:
        """Log how many units have ended, if the last line is old enough."""
        self.pace.add(units)
        now = time.monotonic()
        if now - self.written > LINE_SECONDS and self.pace.done < self.pace.total:
            self.written = now
            left = self.pace.seconds_left()
            text = "" if left is None else f", about {duration(left)} left"
            log.info("%s: %d of %s (%s)%s", self.stage, self.pace.done, counted(self.pace.total, self.unit), note, text)

    def within(self, part: Part) -> None:
        """Log how far a unit is, if the last line is old enough."""
        self.lines.write(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class _Lines:
    """Lines about the parts of a unit: the first at once, then one every few seconds."""

    def __init__(self, stage: str) -> None:
        self.stage, self.written = stage, -math.inf

    def write(self, part: Part, extra: dict[str, bool] | None = None) -> None:
        now = time.monotonic()
        if now - self.written > LINE_SECONDS or part.done == part.total:
            self.written = now
            log.info("%s: %s", self.stage, part, extra=extra)


def counted(count: int, noun: str) -> str:
    """A number and its noun: ``1 run``, ``2 runs``, ``0 queries``."""
    return f"{count} {noun if count == 1 else _IRREGULAR.get(noun, noun + 's')}"


def duration(seconds: float) -> str:
    """A length of time: ``3 d 4 h``, ``2 h 5 min``, ``3 min``, ``40 s``; two units at most."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def stage_progress(console: Console, stage: str, unit: str, total: int) -> StageProgress:
    """A bar on a terminal, lines elsewhere."""
    if console.is_terminal:
        return BarProgress(console, stage, unit, total)
    return LineProgress(stage, unit, total)
