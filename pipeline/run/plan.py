"""What a stage would do, and why: the wanted units joined with the ledger."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.grouping import filled, places_of, whole
from pipeline.corpus.lost import lost_units
from pipeline.corpus.snapshot import Snapshot
from pipeline.recipe import Recipe
from pipeline.run.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Units of one stage, sorted by what must happen to them.

    Args:
        stage: Name of the stage.
        scope: Model or variant, empty for stages without one.
        fingerprint: Configuration that the units are wanted under.
        wanted: Every unit that the recipe wants, with the columns that its first step reads.
        reasons: Reason per unit, in the order of ``wanted``: new, recipe changed, input changed, failed, quarantined,
            files lost or done.
        attempts: Attempts so far per unit, under this fingerprint and these inputs, in the same order.
        retired: Ledger rows of units that the recipe no longer wants.
    """

    stage: str
    scope: str
    fingerprint: str
    wanted: pa.Table
    reasons: "pa.Array[Any]"
    attempts: "pa.Array[Any]"
    retired: pa.Table

    def counts(self) -> dict[str, int]:
        """Units by reason."""
        reasons: list[Any]
        counts: list[Any]
        reasons, counts = (column.to_pylist() for column in pc.value_counts(self.reasons).flatten())
        return dict(zip(reasons, counts, strict=True))

    def is_settled(self, *, retry: bool = False) -> bool:
        """Whether no unit is to run, and none to retire."""
        return not self.retired.num_rows and not pc.any(self._open(retry=retry)).as_py()

    def todo(self, *, retry: bool = False) -> pa.Table:
        """Units to run; quarantined ones only with ``retry``."""
        return self.wanted.filter(self._open(retry=retry))

    def attempted(self, *, retry: bool = False) -> dict[str, int]:
        """Attempts so far of the units to run that had any; none count with ``retry``."""
        if retry:
            return {}
        tried = pc.and_(self._open(retry=retry), pc.greater(self.attempts, pa.scalar(0)))
        units: list[Any] = self.wanted["unit_id"].filter(tried).to_pylist()
        counts: list[Any] = self.attempts.filter(tried).to_pylist()
        return dict(zip(units, counts, strict=True))

    def _open(self, *, retry: bool) -> "pa.BooleanArray":
        settled = ["done"] if retry else ["done", "quarantined"]
        return pc.invert(pc.is_in(self.reasons, pa.array(settled)))


def make_plan(snapshot: Snapshot, stage: str, scope: str, fingerprint: str, wanted: pa.Table, *, retires: bool) -> Plan:
    """Compare the units that the recipe wants with those that the ledger has.

    Args:
        snapshot: What counts.
        stage: Name of the stage.
        scope: Model or variant of the recipe; units of other scopes are ignored.
        fingerprint: Current configuration of the stage.
        wanted: Columns unit_id, inputs and those that the first step reads; one row per unit.
        retires: Whether units that are no longer wanted lose their rows.
    """
    latest = snapshot.latest(stage)
    latest = latest.filter(pc.equal(latest["scope"], pa.scalar(scope)))
    reasons, attempts = _judge(wanted, latest, fingerprint)
    return Plan(
        stage=stage,
        scope=scope,
        fingerprint=fingerprint,
        wanted=wanted,
        reasons=reasons,
        attempts=attempts,
        retired=_unwanted(wanted, latest) if retires else latest.slice(0, 0),
    )


def _judge(wanted: pa.Table, latest: pa.Table, fingerprint: str) -> "tuple[pa.Array[Any], pa.Array[Any]]":
    """Reason and attempts of each wanted unit."""
    known = latest.take(places_of(wanted["unit_id"], latest, "unit_id"))
    status = whole(known["status"])
    rules = {
        "new": filled(pc.equal(status, pa.scalar("retired")), True),
        "recipe changed": filled(pc.not_equal(known["fingerprint"], pa.scalar(fingerprint)), False),
        "input changed": filled(pc.not_equal(known["inputs"], wanted["inputs"]), False),
        "done": pc.is_in(status, pa.array(["ok", "empty"])),
    }
    changed = pc.or_(rules["recipe changed"], rules["input changed"])
    attempts = pc.if_else(changed, pa.scalar(0, pa.int32()), filled(known["attempts"], 0))
    return _first_of(rules, status), whole(attempts)


def _first_of(rules: "dict[str, Any]", otherwise: "pa.Array[Any]") -> "pa.Array[Any]":
    """Name of the first rule that is true in each row."""
    # Any: the stubs admit no mixture of constants and columns.
    choose: Any = pc.case_when
    conditions = pc.make_struct(*map(whole, rules.values()), field_names=list(rules))
    return whole(choose(conditions, *(pa.scalar(name) for name in rules), otherwise))


def _unwanted(wanted: pa.Table, latest: pa.Table) -> pa.Table:
    gone = pc.invert(pc.is_in(latest["unit_id"], value_set=wanted["unit_id"].combine_chunks()))
    return latest.filter(pc.and_(gone, pc.not_equal(latest["status"], pa.scalar("retired"))))


def plan_stage(snapshot: Snapshot, recipe: Recipe, stage: Stage) -> Plan:
    """Compare a stage's wanted units with its ledger, and the files of those that are done with what is there."""
    plan = make_plan(
        snapshot,
        stage.name,
        stage.scope(recipe),
        stage.fingerprint(recipe),
        stage.wanted(snapshot, recipe),
        retires=stage.retires,
    )
    return _without_lost(plan, lost_units(snapshot, stage.name, plan.scope))


def _without_lost(plan: Plan, lost: "pa.Array[Any]") -> Plan:
    """The plan, in which units that are done and whose files are gone are to do."""
    if not len(lost):
        return plan
    again = pc.and_(pc.equal(plan.reasons, pa.scalar("done")), pc.is_in(whole(plan.wanted["unit_id"]), value_set=lost))
    # Any: the stubs admit no mixture of constants and columns.
    choose: Any = pc.if_else
    return dataclasses.replace(
        plan,
        reasons=choose(again, pa.scalar("files lost"), plan.reasons),
        attempts=choose(again, pa.scalar(0, plan.attempts.type), plan.attempts),
    )
