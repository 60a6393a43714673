"""Dedup on Ray: one unit = the crops of one video; CPU only, no image is read."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import sha256
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import crop_features
from pipeline.flow.detect import CROPS
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, unit_columns, unit_schema
from pipeline.run.stream import Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from schemas.declaration import Mark, Table
from stages.dedup.config import DedupConfig

DUPLICATES = Table(
    name="duplicates",
    folder="duplicates",
    schema=schemas.tables.DUPLICATES,
    row="one row per crop that another crop represents; the representative has no row",
    mark=Mark(columns=("duplicate_of",), chained=True, reason="duplicate", keep="keep_duplicates"),
)
_STATIC = pa.field(
    "static", pa.bool_(), metadata={"doc": "whether the person never moves, such as a poster or a mannequin"}
)

STATICS = Table(
    name="statics",
    folder="statics",
    schema=schemas.tables.STATICS,
    row="one row per crop of a person that never moves, such as a poster or a mannequin",
    mark=Mark(flag=_STATIC, reason="static", keep="keep_static"),
)

# Videos whose rows share a file.
_UNITS_PER_FILE = 64

# Videos in one task. Most take less time than the task itself.
_UNITS_PER_TASK = 16

_WANTED = pa.schema([pa.field("pieces", pa.list_(crop_features.PIECE))])


def video_pieces(snapshot: Snapshot, recipe: Recipe, *, cosine: float | None) -> pa.Table:
    """Pieces of crops by video, with their features if ``cosine`` is set."""
    kind = None if cosine is None else recipe.dedup.features
    return crop_features.pieces_by_video(snapshot, CROPS, crop_features.feature_packs(snapshot, recipe, kind))


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    if not recipe.dedup.enabled:
        return unit_schema(_WANTED).empty_table()
    videos = video_pieces(snapshot, recipe, cosine=recipe.dedup.min_cosine)
    columns = {"unit_id": videos["video_id"], "inputs": sha256(videos["text"]), "pieces": videos["pieces"]}
    return unit_columns(columns, _WANTED)


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.dedup
    make_dedup = functools.partial(_make_dedup, job.corpus, config)
    return stream(
        job,
        [Operator(make_step=make_dedup, fields=RESULT, cpus=config.threads)],
        _UNITS_PER_FILE,
        units_per_task=_UNITS_PER_TASK,
    )


def _make_dedup(corpus: Corpus, config: DedupConfig) -> Step:
    from stages.dedup.duplicate_rows import VIDEO_COLUMNS, dedup_video

    def dedup(row: Row) -> Row:
        crops = crop_features.read_pieces(corpus, CROPS, row["pieces"], list(VIDEO_COLUMNS))
        known, vectors = crop_features.read_features(corpus, row["pieces"], row["unit_id"])
        statics, duplicates = dedup_video(crops, known, vectors, row["unit_id"], config)
        return result({STATICS.name: statics, DUPLICATES.name: duplicates}, "no two crops of the video are alike")

    return dedup


def _check(recipe: Recipe) -> None:
    config = recipe.dedup
    if config.enabled and (config.min_cosine is not None or config.min_cosine_across is not None):
        crop_features.check_features(recipe, config.features, "dedup")


def _identity(recipe: Recipe) -> dict[str, Any]:
    config = recipe.dedup
    # Used only across videos, so it does not make these units stale.
    return {name: value for name, value in config.identity().items() if name != "min_cosine_across"}


STAGE = Stage(
    name="dedup",
    tables=(STATICS, DUPLICATES),
    unit="video",
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
)
