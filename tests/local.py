"""Stages without Ray: the same steps, ledger and files, one unit after another in this process."""

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import pyarrow as pa
import pytest
from rich.console import Console

from pipeline.corpus.files import Corpus
from pipeline.corpus.packs import read_pack
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import dedup_buckets
from pipeline.recipe import Recipe
from pipeline.run.runner import RunContext, StageSummary, run_stage
from pipeline.run.stage import Job, units
from pipeline.run.stream import Operator
from pipeline.run.units import Row, run_step, start, write_units
from schemas.declaration import Table


def live_files(corpus: Corpus, stage: str, table: Table, scope: str = "") -> dict[str, list[str]]:
    """Packs of one table, each with the units whose rows in it count."""
    packs = Snapshot(corpus).packs(stage, table, scope).to_pylist()
    return {pack["path"]: pack["live"] for pack in packs}


def read_live(
    corpus: Corpus, table: Table, path: str, units: Sequence[str], columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of these units in one pack."""
    (pack,) = Snapshot(corpus).locate(pa.table({"path": [path]})).to_pylist()
    return read_pack(corpus, table, pack | {"live": list(units)}, columns)


def stream(
    job: Job,
    operators: Sequence[Operator],
    units_per_file: int,
    *,
    units_per_task: int = 1,
    complete: Callable[[pa.Table], pa.Table] | None = None,
) -> Iterator[pa.Table]:
    """As ``pipeline.run.stream.stream``, in this process."""
    blocks = list(start(complete(job.todo) if complete else job.todo, job.scope, units_per_task))
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
        RunContext(snapshot=Snapshot(corpus), recipe=recipe, run_id="here", console=Console(quiet=True), retry=retry),
        module.STAGE,
    )
