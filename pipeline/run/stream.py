"""A stage's operators on Ray Data: CPU tasks and actor pools, chained, one unit per row of a block."""

import functools
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.stage import Job, units
from pipeline.run.units import LOST, RETRIES, JointStep, Row, Step, StepActor, run_step, start, write_units

# A plan of millions of units would fill the object store with one-row blocks. Waves of this size keep it small, and
# the pipeline drains only once per wave.
WAVE = 20_000

# A node may be dead for 20 s before Ray's head notices; until then calls of its actors fail at once. Ray waits 5 s
# between retries (set in ``cluster.connect``), so that 8 of them outlast this time. A unit that kills its actor is
# abandoned earlier, see ``pipeline.run.units.StepActor``.
ACTOR_RETRIES = 8

# Blocks of cheap units for each CPU that a wave has at least: fewer would leave cores idle at its end.
_BLOCKS_PER_CPU = 4

_WRITE_CPUS = 0.25

# Share of a CPU that a busy task reserves. If it reserved all, tables could be written only after another such task.
BUSY_CPUS = 1 - _WRITE_CPUS


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a stage.

    Args:
        make_step: Called once per task or actor process; returns the step. Only tasks run a ``JointStep``.
        fields: Columns for the next operator.
        cpus: CPUs of one task or actor.
        gpus: GPUs of one actor.
        actors: Size of the actor pool; None = stateless tasks.
        tasks: Maximum number of concurrent tasks; None = as many as resources allow.
    """

    make_step: Callable[[], Step | JointStep]
    fields: pa.Schema
    cpus: float = 0.25
    gpus: float = 0
    actors: int | None = None
    tasks: int | None = None


def stream(
    job: Job,
    operators: Sequence[Operator],
    units_per_file: int,
    *,
    units_per_task: int = 1,
    complete: Callable[[pa.Table], pa.Table] | None = None,
) -> Iterator[pa.Table]:
    """Run the operators over the job's units, write their tables, and yield outcomes as units finish.

    Args:
        job: What to run over.
        operators: In order; the last one's fields are ``pipeline.run.units.RESULT``.
        units_per_file: Units whose rows share a file.
        units_per_task: Most units that one call of an operator takes; more than 1 only for units without pictures and
            operators without actors. A task costs Ray some tens of milliseconds, more than many a unit.
        complete: Adds columns that the first operator reads to the units of a wave; None = they have them. What is
            large, such as the seek points of a video, is not kept for all units of a pass.
    """
    for planned in _waves(job.todo):
        wave = complete(planned) if complete else planned
        per_task = _per_task(wave.num_rows, units_per_task)
        back: list[Any] = []
        for outcomes in _run_wave(job, operators, wave, units_per_file, per_task):
            back += outcomes["unit_id"].to_pylist()
            yield outcomes
        # A worker that died took the whole block with it. Alone, only the unit at fault is lost.
        lost = wave.filter(pc.invert(pc.is_in(wave["unit_id"], pa.array(back, pa.string()))))
        if per_task > 1 and lost.num_rows:
            yield from _run_wave(job, operators, lost, units_per_file, 1)


def _run_wave(
    job: Job, operators: Sequence[Operator], wave: pa.Table, units_per_file: int, units_per_task: int
) -> Iterator[pa.Table]:
    import ray.data

    write = functools.partial(write_units, corpus=job.corpus, fingerprint=job.fingerprint, tables=job.tables)
    source: ray.data.Dataset = ray.data.from_arrow(list(start(wave, job.scope, units_per_task)))
    dataset = functools.reduce(_apply, operators, source)
    dataset = dataset.map_batches(
        write,
        batch_size=min(units_per_file, wave.num_rows),
        batch_format="pyarrow",
        num_cpus=_WRITE_CPUS,
        max_retries=RETRIES,
    )
    batches: Iterable[Any] = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    yield from batches


def _per_task(units: int, most: int) -> int:
    """Units in one task: ``most``, but so few that all CPUs have work."""
    if most == 1:
        return 1
    import ray

    blocks = _BLOCKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    return min(most, math.ceil(units / blocks))


def parts(rows: Sequence[Row], fields: pa.Schema, operator: Operator) -> list[Row]:
    """Run one step over the parts of a unit that is too large for one task.

    Args:
        rows: Parts, each with the given fields.
        fields: Schema of a part.
        operator: The step.

    Returns:
        One row per part: the operator's fields, status (None on success), error_type, error_message, seconds.
    """
    import ray.data

    named = [{"unit_id": str(index), "inputs": ""} | row for index, row in enumerate(rows)]
    dataset = _apply(ray.data.from_arrow(list(start(units(named, fields), ""))), operator)
    done = [row for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow") for row in batch.to_pylist()]
    back = {row["unit_id"] for row in done}
    return done + [LOST | {"unit_id": row["unit_id"]} for row in named if row["unit_id"] not in back]


def actors_for(wanted: int | None, threads: int) -> tuple[int, float, float]:
    """Size of an actor pool, and the CPUs and GPUs of each actor, for the current cluster.

    Args:
        wanted: The recipe's number of actors, or None.
        threads: The recipe's threads per actor.
    """
    import ray

    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    if gpus:
        return wanted or gpus, 1.0, 1.0
    # Half of the CPUs stay free for decoding and writing, which are cheap beside a model on CPUs.
    pool = wanted or max(1, math.floor(resources.get("CPU", 1) / 2 / threads))
    return pool, min(float(threads), max(1.0, resources.get("CPU", 1) / 2 / pool)), 0.0


def busy_actors_for(wanted: int | None, threads: int) -> tuple[int, float, float]:
    """As ``actors_for``, for models that need almost no other work beside them: one per ``threads`` CPUs.

    Each reserves half of the CPUs that it uses. If it reserved all, Ray could not schedule decoders; this way a model
    that waits for frames leaves its cores to them.
    """
    import ray

    actors, cpus, gpus = actors_for(wanted, threads)
    if gpus:
        return actors, cpus, gpus
    total = ray.cluster_resources().get("CPU", 1)
    actors = wanted or max(1, math.floor(total / threads))
    return actors, min(threads, total / actors) / 2, 0.0


def _waves(todo: pa.Table) -> Iterator[pa.Table]:
    return (todo.slice(first, WAVE) for first in range(0, todo.num_rows, WAVE))


def _apply(dataset: "ray.data.Dataset", operator: Operator) -> "ray.data.Dataset":  # type: ignore[name-defined]  # noqa: F821
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    whole = {"batch_size": None, "batch_format": "pyarrow", "num_cpus": operator.cpus}
    if operator.actors is None:
        return dataset.map_batches(
            _run_task,
            fn_kwargs={"make_step": operator.make_step, "fields": operator.fields},
            compute=TaskPoolStrategy(size=operator.tasks),
            max_retries=RETRIES,
            **whole,
        )
    return dataset.map_batches(
        StepActor,
        fn_constructor_kwargs={"make_step": operator.make_step, "fields": operator.fields, "pool": uuid.uuid4().hex},
        compute=ActorPoolStrategy(size=operator.actors),
        num_gpus=operator.gpus,
        max_restarts=-1,
        max_task_retries=ACTOR_RETRIES,
        **whole,
    )


def _run_task(block: pa.Table, make_step: Callable[[], Step | JointStep], fields: pa.Schema) -> pa.Table:
    return run_step(block, make_step(), fields)
