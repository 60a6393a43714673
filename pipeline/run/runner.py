"""Runs a recipe: stage after stage, each planned against the ledger and committed to it."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger, LedgerWriter, newest_moment, retired
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import RunFailed
from pipeline.recipe import Recipe
from pipeline.run.announcement import announce
from pipeline.run.metrics import Meter
from pipeline.run.plan import Plan, plan_stage
from pipeline.run.progress import counted, stage_progress
from pipeline.run.stage import Job, Stage
from pipeline.run.units import LOST, SETUP, UNWRITABLE

log = logging.getLogger("reidforge")


@dataclass(kw_only=True)
class StageSummary:
    """Outcome of a stage.

    Args:
        stage: Name of the stage.
        wanted: Units that the recipe wants.
        ran: Outcomes of this run by status; empty if no unit was to do.
        failed: Units that are failed or quarantined now, from this run or an earlier one.
        seconds: Wall time.
        reasons: Most frequent errors, as (error_type, message, units).
    """

    stage: str
    wanted: int
    ran: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    seconds: float = 0.0
    reasons: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def failed_share(self) -> float:
        """Share of the wanted units that are failed or quarantined."""
        return self.failed / self.wanted if self.wanted else 0.0


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What all stages of one run share.

    Args:
        snapshot: What counts; brought up to date after each stage.
        recipe: The resolved recipe.
        run_id: Names the run in the ledger and in ``runs/``.
        console: For progress.
        retry: Whether quarantined units run again.
        check: Raises ``RunFailed`` if this run may not write any more, since its lease was broken.
    """

    snapshot: Snapshot
    recipe: Recipe
    run_id: str
    console: Console
    retry: bool = False
    check: Callable[[], None] = lambda: None

    @property
    def corpus(self) -> Corpus:
        """The corpus that is built."""
        return self.snapshot.corpus


def run_stage(run: RunContext, stage: Stage, plan: Plan | None = None) -> StageSummary:
    """Run one stage: passes over the units to do, until each is done or quarantined.

    Args:
        run: The run.
        stage: The stage.
        plan: What it has to do; None = plan it here.
    """
    began = time.monotonic()
    plan = plan_stage(run.snapshot, run.recipe, stage) if plan is None else plan
    summary = StageSummary(stage=stage.name, wanted=plan.wanted.num_rows)
    if not plan.is_settled(retry=run.retry):
        known = newest_moment(run.snapshot.latest(stage.name))
        with LedgerWriter(Ledger(run.corpus, stage.name, known), run.check) as ledger:
            ledger.add(retired(row, run.run_id) for row in plan.retired.to_pylist())
            ledger.flush()
            _run_passes(run, stage, plan, ledger, summary)
        Ledger(run.corpus, stage.name).compact()
        run.snapshot.refresh()
    stage.finish(run.snapshot, run.recipe)
    _count_failures(run, stage, plan, summary)
    summary.seconds = time.monotonic() - began
    return summary


def _run_passes(run: RunContext, stage: Stage, plan: Plan, ledger: LedgerWriter, summary: StageSummary) -> None:
    attempts = plan.attempted(retry=run.retry)
    todo = plan.todo(retry=run.retry)
    if not todo.num_rows:
        return
    announce(run.corpus, run.run_id, plan, retry=run.retry)
    meter = Meter(stage.name, run.run_id, todo.num_rows)
    while todo.num_rows:
        log.info("%s: %d of %s to do", stage.name, todo.num_rows, counted(plan.wanted.num_rows, stage.unit))
        counts: Counter[str] = Counter()
        again: list[str] = []
        with stage_progress(run.console, stage.name, stage.unit, todo.num_rows) as progress:
            job = Job(
                snapshot=run.snapshot,
                recipe=run.recipe,
                fingerprint=plan.fingerprint,
                scope=plan.scope,
                tables=stage.tables,
                todo=todo,
                progress=progress.within,
            )
            for outcome in _outcomes(stage, job):
                attempts[outcome["unit_id"]] = attempts.get(outcome["unit_id"], 0) + 1
                row = _ledger_row(outcome, run, plan, attempts[outcome["unit_id"]])
                ledger.add([row])
                meter.count(row)
                counts[row["status"]] += 1
                if row["status"] == "failed":
                    again.append(row["unit_id"])
                progress.advance(1, ", ".join(f"{count} {status}" for status, count in counts.items()))
        ledger.flush()
        summary.ran.update({status: count for status, count in counts.items() if status != "failed"})
        todo = todo.filter(pc.is_in(todo["unit_id"], pa.array(again, pa.string())))
        if again:
            log.info("%s: %s failed; trying again", stage.name, counted(len(again), stage.unit))


def _outcomes(stage: Stage, job: Job) -> Iterator[dict[str, Any]]:
    """Outcomes of a pass, including the units that Ray did not return."""
    waiting = dict(zip(job.todo["unit_id"].to_pylist(), job.todo["inputs"].to_pylist(), strict=True))
    for block in stage.execute(job):
        for outcome in block.to_pylist():
            if outcome["error_type"] == SETUP:
                raise RunFailed(f"{stage.name} cannot start: {outcome['error_message']}")
            if outcome["error_type"] == UNWRITABLE:
                raise RunFailed(f"{stage.name}: {outcome['error_message']}. The same command resumes from here")
            if waiting.pop(outcome["unit_id"], None) is not None:
                yield outcome
    for unit, inputs in waiting.items():
        yield LOST | {"unit_id": unit, "scope": job.scope, "inputs": inputs}


def _ledger_row(outcome: dict[str, Any], run: RunContext, plan: Plan, attempts: int) -> dict[str, Any]:
    verdict = outcome["status"]
    if verdict == "failed" and (not outcome["retryable"] or attempts >= run.recipe.run.max_attempts):
        verdict = "quarantined"
    kept = {name: value for name, value in outcome.items() if name != "retryable"}
    return kept | {"status": verdict, "attempts": attempts, "fingerprint": plan.fingerprint, "run_id": run.run_id}


def _count_failures(run: RunContext, stage: Stage, plan: Plan, summary: StageSummary) -> None:
    latest = run.snapshot.latest(stage.name)
    bad = latest.filter(pc.is_in(latest["status"], pa.array(["failed", "quarantined"])))
    bad = bad.filter(pc.is_in(bad["unit_id"], value_set=plan.wanted["unit_id"].combine_chunks()))
    summary.failed = bad.num_rows
    kinds: list[Any] = bad["error_type"].to_pylist()
    messages: list[Any] = bad["error_message"].to_pylist()
    pairs = Counter(zip(kinds, messages, strict=True))
    summary.reasons = [(kind, message, count) for (kind, message), count in pairs.most_common(10)]
