"""Stages without Ray: the same steps, ledger and files, one unit after another in this process."""

from collections.abc import Iterator, Sequence
from types import ModuleType

import pyarrow as pa
import pytest
from rich.console import Console

from pipeline.corpus.files import Corpus
from pipeline.flow import dedup_buckets
from pipeline.recipe import Recipe
from pipeline.run.runner import RunContext, StageSummary, run_stage
from pipeline.run.stage import Job, units
from pipeline.run.stream import Operator
from pipeline.run.units import Row, run_step, start, write_units


def stream(
    job: Job, operators: Sequence[Operator], units_per_file: int, *, units_per_task: int = 1
) -> Iterator[pa.Table]:
    """As ``pipeline.run.stream.stream``, in this process."""
    blocks = list(start(job.todo, job.scope, units_per_task))
    for operator in operators:
        step = operator.make_step()
        blocks = [run_step(block, step, operator.fields) for block in blocks]
    done = pa.concat_tables(blocks)
    for first in range(0, done.num_rows, units_per_file):
        yield write_units(done.slice(first, units_per_file), job.corpus, job.fingerprint, job.tables)


def parts(rows: Sequence[Row], fields: pa.Schema, operator: Operator) -> list[Row]:
    """As ``pipeline.run.stream.parts``, in this process."""
    named = [{"unit_id": str(index), "inputs": ""} | row for index, row in enumerate(rows)]
    step = operator.make_step()
    blocks = start(units(named, fields), "")
    return [row for block in blocks for row in run_step(block, step, operator.fields).to_pylist()]


def run_here(
    patch: pytest.MonkeyPatch,
    corpus: Corpus,
    recipe: Recipe,
    module: ModuleType,
    gpus: float = 0,
    *,
    retry: bool = False,
) -> StageSummary:
    """Run the stage of a module of ``pipeline.flow``, as on a cluster whose actors get so many GPUs each."""
    patch.setattr(module, "stream", stream)
    patch.setattr(dedup_buckets, "parts", parts)
    for name in ("actors_for", "busy_actors_for"):
        patch.setattr(module, name, lambda *_: (1, 1.0, gpus), raising=False)
    return run_stage(
        RunContext(corpus=corpus, recipe=recipe, run_id="here", console=Console(quiet=True), retry=retry), module.STAGE
    )
