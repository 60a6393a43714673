"""A stage of toy units, and a run of it: whatever its steps are."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from rich.console import Console

from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.recipe import Recipe
from pipeline.run.runner import RunContext, run_stage
from pipeline.run.stage import Job, Stage, units
from pipeline.run.stream import Operator, stream
from schemas.declaration import Table

NAMES = pa.schema([pa.field("name", pa.string())])
BLOB = pa.schema([*NAMES, pa.field("blob", pa.large_binary())])
"""What the first operator leaves to the second."""


THINGS = Table(
    name="things",
    folder="things",
    schema=pa.schema([pa.field("unit_id", pa.string(), nullable=False), pa.field("bytes", pa.int64(), nullable=False)]),
    row="one row per unit",
)


def toy_stage(names: Sequence[str], operators: list[Operator], units_per_task: int = 1) -> Stage:
    """A stage with a unit ``u/<name>`` for each name; its operators begin with the fields of ``NAMES``."""

    def execute(job: Job) -> Iterator[pa.Table]:
        return stream(job, operators, units_per_file=3, units_per_task=units_per_task)

    return Stage(
        name="test",
        tables=(THINGS,),
        unit="thing",
        version=1,
        identity=lambda _: {},
        wanted=lambda _corpus, _recipe: units([{"unit_id": f"u/{n}", "inputs": "", "name": n} for n in names], NAMES),
        execute=execute,
    )


def run(corpus: Corpus, stage: Stage, *, max_attempts: int = 3, retry: bool = False) -> None:
    """Run the stage to its end, as a run does."""
    recipe = Recipe.model_validate({"corpus": corpus.uri, "run": {"max_attempts": max_attempts}})
    run_stage(
        RunContext(snapshot=Snapshot(corpus), recipe=recipe, run_id="r", console=Console(quiet=True), retry=retry),
        stage,
    )
