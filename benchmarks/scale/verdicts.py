"""What was measured, beside its goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.scale.spending import Spent

Measure = Literal["clock", "processor", "megabytes", "files"]

_UNITS: Final[Mapping[Measure, str]] = {
    "clock": "{:,g} s by the clock",
    "processor": "{:,g} s of processor time",
    "megabytes": "{:,g} MB",
    "files": "{:,g} files",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    Args:
        what: What was measured.
        values: By measure.
        goals: Largest values that meet the goal, by measure.
        failed: Why there are no values.
        said: What else is to be known.
    """

    what: str
    values: Mapping[Measure, float] = field(default_factory=dict)
    goals: Mapping[Measure, float] = field(default_factory=dict)
    failed: str | None = None
    said: str = ""

    def __str__(self) -> str:
        values = ", ".join(_UNITS[name].format(round(value, 2)) for name, value in self.values.items())
        return "; ".join(part for part in (f"{self.what}: {values}", self.verdict, self.said) if part)

    @property
    def met(self) -> bool:
        """Whether all goals are met."""
        return self.failed is None and all(self.values[name] <= limit for name, limit in self.goals.items())

    @property
    def verdict(self) -> str:
        """Whether each goal is met, with the ratio of what was measured to it."""
        if self.failed:
            return f"missed: {self.failed}" if self.goals else f"failed: {self.failed}"
        return ", ".join(
            f"{'met' if self.values[name] <= limit else 'missed'} ({self.values[name] / limit:.2f} of it)"
            for name, limit in self.goals.items()
        )


def line(what: str, spent: Spent, goals: Mapping[Measure, float] | None = None, said: str = "") -> Line:
    """The line of a command."""
    values: dict[Measure, float] = {
        "clock": spent.clock, "processor": spent.processor, "megabytes": spent.megabytes
    }  # fmt: skip
    return Line(what=what, values=values, goals=goals or {}, failed=spent.failed, said=said)


def show(lines: Sequence[Line], title: str) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")
    for head in ("what", "clock, s", "processor, s", "memory, MB", "files", "goal", "verdict", ""):
        numeric = head in ("clock, s", "processor, s", "memory, MB", "files")
        table.add_column(head, justify="right" if numeric else "left", no_wrap=numeric)
    for one in lines:
        goal = ", ".join(f"< {_UNITS[name].format(limit)}" for name, limit in one.goals.items())
        table.add_row(one.what, *(_number(one, name) for name in _UNITS), goal, one.verdict, one.said)
    Console(width=200).print(table)


def _number(one: Line, name: Measure) -> str:
    value = one.values.get(name)
    if value is None:
        return ""
    return f"{value:,.2f}" if name in ("clock", "processor") else f"{value:,.0f}"
