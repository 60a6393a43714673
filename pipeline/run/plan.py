"""What a stage would do, and why: the wanted units joined with the ledger."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger, query
from pipeline.recipe import Recipe
from pipeline.run.stage import Stage

_JOIN = """
SELECT w.unit_id, CASE
        WHEN l.unit_id IS NULL OR l.status = 'retired' THEN 'new'
        WHEN l.fingerprint <> $fingerprint THEN 'recipe changed'
        WHEN l.inputs <> w.inputs THEN 'input changed'
        WHEN l.status IN ('ok', 'empty') THEN 'done'
        ELSE l.status
    END AS reason,
    CASE WHEN l.fingerprint = $fingerprint AND l.inputs = w.inputs THEN coalesce(l.attempts, 0) ELSE 0 END AS attempts
FROM wanted w LEFT JOIN latest l ON l.unit_id = w.unit_id
"""

_UNWANTED = """
SELECT l.* FROM latest l ANTI JOIN wanted w ON l.unit_id = w.unit_id WHERE l.status <> 'retired'
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Units of one stage, sorted by what must happen to them.

    Args:
        stage: Name of the stage.
        scope: Model or variant, empty for stages without one.
        fingerprint: Configuration that the units are wanted under.
        wanted: Every unit that the recipe wants, with the columns that its first step reads.
        reasons: Reason per unit, in the order of ``wanted``: new, recipe changed, input changed, failed, quarantined
            or done.
        attempts: Attempts so far per unit, under this fingerprint and these inputs.
        retired: Ledger rows of units that the recipe no longer wants.
    """

    stage: str
    scope: str
    fingerprint: str
    wanted: pa.Table
    reasons: "pa.Array[Any]"
    attempts: dict[str, int]
    retired: pa.Table

    def counts(self) -> dict[str, int]:
        """Units by reason."""
        reasons: list[Any]
        counts: list[Any]
        reasons, counts = (column.to_pylist() for column in pc.value_counts(self.reasons).flatten())
        return dict(zip(reasons, counts, strict=True))

    def todo(self, *, retry: bool = False) -> pa.Table:
        """Units to run; quarantined ones only with ``retry``."""
        settled = ["done"] if retry else ["done", "quarantined"]
        return self.wanted.filter(pc.invert(pc.is_in(self.reasons, pa.array(settled))))


def make_plan(corpus: Corpus, stage: str, scope: str, fingerprint: str, wanted: pa.Table, *, retires: bool) -> Plan:
    """Compare the units that the recipe wants with those that the ledger has.

    Args:
        corpus: The corpus.
        stage: Name of the stage.
        scope: Model or variant of the recipe; units of other scopes are ignored.
        fingerprint: Current configuration of the stage.
        wanted: Columns unit_id, inputs and those that the first step reads; one row per unit.
        retires: Whether units that are no longer wanted lose their rows.
    """
    latest = query("SELECT * FROM latest WHERE scope = $scope", {"scope": scope}, latest=Ledger(corpus, stage).latest())
    keys = wanted.select(["unit_id", "inputs"])
    judged = query(_JOIN, {"fingerprint": fingerprint}, wanted=keys, latest=latest).to_pydict()
    reasons = dict(zip(judged["unit_id"], judged["reason"], strict=True))
    return Plan(
        stage=stage,
        scope=scope,
        fingerprint=fingerprint,
        wanted=wanted,
        reasons=pa.array([reasons[unit] for unit in wanted["unit_id"].to_pylist()], pa.string()),
        attempts=dict(zip(judged["unit_id"], judged["attempts"], strict=True)),
        retired=query(_UNWANTED, wanted=keys, latest=latest) if retires else latest.slice(0, 0),
    )


def plan_stage(corpus: Corpus, recipe: Recipe, stage: Stage) -> Plan:
    """Compare a stage's wanted units with its ledger."""
    return make_plan(
        corpus,
        stage.name,
        stage.scope(recipe),
        stage.fingerprint(recipe),
        stage.wanted(corpus, recipe),
        retires=stage.retires,
    )
