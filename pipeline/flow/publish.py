"""Publish on Ray: one unit = one variant. The driver plans it over metadata; a task writes one file of the manifest."""

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.grouping import digest_lists, joined, one_list, places_of, structs, whole
from pipeline.corpus.packs import PACK, PACK_FIELDS, PACK_STRUCT, pack_parts, read_packs
from pipeline.corpus.snapshot import Snapshot, derived, stems
from pipeline.flow import caption, embed
from pipeline.flow.crop_marks import mark_parts, read_marks, reader_of
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.flow.videos import live_videos
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, Writer, unit_columns, units
from pipeline.run.stream import Operator, parts
from pipeline.run.units import LOST, OUTCOME, Row, Step, pack, unpack
from schemas.declaration import Table
from schemas.parquet_layout import blob_options
from stages.arrays import arrow
from stages.errors import UnitError
from stages.publish.manifest import crop_columns, manifest_table
from stages.publish.selection import CROP_COLUMNS, Found, plan_manifest

NAME = "publish"

MANIFEST = Table(
    name="manifest",
    folder="manifests",
    schema=schemas.tables.MANIFEST,
    row="one row per variant and published crop: captions, split and provenance, and where its JPEG is",
    scope="variant",
    compacted=False,
    repeats=("attributes",),
)

log = logging.getLogger("reidforge")

# Rows of a file of the manifest: whole packs of captions until there are so many, but not more than the second number.
# With the JPEGs, less: a file is read and written in memory.
_LEAST_ROWS, _MOST_ROWS, _BYTES_ROWS = 16_384, 65_536, 4_096

# Packs whose metadata go to the query at once.
_PACKS_AT_ONCE = 256

_PACKS = pa.list_(PACK_STRUCT)
_PART_FIELDS: list["pa.Field[Any]"] = [
    pa.field("chosen", pa.large_binary()), pa.field("crops", _PACKS), pa.field("captions", _PACKS),
]  # fmt: skip
_PART = pa.schema(_PART_FIELDS)
_SENTENCES_FIELDS: list["pa.Field[Any]"] = [
    pa.field("crop_id", pa.string()),
    pa.field("unit_id", pa.string()),
    pa.field("sentences", pa.int32()),
]
_SENTENCES = pa.schema(_SENTENCES_FIELDS)
_CROPS = pa.schema([*(CROPS.schema.field(name) for name in CROP_COLUMNS), pa.field("path", pa.string())])
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

    (unit,) = job.todo.to_pylist()
    snapshot, config = job.snapshot, job.recipe.publish
    videos, pieces = live_videos(snapshot, ["license", "source_url", "query"]), _pieces(snapshot, job.recipe)
    found = _found(snapshot, job.recipe, before, videos, pieces)
    # The query has memory of its own, and Arrow keeps what planning the run has used.
    pa.default_memory_pool().release_unused()
    try:
        plan = plan_manifest(found, config)
    except UnitError as error:
        said = {"error_type": error.kind, "error_message": str(error), "retryable": error.retryable}
        yield _outcome(unit, job, [LOST | said])
        return
    log.info("publish: %s", plan.statement)
    if plan.left_out:
        log.info("publish: left out %s", ", ".join(f"{count:,} {reason}" for reason, count in plan.left_out.items()))
    target = _Target(job.corpus, job.recipe, job.scope, job.fingerprint)
    make_write = functools.partial(_make_write, target, unit, ray.put(videos))
    groups = _groups(plan.chosen, self_contained=config.self_contained)
    captions = snapshot.packs(caption.STAGE.name, caption.CAPTIONS, job.scope)
    written = parts(_parts(groups, pieces, captions), _PART, Operator(make_step=make_write, fields=_WRITTEN, cpus=1.0))
    yield _outcome(unit, job, written)


def _found(snapshot: Snapshot, recipe: Recipe, before: Sequence[Writer], videos: pa.Table, pieces: pa.Table) -> Found:
    scope = recipe.caption.variant
    captions = snapshot.scan(caption.STAGE.name, caption.CAPTIONS, ["crop_id", "unit_id", "captions"], scope)
    written = snapshot.packs(caption.STAGE.name, caption.CAPTIONS, scope)
    return Found(
        crops=pa.RecordBatchReader.from_batches(_CROPS, _crops(snapshot.corpus, pieces)),
        captions=reader_of(_SENTENCES, _SENTENCES.names, map(_count_sentences, captions)),
        videos=videos,
        marks=read_marks(snapshot, before),
        crop_units=_units_of(snapshot, DETECT.name, pieces["path"]),
        caption_units=_units_of(snapshot, caption.STAGE.name, written["path"]),
    )


def _crops(corpus: Corpus, pieces: pa.Table) -> Iterator[pa.RecordBatch]:
    """Rows of packs, each with its pack; which of them count is left to the query, as here it would cost most."""
    located = pieces.select(["path", "file", "first_row", "num_rows"])
    places: list[Row] = located.sort_by([("file", "ascending"), ("first_row", "ascending")]).to_pylist()
    rows = [place | {"live": None} for place in places]
    for first in range(0, len(rows), _PACKS_AT_ONCE):
        some = rows[first : first + _PACKS_AT_ONCE]
        tables = list(read_packs(corpus, CROPS, some, CROP_COLUMNS))
        numbers = np.repeat(np.arange(len(some)), [len(table) for table in tables])
        paths = pa.array([row["path"] for row in some], pa.string()).take(arrow(numbers))
        yield from pa.concat_tables(tables).append_column("path", paths).cast(_CROPS).to_batches()


def _count_sentences(captions: pa.Table) -> pa.Table:
    sentences = pc.list_value_length(captions["captions"]).fill_null(0)
    return captions.select(["crop_id", "unit_id"]).append_column("sentences", sentences)


def _units_of(snapshot: Snapshot, stage: str, paths: "pa.ChunkedArray[Any]") -> pa.Table:
    """unit_id, path and fingerprint of the units with rows in some packs."""
    live = snapshot.live(stage)
    here = pc.is_in(live["path"], value_set=paths.combine_chunks())
    return live.select(["unit_id", "path", "fingerprint"]).filter(here).sort_by("path")


def _groups(chosen: pa.Table, *, self_contained: bool) -> Iterator[pa.Table]:
    """The chosen crops by file of the manifest: whole packs of crops, and of captions as far as possible."""
    of_captions = set(_changes(chosen["captions_path"]))
    least, most = (_BYTES_ROWS, _BYTES_ROWS) if self_contained else (_LEAST_ROWS, _MOST_ROWS)
    first = 0
    for stop in _changes(chosen["crops_path"]):
        if stop - first >= (least if stop in of_captions else most):
            yield chosen.slice(first, stop - first)
            first = stop
    if first < len(chosen):
        yield chosen.slice(first)


def _changes(column: "pa.ChunkedArray[Any]") -> list[int]:
    """Positions at which a value of a dictionary-encoded column differs from the one before."""
    codes: Any = column.combine_chunks()
    values = np.asarray(codes.indices.fill_null(-1).to_numpy(), np.int64)
    places: list[int] = (np.flatnonzero(np.diff(values)) + 1).tolist()
    return places


def _parts(groups: Iterable[pa.Table], crops: pa.Table, captions: pa.Table) -> list[Row]:
    return [
        {
            "chosen": pack(_own_names(group.drop_columns(["captions_path"]))),
            "crops": _named(group["crops_path"], crops),
            "captions": _named(group["captions_path"], captions),
        }
        for group in groups
    ]


def _own_names(group: pa.Table) -> pa.Table:
    """A group without the names of all others."""
    for position, field in enumerate(group.schema):
        if pa.types.is_dictionary(field.type):
            names = group[field.name].combine_chunks().cast(pa.string()).dictionary_encode()
            group = group.set_column(position, field.name, names)
    return group


def _named(paths: "pa.ChunkedArray[Any]", packs: pa.Table) -> list[Row]:
    named = paths.cast(pa.string()).unique().drop_null()
    rows: list[Row] = packs.select(PACK.names).take(places_of(named, packs, "path")).to_pylist()
    return sorted(rows, key=lambda row: (row["file"], row["first_row"] or 0))


class _Target(NamedTuple):
    """What a task needs of the job: not the snapshot, which holds the ledgers of the corpus."""

    corpus: Corpus
    recipe: Recipe
    scope: str
    fingerprint: str


def _make_write(job: _Target, unit: Row, videos: Any) -> Step:
    import ray

    known = ray.get(videos)
    columns = crop_columns(self_contained=job.recipe.publish.self_contained)

    def write(row: Row) -> Row:
        crops = _read_all(job.corpus, CROPS, row["crops"], columns)
        captions = _read_all(job.corpus, caption.CAPTIONS, row["captions"], ["crop_id", "captions", "attributes"])
        table = manifest_table(unpack(row["chosen"]), crops, captions, known, unit["unit_id"])
        sources = (piece["path"] for piece in row["crops"] + row["captions"])
        name = digest(job.fingerprint, unit["inputs"], *sources)
        output = f"{MANIFEST.under(job.scope)}/{name}.parquet"
        job.corpus.write_table(table, output, **blob_options(table))
        return {"output": output, "rows": table.num_rows}

    return write


def _read_all(corpus: Corpus, table: Table, packs: list[Row], columns: list[str]) -> pa.Table:
    empty = table.schema.empty_table().select(columns)
    return pa.concat_tables([empty, *read_packs(corpus, table, packs, columns)])


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
        "retryable": errors[0]["retryable"] if errors else True,
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
        version=2,
        identity=_identity,
        wanted=functools.partial(_wanted, before),
        execute=functools.partial(_execute, before),
        scope=lambda recipe: recipe.caption.variant,
        files=caption.STAGE.files,
    )
