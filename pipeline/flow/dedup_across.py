"""Dedup across videos, on Ray: one unit = the corpus, without the crops that are duplicates inside their video."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.live import live_files, read_live
from pipeline.flow import crop_features
from pipeline.flow.dedup import DUPLICATES, video_pieces
from pipeline.flow.dedup import STAGE as DEDUP
from pipeline.flow.detect import CROPS
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, units
from pipeline.run.stream import Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from stages.dedup.config import DedupConfig

UNIT = "across"

_FOUND = pa.struct([pa.field("path", pa.string()), pa.field("live", pa.list_(pa.string()))])
_WANTED = pa.schema([pa.field("pieces", pa.list_(crop_features.PIECE)), pa.field("found", pa.list_(_FOUND))])


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
    config = recipe.dedup
    videos = video_pieces(corpus, recipe, cosine=config.min_cosine_across)
    if config.min_cosine_across is None or len(videos) < 2:
        return units([], _WANTED)
    pieces = [piece for video in videos.values() for piece in video]
    found = [{"path": path, "live": live} for path, live in live_files(corpus, DEDUP.name, DUPLICATES).items()]
    inputs = digest(*crop_features.digest_parts(pieces), *(f"{row['path']}:{','.join(row['live'])}" for row in found))
    return units([{"unit_id": UNIT, "inputs": inputs, "pieces": pieces, "found": found}], _WANTED)


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.dedup
    make_compare = functools.partial(_make_compare, job.corpus, config)
    return stream(job, [Operator(make_step=make_compare, fields=RESULT, cpus=config.threads)], units_per_file=1)


def _make_compare(corpus: Corpus, config: DedupConfig) -> Step:
    from stages.dedup.duplicate_rows import CROP_COLUMNS, dedup_across

    def compare(row: Row) -> Row:
        crops = crop_features.read_pieces(corpus, CROPS, row["pieces"], list(CROP_COLUMNS))
        for found in row["found"]:
            behind = read_live(corpus, DUPLICATES, found["path"], found["live"], ["crop_id"])["crop_id"]
            crops = crops.filter(pc.invert(pc.is_in(crops["crop_id"], value_set=behind.combine_chunks())))
        known, vectors = crop_features.read_features(corpus, row["pieces"])
        table = dedup_across(crops.sort_by("crop_id"), known, vectors, row["unit_id"], config)
        return result({DUPLICATES.name: table}, "no two crops of different videos are alike")

    return compare


def _identity(recipe: Recipe) -> dict[str, Any]:
    return recipe.dedup.identity()


STAGE = Stage(
    name="dedup_across",
    tables=(DUPLICATES,),
    unit="corpus",
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
)
