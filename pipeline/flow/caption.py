"""Caption on Ray: one unit is one file of what the attribute reader needs. CLIP reads embeddings: CPUs, no images.

Units are small and captions cheap, so a task takes many units.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.ledger import Ledger, query
from pipeline.corpus.live import live_files, read_live, stem
from pipeline.errors import UserError
from pipeline.flow import attribute_readers, embed
from pipeline.flow.attribute_readers import ReaderKind, embedding_files, prior_files
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage
from pipeline.run.stream import BUSY_CPUS, Operator, stream
from pipeline.run.units import RESULT, JointStep, Row, result
from schemas.declaration import Table

if TYPE_CHECKING:
    from stages.caption.read.reader import Needs

CAPTIONS = Table(
    name="captions",
    folder="captions",
    schema=schemas.tables.CAPTIONS,
    row="one row per variant and crop: its sentences and attributes",
    scope="variant",
)

_EVIDENCE = "evidence"
_EVIDENCE_UNITS = "evidence_units"


# Captioning pays for each call and for each product of matrices (stages.caption.read.conquer.CHUNK), so files of a few
# hundred crops are captioned many at a time. A row of captions with its attributes takes 1.4 kB in memory.
_ROWS_PER_TASK = 32_768
_MOST_UNITS = 256

_SIZE = "SELECT avg(rows_out) AS rows FROM latest WHERE scope = $scope AND status = 'ok'"


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
        files: Live units by file.
        evidence_units: Units of embed that hold the evidence on a file's crops, by its path and its live units.
        row: What a row of such a file is, for the ledger's messages.
    """

    table: Table
    stage: str
    scope: Callable[[Recipe], str]
    files: Callable[[Corpus, Recipe], dict[str, list[str]]]
    evidence_units: Callable[[Recipe, str, list[str]], list[str]]
    row: str


_SOURCES: Final[Mapping["Needs", _Source]] = {
    "embeddings": _Source(
        table=embed.EMBEDDINGS,
        stage=embed.STAGE.name,
        scope=lambda recipe: recipe.embed.slug,
        files=embedding_files,
        evidence_units=lambda _recipe, _path, live: live,
        row="embedding",
    ),
    "crops": _Source(
        table=CROPS,
        stage=DETECT.name,
        scope=lambda _: "",
        files=lambda corpus, _: live_files(corpus, DETECT.name, CROPS),
        evidence_units=lambda recipe, path, _: [f"{recipe.embed.slug}/{stem(path)}"],
        row="crop",
    ),
}


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
    return wanted_by(reader_of(recipe), corpus, recipe)


def wanted_by(reader: ReaderKind, corpus: Corpus, recipe: Recipe) -> pa.Table:
    """Units of a reader, one per file. With the corpus's prior, all are stale when the files of the prior change."""
    wanted = embed.file_units(_SOURCES[reader.needs].files(corpus, recipe), recipe.caption.variant)
    wanted = _with_evidence(wanted, reader, corpus, recipe)
    if recipe.caption.prior != "corpus":
        return wanted
    files = embedding_files(corpus, recipe)
    prior = digest(*(unit for path in prior_files(files) for unit in (path, *files[path])))
    inputs = [digest(str(own), prior) for own in wanted["inputs"].to_pylist()]
    return wanted.set_column(wanted.schema.get_field_index("inputs"), "inputs", pa.array(inputs, pa.string()))


def _with_evidence(wanted: pa.Table, reader: ReaderKind, corpus: Corpus, recipe: Recipe) -> pa.Table:
    """Add each unit's file of evidence, null where it has none, and the units of embed whose rows in it count."""
    files = live_files(corpus, embed.STAGE.name, embed.EVIDENCE, recipe.embed.slug)
    place = {unit: path for path, units in files.items() for unit in units}
    source, rows = _SOURCES[reader.needs], wanted.select(["path", "live"]).to_pylist()
    units = [source.evidence_units(recipe, row["path"], row["live"]) for row in rows]
    paths = [next((place[unit] for unit in own if unit in place), None) for own in units]
    wanted = wanted.append_column(_EVIDENCE, pa.array(paths, pa.string()))
    return wanted.append_column(_EVIDENCE_UNITS, pa.array(units, pa.list_(pa.string())))


def _execute(job: Job) -> Iterator[pa.Table]:
    import ray

    # Prepared once, here, and shared: text bank, calibration and prior are constants of the variant. Workers need
    # none of the files that the recipe names.
    reader = reader_of(job.recipe)
    prepared = ray.put(reader.prepare(job.corpus, job.recipe))
    make_caption = functools.partial(_make_caption, job.corpus, _settled(job.recipe), reader, prepared)
    operator = Operator(make_step=make_caption, fields=RESULT, cpus=BUSY_CPUS)
    per_task = _units_per_task(job.corpus, reader, job.recipe)
    return stream(job, [operator], units_per_file=per_task, units_per_task=per_task)


def _units_per_task(corpus: Corpus, reader: ReaderKind, recipe: Recipe) -> int:
    """Files that one task captions together: those that ``_ROWS_PER_TASK`` rows of its source fill."""
    source = _SOURCES[reader.needs]
    done = query(_SIZE, {"scope": source.scope(recipe)}, latest=Ledger(corpus, source.stage).latest()).to_pylist()
    return max(1, min(_MOST_UNITS, int(_ROWS_PER_TASK / max(1.0, done[0]["rows"] or 0.0))))


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
        tables = [read_live(corpus, source.table, row["path"], row["live"]) for row in rows]
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
    tables = [read_live(corpus, embed.EVIDENCE, row[_EVIDENCE], row[_EVIDENCE_UNITS]) for row in rows if row[_EVIDENCE]]
    return pa.concat_tables(tables) if tables else None


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
