"""Publish on Ray: one unit = one variant, written as one manifest file per file of crops."""

import functools
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.grouping import digest_lists, joined, one_list, places_of, structs, whole
from pipeline.corpus.packs import PACK_FIELDS, PACK_STRUCT, pack_parts, read_pack
from pipeline.corpus.snapshot import Snapshot, derived, stems
from pipeline.flow import caption, embed
from pipeline.flow.crop_marks import mark_parts, read_marks
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.flow.videos import live_videos
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, Writer, unit_columns, units
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

_PART = pa.schema([*PACK_FIELDS, pa.field("captions", PACK_STRUCT)])
_WRITTEN_FIELDS: list["pa.Field[Any]"] = [pa.field("output", pa.string()), pa.field("rows", pa.int64())]
_WRITTEN = pa.schema(_WRITTEN_FIELDS)


def _wanted(before: Sequence[Writer], snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    pieces = _pieces(snapshot, recipe)
    if not len(pieces):
        return units([], pa.schema([]))
    captions = pc.struct_field(whole(pieces["captions"]), "path")
    parts = pa.chunked_array([joined(":", pack_parts(pieces), captions), *mark_parts(snapshot, before)])
    inputs = digest_lists(one_list(parts))
    return unit_columns({"unit_id": pa.array([recipe.caption.variant]), "inputs": inputs}, pa.schema([]))


def _pieces(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    """Packs of crops with captions, rows of ``_PART``, sorted by path."""
    crops = snapshot.packs(DETECT.name, CROPS)
    embedded = derived(snapshot.packs(embed.STAGE.name, embed.EMBEDDINGS, recipe.embed.slug))
    captioned = derived(snapshot.packs(caption.STAGE.name, caption.CAPTIONS, recipe.caption.variant))
    features = embedded["path"].take(places_of(stems(crops["path"]), embedded, "stem"))
    places = places_of(stems(features), captioned, "stem")
    found = places.is_valid()
    captions = structs(captioned.take(places.filter(found)), PACK_FIELDS)
    return crops.filter(found).append_column("captions", captions)


def _execute(before: Sequence[Writer], job: Job) -> Iterator[pa.Table]:
    import ray

    snapshot, recipe = job.snapshot, job.recipe
    (unit,) = job.todo.to_pylist()
    videos = live_videos(snapshot, ["license", "source_url", "query"])
    marks = read_marks(snapshot, before)
    plan = _plan(snapshot, recipe, videos, marks)
    log.info("publish: %s", plan.statement)
    known = ray.put(marks)
    make_write = functools.partial(
        _make_write,
        _Target(job.corpus, recipe, job.scope, job.fingerprint),
        unit,
        plan,
        videos,
        _fingerprints(snapshot),
        known,
    )
    written = parts(
        _pieces(snapshot, recipe).to_pylist(), _PART, Operator(make_step=make_write, fields=_WRITTEN, cpus=1.0)
    )
    yield _outcome(unit, job, written)


def _plan(snapshot: Snapshot, recipe: Recipe, videos: pa.Table, marks: pa.Table) -> SplitPlan:
    crops = snapshot.read(DETECT.name, CROPS, CROP_COLUMNS)
    scope = recipe.caption.variant
    captions = snapshot.read(caption.STAGE.name, caption.CAPTIONS, ["crop_id", "captions"], scope)
    return plan_manifest(marked(crops, marks), captions, videos, recipe.publish)


def _fingerprints(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """Fingerprint by unit, for the stages in the manifest's provenance."""
    found = {}
    for stage in ("detect", "caption"):
        latest = snapshot.latest(stage)
        unit_ids: list[Any] = latest["unit_id"].to_pylist()
        fingerprints: list[Any] = latest["fingerprint"].to_pylist()
        found[stage] = dict(zip(unit_ids, fingerprints, strict=True))
    return found


class _Target(NamedTuple):
    """What a task needs of the job: not the snapshot, which holds the ledgers of the corpus."""

    corpus: Corpus
    recipe: Recipe
    scope: str
    fingerprint: str


def _make_write(
    job: _Target, unit: Row, plan: SplitPlan, videos: pa.Table, fingerprints: dict[str, dict[str, str]], marks: Any
) -> Step:
    import ray

    known = ray.get(marks)

    def write(row: Row) -> Row:
        crops = marked(read_pack(job.corpus, CROPS, row), known)
        captions = read_pack(job.corpus, caption.CAPTIONS, row["captions"])
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
