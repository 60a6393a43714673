"""Metrics of a run for Prometheus, exported through Ray: docs/monitoring.md, deploy/grafana."""

import functools
import time
from collections.abc import Mapping
from typing import Any, Final

from pipeline.run.pace import Pace

# Name, kind, labels beside stage and run, description.
METRICS: Final = {
    "reidforge_units": ("counter", ("status",), "Outcomes of units: ok, empty, failed (to be retried) or quarantined."),
    "reidforge_failures": ("counter", ("reason",), "Outcomes that failed, by the ledger's error_type."),
    "reidforge_frames": ("counter", (), "Frames decoded."),
    "reidforge_crops": ("counter", (), "Crops cut."),
    "reidforge_rows": ("counter", (), "Rows written, all tables together."),
    "reidforge_busy_seconds": ("counter", (), "Work time, summed over the operators."),
    "reidforge_units_left": ("gauge", (), "Units that this run still has to do."),
    "reidforge_seconds_left": ("gauge", (), "Estimated time left, from the units that ended lately; absent at first."),
    "reidforge_frames_per_second": ("gauge", (), "Frames decoded per second of this run so far."),
    "reidforge_crops_per_second": ("gauge", (), "Crops cut per second of this run so far."),
}


def exported(name: str) -> str:
    """Name of a metric in Prometheus: Ray adds a prefix, and a suffix to counters."""
    return f"ray_{name}_total" if METRICS[name][0] == "counter" else f"ray_{name}"


@functools.cache
def _metric(name: str) -> Any:
    """The metric of this process; Ray logs an error if one is created twice."""
    from ray.util.metrics import Counter, Gauge

    kind, labels, text = METRICS[name]
    metric = Counter if kind == "counter" else Gauge
    return metric(name, description=text, tag_keys=("stage", "run", *labels))


class Meter:
    """Counts the outcomes of one stage in one run.

    Args:
        stage: Name of the stage.
        run_id: The run.
        todo: Units to do.
    """

    def __init__(self, stage: str, run_id: str, todo: int) -> None:
        self.labels = {"stage": stage, "run": run_id}
        self.left = todo
        self.pace = Pace(todo)
        self.frames = self.crops = 0
        self.began = time.monotonic()
        self._gauge("reidforge_units_left", todo)

    def count(self, row: Mapping[str, Any]) -> None:
        """Count one outcome, given as its ledger row."""
        self._add("reidforge_units", 1, status=row["status"])
        if row["status"] in ("failed", "quarantined"):
            self._add("reidforge_failures", 1, reason=row["error_type"] or "unknown")
        self._add("reidforge_rows", row["rows_out"] or 0)
        self._add("reidforge_busy_seconds", row["seconds"] or 0)
        self._add("reidforge_frames", row.get("frames") or 0)
        self._add("reidforge_crops", row.get("crops") or 0)
        self.frames += row.get("frames") or 0
        self.crops += row.get("crops") or 0
        # A failed unit is retried in the next pass.
        if row["status"] != "failed":
            self.left -= 1
            self.pace.add(1)
        self._report_pace()

    def _report_pace(self) -> None:
        seconds = max(time.monotonic() - self.began, 1e-3)
        self._gauge("reidforge_units_left", self.left)
        self._gauge("reidforge_frames_per_second", self.frames / seconds)
        self._gauge("reidforge_crops_per_second", self.crops / seconds)
        if (left := self.pace.seconds_left()) is not None:
            self._gauge("reidforge_seconds_left", left)

    def _add(self, name: str, value: float, **labels: str) -> None:
        # Ray rejects an increment of 0.
        if value > 0:
            _metric(name).inc(value, tags=self.labels | labels)

    def _gauge(self, name: str, value: float) -> None:
        _metric(name).set(value, tags=self.labels)
