"""How far a corpus is: units, rates and the time left, from the ledger and from what each run announced."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger, ledger_stages, query
from pipeline.flow.order import WRITERS
from pipeline.run.announcement import announced_path

# A run that says nothing for so long, and for ten times as long as a unit takes it, was killed.
_SILENT_S: Final = 600

_ORDER: Final = tuple(writer.name for writer in WRITERS)

_UNITS = """
SELECT stage, count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'empty') AS empty,
    count(*) FILTER (status = 'failed') AS failed, count(*) FILTER (status = 'quarantined') AS quarantined,
    sum(rows_out)::BIGINT AS rows, sum(frames)::BIGINT AS frames, sum(crops)::BIGINT AS crops,
    sum(seconds) AS busy_seconds, max(finished_at) AS last
FROM latest WHERE status <> 'retired' GROUP BY stage
"""

# The last run of each stage that settled a unit. Its start is what it announced, else guessed from its first unit.
_PACE = """
WITH pace AS (
    SELECT stage, run_id, count(*) FILTER (status <> 'failed') AS settled, sum(frames)::BIGINT AS frames,
        sum(crops)::BIGINT AS crops, min(finished_at - to_microseconds((seconds * 1e6)::BIGINT)) AS guessed,
        max(finished_at) AS last
    FROM history WHERE status <> 'retired' GROUP BY stage, run_id
)
SELECT * FROM pace QUALIFY row_number() OVER (PARTITION BY stage ORDER BY last DESC, run_id DESC) = 1
"""

_REASONS = """
SELECT stage, error_type, any_value(error_message) AS message, count(*) AS units, any_value(unit_id) AS example
FROM latest WHERE status IN ('failed', 'quarantined') GROUP BY stage, error_type ORDER BY units DESC, stage LIMIT 20
"""


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """How far one stage is.

    Args:
        stage: Name of the stage.
        ok: Units with rows.
        empty: Units that were read whole and hold nothing.
        failed: Units to be tried again.
        quarantined: Units that were given up.
        rows: Rows of all tables.
        frames: Frames decoded; None where none are.
        crops: Crops cut; None where none are.
        busy_seconds: Work time, summed over the operators.
        last: When the last unit was committed.
        run_id: The last run that settled a unit here.
        left: Units that it has still to settle; 0 when it is over.
        frames_per_second: Its frames by the wall clock; None where none are decoded.
        crops_per_second: Its crops by the wall clock.
        units_per_second: Its units by the wall clock.
        seconds_left: At its pace so far; None when it is over or was stopped.
    """

    stage: str
    ok: int
    empty: int
    failed: int
    quarantined: int
    rows: int
    frames: int | None
    crops: int | None
    busy_seconds: float
    last: dt.datetime
    run_id: str
    left: int
    frames_per_second: float | None
    crops_per_second: float | None
    units_per_second: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Units of a stage that failed in the same way."""

    stage: str
    kind: str
    message: str
    units: int
    example: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a corpus is."""

    stages: tuple[StageStatus, ...]
    reasons: tuple[Reason, ...]


def gather(corpus: Corpus) -> Status:
    """Read the ledgers of all stages."""
    names = sorted(ledger_stages(corpus), key=_place)
    ledgers = [Ledger(corpus, name) for name in names]
    if not ledgers:
        return Status(stages=(), reasons=())
    latest = pa.concat_tables(ledger.latest() for ledger in ledgers)
    history = pa.concat_tables(ledger.history() for ledger in ledgers)
    units = {row["stage"]: row for row in query(_UNITS, latest=latest).to_pylist()}
    paces = {row["stage"]: row for row in query(_PACE, history=history).to_pylist()}
    stages = tuple(_stage(corpus, units[name], paces[name]) for name in names if name in units and name in paces)
    reasons = query(_REASONS, latest=latest).to_pylist()
    return Status(
        stages=stages,
        reasons=tuple(
            Reason(
                stage=row["stage"],
                kind=row["error_type"] or "unknown",
                message=row["message"] or "",
                units=row["units"],
                example=row["example"],
            )
            for row in reasons
        ),
    )


def render(status: Status) -> Iterator[RenderableType]:
    """The status for a terminal."""
    columns = ("stage", "ok", "empty", "failed", "quarantined", "rows", "frames/s", "crops/s", "left", "time left")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (*columns, "busy s", "last unit"):
        table.add_column(name, justify="left" if name in ("stage", "last unit") else "right")
    for stage in status.stages:
        table.add_row(
            stage.stage,
            *(str(count) for count in (stage.ok, stage.empty, stage.failed, stage.quarantined, stage.rows)),
            _rate(stage.frames_per_second),
            _rate(stage.crops_per_second),
            str(stage.left),
            _duration(stage.seconds_left),
            f"{stage.busy_seconds:.1f}",
            f"{stage.last:%Y-%m-%d %H:%M:%S}",
        )
    yield table
    for reason in status.reasons:
        yield Text(f"\n{reason.stage}: {reason.units} unit(s) {reason.kind}, such as {reason.example}", style="bold")
        yield Text(f"  {reason.message}")


def _place(name: str) -> int:
    # The ledger of a stage that this version does not have comes last.
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _stage(corpus: Corpus, units: dict[str, Any], pace: dict[str, Any]) -> StageStatus:
    plan = _plan(corpus, pace["run_id"], pace["stage"])
    began = dt.datetime.fromisoformat(plan["began"]) if plan else pace["guessed"]
    seconds = max((pace["last"] - began).total_seconds(), 1e-3)
    over = corpus.exists(f"runs/{pace['run_id']}/statistics.json")
    left = max(plan["todo"] - pace["settled"], 0) if plan and not over else 0
    silent = (dt.datetime.now(dt.UTC) - pace["last"]).total_seconds()
    alive = silent < max(_SILENT_S, 10 * seconds / max(pace["settled"], 1))
    return StageStatus(
        **{name: units[name] for name in ("stage", "ok", "empty", "failed", "quarantined", "frames", "crops", "last")},
        rows=units["rows"] or 0,
        busy_seconds=units["busy_seconds"] or 0.0,
        run_id=pace["run_id"],
        left=left,
        frames_per_second=pace["frames"] / seconds if pace["frames"] else None,
        crops_per_second=pace["crops"] / seconds if pace["crops"] else None,
        units_per_second=pace["settled"] / seconds,
        seconds_left=seconds / pace["settled"] * left if left and alive and pace["settled"] else None,
    )


def _plan(corpus: Corpus, run_id: str, stage: str) -> dict[str, Any] | None:
    path = announced_path(run_id, stage)
    if not corpus.exists(path):
        return None
    plan: dict[str, Any] = json.loads(corpus.read(path))
    return plan


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _duration(seconds: float | None) -> str:
    """``3 d 4 h``, ``2 h 5 min``, ``3 min``, ``40 s``: two units at most."""
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
