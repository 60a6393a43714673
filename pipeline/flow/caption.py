"""Caption on Ray: one unit is one file of what the attribute reader needs. CLIP reads embeddings: CPUs, no images.

Units are small and captions cheap, so a task takes many units.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.grouping import digest_lists, flattened, joined, lists_of, places_of, structs, whole
from pipeline.corpus.packs import PACK_FIELDS, read_packs
from pipeline.corpus.snapshot import Snapshot, stems
from pipeline.errors import UserError
from pipeline.flow import attribute_readers, embed
from pipeline.flow.attribute_readers import ReaderKind, embedding_packs, prior_packs
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage
from pipeline.run.stream import BUSY_CPUS, Operator, stream
from pipeline.run.units import RESULT, JointStep, Row, result
from schemas.declaration import Table, Unnested
from stages.arrays import table_of

if TYPE_CHECKING:
    from stages.caption.read.reader import Needs

CAPTIONS = Table(
    name="captions",
    folder="captions",
    schema=schemas.tables.CAPTIONS,
    row="one row per variant and crop: its sentences and attributes",
    scope="variant",
    unnested=(
        Unnested(
            name="captions",
            column="captions",
            row="one row per variant, crop and sentence",
            beside=("crop_id", "video_id", "unit_id", "seed"),
            rank="n",
            docs=(
                ("n", "rank of the sentence among those of its crop, from 0"),
                ("text", "the sentence"),
                ("template", "template that it was generated from"),
                ("style", "style of the template"),
            ),
        ),
        Unnested(
            name="attributes",
            column="attributes",
            row="one row per variant, crop and attribute: the value read and its confidence",
            docs=(
                ("attribute", "attribute of the phrase bank"),
                ("region", "region of the crop that it was read from"),
                ("phrase", "best matching phrase"),
                ("value", "value that the phrase expresses"),
                (
                    "probability",
                    "softmax probability; if source is pixels or detector, its share of pixels or its confidence",
                ),
                ("margin", "probability minus that of the runner-up"),
                ("used", "whether the captions state it"),
                ("source", "source of the value: clip, pixels or detector"),
                ("clip_value", "value read by the attribute reader, CLIP by default"),
                ("evidence", "value according to the pixels or the detector; null without evidence"),
                ("agrees", "whether the reader and the evidence agree; null without evidence"),
            ),
        ),
    ),
)

_EVIDENCE = "evidence"


# Captioning pays for each call and for each product of matrices (stages.caption.read.conquer.CHUNK), so files of a few
# hundred crops are captioned many at a time. A row of captions with its attributes takes 1.4 kB in memory.
_ROWS_PER_TASK = 32_768
_MOST_UNITS = 256


def reader_of(_recipe: Recipe) -> ReaderKind:
    """The attribute reader of a recipe. Readers are chosen here and nowhere else."""
    return attribute_readers.CLIP


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where the units of a reader come from.

    Args:
        table: The table that it reads.
        stage: The stage that wrote it.
        scope: The scope of that stage's units.
        packs: Its packs.
        evidence_units: Units of embed that hold the evidence on the crops of each pack, as lists.
        row: What a row of such a pack is, for the ledger's messages.
    """

    table: Table
    stage: str
    scope: Callable[[Recipe], str]
    packs: Callable[[Snapshot, Recipe], pa.Table]
    evidence_units: Callable[[Recipe, pa.Table], "pa.Array[Any]"]
    row: str


def _named_after(recipe: Recipe, packs: pa.Table) -> "pa.Array[Any]":
    """For each pack of crops, the unit of embed that is named after it."""
    return lists_of(joined("/", recipe.embed.slug, stems(packs["path"])), np.arange(len(packs)))


_SOURCES: Final[Mapping["Needs", _Source]] = {
    "embeddings": _Source(
        table=embed.EMBEDDINGS,
        stage=embed.STAGE.name,
        scope=lambda recipe: recipe.embed.slug,
        packs=embedding_packs,
        evidence_units=lambda _, packs: whole(packs["live"]),
        row="embedding",
    ),
    "crops": _Source(
        table=CROPS,
        stage=DETECT.name,
        scope=lambda _: "",
        packs=lambda snapshot, _: snapshot.packs(DETECT.name, CROPS),
        evidence_units=_named_after,
        row="crop",
    ),
}


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    return wanted_by(reader_of(recipe), snapshot, recipe)


def wanted_by(reader: ReaderKind, snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    """Units of a reader, one per pack. With the corpus's prior, all are stale when the packs of the prior change."""
    source = _SOURCES[reader.needs]
    wanted = embed.pack_units(source.packs(snapshot, recipe), recipe.caption.variant)
    wanted = wanted.append_column(_EVIDENCE, _evidence(snapshot, recipe, source.evidence_units(recipe, wanted)))
    if recipe.caption.prior != "corpus":
        return wanted
    packs = prior_packs(embedding_packs(snapshot, recipe))
    prior = digest(*(part for pack in packs for part in (pack["path"], *pack["live"])))
    lists = pa.array([[inputs, prior] for inputs in wanted["inputs"].to_pylist()], pa.list_(pa.string()))
    return wanted.set_column(wanted.schema.get_field_index("inputs"), "inputs", digest_lists(lists))


def _evidence(snapshot: Snapshot, recipe: Recipe, own: "pa.Array[Any]") -> "pa.Array[Any]":
    """For each list of units of embed, the pack with their evidence; null where they have none."""
    live = snapshot.live_of(embed.STAGE.name, embed.EVIDENCE, recipe.embed.slug)
    units, parents = flattened(own)
    rows = places_of(units, live, "unit_id")
    found = rows.is_valid()
    lists, first = np.unique(parents.filter(found).to_numpy(), return_index=True)
    places = np.full(len(own), -1)
    places[lists] = rows.filter(found).to_numpy()[first]
    missing = pa.array(places < 0)
    paths = live["path"].take(pa.array(places, mask=places < 0))
    return structs(snapshot.locate(pa.table({"path": whole(paths), "live": own})), PACK_FIELDS, missing=missing)


def _execute(job: Job) -> Iterator[pa.Table]:
    import ray

    # Prepared once, here, and shared: text bank, calibration and prior are constants of the variant. Workers need
    # none of the files that the recipe names.
    reader = reader_of(job.recipe)
    prepared = ray.put(reader.prepare(job.snapshot, job.recipe))
    make_caption = functools.partial(_make_caption, job.corpus, _settled(job.recipe), reader, prepared)
    operator = Operator(make_step=make_caption, fields=RESULT, cpus=BUSY_CPUS)
    per_task = _units_per_task(job.snapshot, reader, job.recipe)
    job = replace(job, todo=_in_order(job.snapshot, job.todo, reader))
    return stream(job, [operator], units_per_file=per_task, units_per_task=per_task)


def _in_order(snapshot: Snapshot, todo: pa.Table, reader: ReaderKind) -> pa.Table:
    """Units in the order in which their packs lie in compacted files, then of their crops' videos.

    A row group of a compacted file holds hundreds of packs, and would be read for each of them in another order. Packs
    that are files of their own come by video: a file of captions then holds neighbours, not packs by digest, and so
    does a file of the manifest, of which training reads one or two for a group of crops in place of many.
    """
    packs = snapshot.packs(DETECT.name, CROPS)
    sources = pa.table({"stem": stems(packs["path"]), "first": pc.list_element(whole(packs["live"]), 0)})
    own = stems(todo["path"] if reader.needs == "crops" else pc.list_element(whole(todo["live"]), 0))
    alone = pc.is_null(whole(todo["first_row"]))
    file = pc.if_else(alone, pa.scalar(None, pa.string()), whole(todo["file"]))
    video = sources["first"].take(places_of(own, sources, "stem"))
    keys = table_of({"file": file, "first_row": whole(todo["first_row"]), "video": video})
    return todo.take(pc.sort_indices(keys, [("file", "ascending"), ("first_row", "ascending"), ("video", "ascending")]))


def _units_per_task(snapshot: Snapshot, reader: ReaderKind, recipe: Recipe) -> int:
    """Files that one task captions together: those that ``_ROWS_PER_TASK`` rows of its source fill."""
    source = _SOURCES[reader.needs]
    latest = snapshot.latest(source.stage)
    ours = pc.and_(
        pc.equal(latest["scope"], pa.scalar(source.scope(recipe))), pc.equal(latest["status"], pa.scalar("ok"))
    )
    rows = pc.mean(latest["rows_out"].filter(ours)).as_py()
    return max(1, min(_MOST_UNITS, int(_ROWS_PER_TASK / max(1.0, rows or 0.0))))


def _settled(recipe: Recipe) -> Recipe:
    """The recipe, with the temperatures in place of the file that holds them."""
    from stages.caption.bank.bank import load_bank
    from stages.caption.read.calibration import load_temperatures

    temperatures = load_temperatures(recipe.caption, load_bank(recipe.caption.bank))
    return recipe.model_copy(update={"caption": recipe.caption.model_copy(update={"calibration": temperatures})})


def _make_caption(corpus: Corpus, recipe: Recipe, reader: ReaderKind, prepared: Any) -> JointStep:
    import ray

    from stages.heap import keep_freed_memory

    keep_freed_memory()
    return caption_step(corpus, recipe, reader, ray.get(prepared))


def caption_step(corpus: Corpus, recipe: Recipe, reader: ReaderKind, prepared: Any) -> JointStep:
    """The step that captions units of ``wanted_by``.

    Args:
        corpus: Where the units' files are.
        recipe: The recipe, with its temperatures as a mapping.
        reader: Kind of reader.
        prepared: What the kind's ``prepare`` returned.
    """
    from stages.caption.bank.bank import load_bank
    from stages.caption.captions import caption_crops

    bank, attributes = load_bank(recipe.caption.bank), reader.make(prepared, recipe.caption)
    source = _SOURCES[reader.needs]

    def caption(rows: list[Row]) -> list[Row]:
        tables = list(read_packs(corpus, source.table, rows))
        # The readings of a crop do not depend on the crops beside it, so together they get the captions they get alone.
        table, evidence = pa.concat_tables(tables), _read_evidence(corpus, rows)
        captions = caption_crops(table, attributes, bank, recipe.caption, "", evidence=evidence)
        counts = [len(table["crop_id"].unique()) for table in tables]
        parts = (captions.slice(stop - count, count) for count, stop in zip(counts, accumulate(counts), strict=True))
        return [
            result({CAPTIONS.name: _of_unit(part, row["unit_id"])}, f"the file holds no {source.row}")
            for row, part in zip(rows, parts, strict=True)
        ]

    return JointStep(caption)


def _read_evidence(corpus: Corpus, rows: list[Row]) -> pa.Table | None:
    packs = [row[_EVIDENCE] for row in rows if row[_EVIDENCE]]
    return pa.concat_tables(read_packs(corpus, embed.EVIDENCE, packs)) if packs else None


def _of_unit(captions: pa.Table, unit_id: str) -> pa.Table:
    position = captions.schema.get_field_index("unit_id")
    units = pa.repeat(pa.scalar(unit_id, pa.string()), captions.num_rows)
    return captions.set_column(position, captions.schema.field(position), units)


def _check(recipe: Recipe) -> None:
    from stages.caption.bank.problems import BankError
    from stages.caption.read.calibration import calibrated_model
    from stages.caption.variant import variant_digests

    try:
        variant_digests(recipe.caption)
        fitted = calibrated_model(recipe.caption)
    except BankError as error:
        raise UserError(f"caption: {error}") from error
    if fitted not in (None, recipe.embed.slug):
        raise UserError(
            f"caption.calibration: {recipe.caption.calibration} was fitted on model {fitted}, and embed.model is "
            f"{recipe.embed.slug}; fit temperatures for it: reidforge calibrate RECIPE FILE"
        )


def _identity(recipe: Recipe) -> dict[str, Any]:
    from stages.caption.variant import variant_digests

    return recipe.caption.identity() | variant_digests(recipe.caption)


def _files(recipe: Recipe) -> dict[str, str | None]:
    from stages.caption.variant import variant_files

    # The model's text tower encodes the bank's prompts.
    return embed.files(recipe) | variant_files(recipe.caption)


STAGE = Stage(
    name="caption",
    tables=(CAPTIONS,),
    unit="embeddings file",
    version=2,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
    scope=lambda recipe: recipe.caption.variant,
    files=_files,
)
