"""Publish on Ray: one unit = one variant, written as one manifest file per file of crops."""

import functools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.live import derived, live_files, read_live, scan, stem
from pipeline.flow import caption, embed
from pipeline.flow.crawl import live_videos
from pipeline.flow.crop_marks import mark_parts, read_marks
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, Writer, units
from pipeline.run.stream import Operator, parts
from pipeline.run.units import OUTCOME, Row, Step
from schemas.declaration import Table
from schemas.parquet_layout import blob_options
from stages.publish.manifest import manifest_table
from stages.publish.marks import marked
from stages.publish.selection import CROP_COLUMNS, plan_manifest
from stages.publish.splits import SplitPlan

NAME = "publish"

MANIFEST = Table(
    name="manifest",
    folder="manifests",
    schema=schemas.tables.MANIFEST,
    row="one row per variant and published crop: JPEG, captions, split and provenance",
    scope="variant",
)

log = logging.getLogger("reidforge")

_PART = pa.schema(
    [pa.field("path", pa.string()), pa.field("live", pa.list_(pa.string())), pa.field("captions", pa.string())]
)
_WRITTEN_FIELDS: list["pa.Field[Any]"] = [pa.field("output", pa.string()), pa.field("rows", pa.int64())]
_WRITTEN = pa.schema(_WRITTEN_FIELDS)


def _wanted(before: Sequence[Writer], corpus: Corpus, recipe: Recipe) -> pa.Table:
    pieces = _pieces(corpus, recipe)
    if not pieces:
        return units([], pa.schema([]))
    inputs = digest(
        *(f"{row['path']}:{','.join(row['live'])}:{row['captions']}" for row in pieces), *mark_parts(corpus, before)
    )
    return units([{"unit_id": recipe.caption.variant, "inputs": inputs}], pa.schema([]))


def _pieces(corpus: Corpus, recipe: Recipe) -> list[Row]:
    """Files of crops with captions, each with its file of captions."""
    embedded = derived(corpus, embed.STAGE.name, embed.EMBEDDINGS, recipe.embed.slug)
    captions = derived(corpus, caption.STAGE.name, caption.CAPTIONS, recipe.caption.variant)
    sources = {
        path: captions.get(stem(embedded.get(stem(path), ""))) for path in live_files(corpus, DETECT.name, CROPS)
    }
    return [
        {"path": path, "live": live, "captions": sources[path]}
        for path, live in live_files(corpus, DETECT.name, CROPS).items()
        if sources[path]
    ]


def _execute(before: Sequence[Writer], job: Job) -> Iterator[pa.Table]:
    import ray

    corpus, recipe = job.corpus, job.recipe
    (unit,) = job.todo.to_pylist()
    videos = pa.Table.from_pylist(list(live_videos(corpus)), schema=schemas.tables.VIDEOS)
    marks = read_marks(corpus, before)
    plan = _plan(corpus, recipe, videos, marks)
    log.info("publish: %s", plan.statement)
    make_write = functools.partial(_make_write, job, unit, plan, videos, _fingerprints(corpus), ray.put(marks))
    written = parts(_pieces(corpus, recipe), _PART, Operator(make_step=make_write, fields=_WRITTEN, cpus=1.0))
    yield _outcome(unit, job, written)


def _plan(corpus: Corpus, recipe: Recipe, videos: pa.Table, marks: pa.Table) -> SplitPlan:
    crops = pa.concat_tables(scan(corpus, DETECT.name, CROPS, list(CROP_COLUMNS)))
    scope = recipe.caption.variant
    captions = scan(corpus, caption.STAGE.name, caption.CAPTIONS, ["crop_id", "captions"], scope)
    return plan_manifest(marked(crops, marks), pa.concat_tables(captions), videos, recipe.publish)


def _fingerprints(corpus: Corpus) -> dict[str, dict[str, str]]:
    """Fingerprint by unit, for the stages in the manifest's provenance."""
    found = {}
    for stage in ("detect", "caption"):
        latest = Ledger(corpus, stage).latest()
        unit_ids: list[Any] = latest["unit_id"].to_pylist()
        fingerprints: list[Any] = latest["fingerprint"].to_pylist()
        found[stage] = dict(zip(unit_ids, fingerprints, strict=True))
    return found


def _make_write(
    job: Job, unit: Row, plan: SplitPlan, videos: pa.Table, fingerprints: dict[str, dict[str, str]], marks: Any
) -> Step:
    import ray

    known = ray.get(marks)

    def write(row: Row) -> Row:
        crops = marked(read_live(job.corpus, CROPS, row["path"], row["live"]), known)
        captions = job.corpus.read_table(row["captions"])
        table = manifest_table(crops, captions, videos, plan, unit["unit_id"], fingerprints, job.recipe.publish)
        name = digest(job.fingerprint, unit["inputs"], row["path"])
        output = f"{MANIFEST.under(job.scope)}/{name}.parquet"
        if table.num_rows:
            job.corpus.write_table(table, output, **blob_options(table))
        return {"output": output, "rows": table.num_rows}

    return write


def _outcome(unit: Row, job: Job, written: list[Row]) -> pa.Table:
    errors = [row for row in written if row["status"] == "failed"]
    outputs = [row["output"] for row in written if row.get("rows")]
    outcome = {
        "unit_id": unit["unit_id"],
        "scope": job.scope,
        "inputs": unit["inputs"],
        "status": "failed" if errors else "ok" if outputs else "empty",
        "error_type": errors[0]["error_type"] if errors else None,
        "error_message": errors[0]["error_message"] if errors else None if outputs else "no crop passed the selection",
        "retryable": True,
        "outputs": [] if errors else outputs,
        "rows_out": 0 if errors else sum(row["rows"] for row in written),
        "seconds": sum(row["seconds"] for row in written),
        "node": None,
    }
    return pa.Table.from_pylist([outcome], schema=OUTCOME)


def _identity(recipe: Recipe) -> dict[str, Any]:
    return recipe.publish.identity() | {"caption": caption.STAGE.fingerprint(recipe)}


def make_stage(before: Sequence[Writer]) -> Stage:
    """The stage, over the marks that the stages before it make."""
    return Stage(
        name=NAME,
        tables=(MANIFEST,),
        unit="variant",
        version=1,
        identity=_identity,
        wanted=functools.partial(_wanted, before),
        execute=functools.partial(_execute, before),
        scope=lambda recipe: recipe.caption.variant,
        files=caption.STAGE.files,
    )
