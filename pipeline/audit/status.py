"""Progress of a corpus: units, rates and the time left, from the ledger and from what each run announced."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger, ledger_stages, query
from pipeline.flow.order import WRITERS
from pipeline.run.progress import counted, duration
from schemas.tables import LEDGER

# A run is taken for killed when it settles no unit for this long, and for ten times as long as a unit takes it.
_SILENT_S: Final = 600

_ORDER: Final = tuple(writer.name for writer in WRITERS)

_UNITS = """
SELECT stage, count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'empty') AS empty,
    count(*) FILTER (status = 'failed') AS failed, count(*) FILTER (status = 'quarantined') AS quarantined,
    sum(rows_out)::BIGINT AS rows, sum(frames)::BIGINT AS frames, sum(crops)::BIGINT AS crops,
    sum(seconds) AS busy_seconds, max(finished_at) AS last
FROM latest WHERE status <> 'retired' GROUP BY stage
"""

# The last run that settled a unit of each stage. Runs of early versions announced nothing: their start is guessed.
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
    """Progress of one stage.

    Args:
        stage: Name of the stage.
        ok: Units with rows.
        empty: Units that were read whole and have no rows.
        failed: Units that will be tried again.
        quarantined: Units that failed for good; ``reidforge retry`` tries them again.
        rows: Rows of all tables.
        frames: Frames decoded; None where the stage decodes none.
        crops: Crops cut; None where the stage cuts none.
        busy_seconds: Work time, summed over the operators.
        last: When the last unit was committed; None before the first.
        run_id: Last run that announced the stage or settled a unit of it.
        left: Units that this run has yet to settle; 0 when it is over.
        frames_per_second: Its frames by the wall clock; None where it decodes none.
        crops_per_second: Its crops by the wall clock.
        units_per_second: Its units by the wall clock.
        seconds_left: At its pace so far; None before its first unit, and when it is over or was stopped.
    """

    stage: str
    ok: int = 0
    empty: int = 0
    failed: int = 0
    quarantined: int = 0
    rows: int = 0
    frames: int | None = None
    crops: int | None = None
    busy_seconds: float = 0.0
    last: dt.datetime | None = None
    run_id: str
    left: int = 0
    frames_per_second: float | None = None
    crops_per_second: float | None = None
    units_per_second: float = 0.0
    seconds_left: float | None = None


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
    """Progress of a corpus.

    Args:
        stages: Stages with units or with a run that announced some, in the order of a run.
        reasons: Most frequent errors.
        last_run: The last run that was recorded; None where none was.
    """

    stages: tuple[StageStatus, ...]
    reasons: tuple[Reason, ...]
    last_run: str | None


@dataclass(frozen=True, kw_only=True)
class _Announced:
    """What a run announced about a stage."""

    run_id: str
    began: dt.datetime
    todo: int
    over: bool


def gather(corpus: Corpus) -> Status:
    """Read the ledgers of all stages and the records of all runs."""
    ledgers = [Ledger(corpus, name) for name in ledger_stages(corpus)]
    nothing = LEDGER.empty_table()
    latest = pa.concat_tables([nothing, *(ledger.latest() for ledger in ledgers)])
    history = pa.concat_tables([nothing, *(ledger.history() for ledger in ledgers)])
    units = {row["stage"]: row for row in query(_UNITS, latest=latest).to_pylist()}
    paces = {row["stage"]: row for row in query(_PACE, history=history).to_pylist()}
    runs = sorted(corpus.relative(info.path) for info in corpus.files("runs"))
    announced = _announced(corpus, runs)
    waiting = {name for name, run in announced.items() if not run.over}
    return Status(
        stages=tuple(
            _stage(name, units.get(name, {}), paces.get(name, {}), announced.get(name))
            for name in sorted(waiting | units.keys() & paces.keys(), key=_place)
        ),
        reasons=tuple(_reason(row) for row in query(_REASONS, latest=latest).to_pylist()),
        last_run=max((path.split("/")[1] for path in runs), default=None),
    )


def render(status: Status) -> Iterator[RenderableType]:
    """The status for a terminal of 80 columns: counts, pace and errors."""
    if status.stages:
        yield _counts(status.stages)
        yield Text("")
        yield _pace(status.stages)
    elif status.last_run:
        yield Text(f"Run {status.last_run} has started and has not announced a stage yet.")
    for reason in status.reasons:
        units = counted(reason.units, "unit")
        yield Text(f"\n{reason.stage}: {units} {reason.kind}, such as {reason.example}", style="bold")
        yield Text(f"  {reason.message}")


def _counts(stages: tuple[StageStatus, ...]) -> Table:
    table = _table("stage", "ok", "empty", "failed", "quarantined", "rows", "left")
    for stage in stages:
        counts = (stage.ok, stage.empty, stage.failed, stage.quarantined, stage.rows, stage.left)
        table.add_row(stage.stage, *map(str, counts))
    return table


def _pace(stages: tuple[StageStatus, ...]) -> Table:
    table = _table("stage", "frames/s", "crops/s", "busy s", "time left", "last unit")
    for stage in stages:
        table.add_row(
            stage.stage,
            _rate(stage.frames_per_second),
            _rate(stage.crops_per_second),
            f"{stage.busy_seconds:.1f}",
            _duration(stage.seconds_left),
            "-" if stage.last is None else f"{stage.last:%Y-%m-%d %H:%M:%S}",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    return table


def _place(name: str) -> tuple[int, str]:
    # The ledger of a stage that this version does not have comes last.
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _announced(corpus: Corpus, runs: list[str]) -> dict[str, _Announced]:
    """The last announcement of each stage, by stage; ``runs`` are the files of all runs."""
    over = {path.split("/")[1] for path in runs if path.endswith("/statistics.json")}
    found: dict[str, _Announced] = {}
    for path in runs:
        if path.split("/")[2] != "stages":
            continue
        plan = json.loads(corpus.read(path))
        run_id, stage = path.split("/")[1], path.rpartition("/")[2].removesuffix(".json")
        began = dt.datetime.fromisoformat(plan["began"])
        if stage not in found or began > found[stage].began:
            found[stage] = _Announced(run_id=run_id, began=began, todo=plan["todo"], over=run_id in over)
    return found


def _stage(name: str, units: Mapping[str, Any], pace: Mapping[str, Any], announced: _Announced | None) -> StageStatus:
    """Status of a stage; ``pace`` is empty where no unit was ever settled, ``announced`` None where no run said."""
    columns = ("ok", "empty", "failed", "quarantined", "rows", "frames", "crops", "busy_seconds", "last")
    counts = {column: units[column] for column in columns if units.get(column) is not None}
    if announced is not None and _is_ahead(announced, pace):
        left = 0 if announced.over else announced.todo
        return StageStatus(stage=name, run_id=announced.run_id, left=left, **counts)
    if announced is not None and announced.run_id != pace["run_id"]:
        announced = None
    return StageStatus(stage=name, run_id=pace["run_id"], **counts, **_progress(pace, announced))


def _is_ahead(announced: _Announced, pace: Mapping[str, Any]) -> bool:
    """Whether the run that announced the stage last has not settled a unit of it yet."""
    return not pace or (announced.run_id != pace["run_id"] and announced.began > pace["last"])


def _progress(pace: Mapping[str, Any], announced: _Announced | None) -> dict[str, Any]:
    """Rates and what is left of the run that settled the last unit, from its units and from what it announced."""
    began = pace["guessed"] if announced is None else announced.began
    seconds = max((pace["last"] - began).total_seconds(), 1e-3)
    settled = pace["settled"]
    left = 0 if announced is None or announced.over else max(announced.todo - settled, 0)
    silent = (dt.datetime.now(dt.UTC) - pace["last"]).total_seconds()
    alive = silent < max(_SILENT_S, 10 * seconds / max(settled, 1))
    return {
        "left": left,
        "frames_per_second": pace["frames"] / seconds if pace["frames"] else None,
        "crops_per_second": pace["crops"] / seconds if pace["crops"] else None,
        "units_per_second": settled / seconds,
        "seconds_left": seconds / settled * left if left and alive and settled else None,
    }


def _reason(row: dict[str, Any]) -> Reason:
    return Reason(
        stage=row["stage"],
        kind=row["error_type"] or "unknown",
        message=row["message"] or "",
        units=row["units"],
        example=row["example"],
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
