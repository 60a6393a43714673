"""Dedup across videos, on Ray: one unit = the corpus, without the crops that are duplicates inside their video."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import digest_text, one_list, sha256
from pipeline.corpus.packs import PACK_STRUCT, pack_parts, read_packs
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import crop_features, dedup_buckets
from pipeline.flow.dedup import DUPLICATES, video_pieces
from pipeline.flow.dedup import STAGE as DEDUP
from pipeline.flow.dedup_buckets import Found
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, unit_columns, unit_schema
from pipeline.run.stream import Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from stages.dedup.config import DedupConfig
from stages.errors import UnitError

UNIT = "across"

_WANTED = pa.schema([pa.field("pieces", pa.list_(crop_features.PIECE)), pa.field("found", pa.list_(PACK_STRUCT))])

_NONE = "no two crops of different videos are alike"


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    config = recipe.dedup
    if not config.enabled or config.min_cosine_across is None:
        return unit_schema(_WANTED).empty_table()
    videos = video_pieces(snapshot, recipe, cosine=config.min_cosine_across)
    if len(videos) < 2:
        return unit_schema(_WANTED).empty_table()
    found = snapshot.packs(DEDUP.name, DUPLICATES)
    parts = [*videos["text"].to_pylist(), *digest_text(one_list(pack_parts(found))).to_pylist()]
    columns = {
        "unit_id": pa.array([UNIT]),
        "inputs": sha256(pa.array(["".join(map(str, parts))])),
        "pieces": one_list(pc.list_flatten(videos["pieces"])),
        "found": one_list(found.to_struct_array()),
    }
    return unit_columns(columns, _WANTED)


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.dedup
    if _most_crops(job.snapshot) <= config.exact_below:
        yield from _at_once(job)
        return
    with dedup_buckets.scratch(job.corpus) as folder:
        found = _compare_by_buckets(job, folder)
        if found is None:
            yield from _at_once(job)
        else:
            yield from _finish(job, functools.partial(_make_follow, job.corpus, found))


def _most_crops(snapshot: Snapshot) -> int:
    """No fewer crops than the corpus has."""
    done = snapshot.settled(DETECT.name)
    return int(pc.sum(pc.coalesce(done["crops"], done["rows_out"])).as_py() or 0)


def _at_once(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.dedup
    make_compare = functools.partial(_make_compare, job.corpus, config)
    return stream(job, [Operator(make_step=make_compare, fields=RESULT, cpus=config.threads)], units_per_file=1)


def _finish(job: Job, make_step: functools.partial[Step]) -> Iterator[pa.Table]:
    return stream(job, [Operator(make_step=make_step, fields=RESULT, cpus=1.0)], units_per_file=1)


def _compare_by_buckets(job: Job, folder: str) -> Found | UnitError | None:
    """Files of pairs, or why a task failed; None if few crops are left without the duplicates within videos."""
    config = job.recipe.dedup
    (unit,) = job.todo.to_pylist()
    try:
        gathered = dedup_buckets.gather(job.corpus, folder, unit["pieces"], unit["found"])
        if gathered.crops <= config.exact_below:
            return None
        return dedup_buckets.compare(job.corpus, folder, gathered, config)
    except UnitError as error:
        return error


def _make_compare(corpus: Corpus, config: DedupConfig) -> Step:
    from stages.dedup.duplicate_rows import CROP_COLUMNS, dedup_across

    def compare(row: Row) -> Row:
        crops = crop_features.read_pieces(corpus, CROPS, row["pieces"], list(CROP_COLUMNS))
        for behind in read_packs(corpus, DUPLICATES, row["found"], ["crop_id"]):
            crops = crops.filter(pc.invert(pc.is_in(crops["crop_id"], value_set=behind["crop_id"].combine_chunks())))
        known, vectors = crop_features.read_features(corpus, row["pieces"])
        return result({DUPLICATES.name: dedup_across(crops.sort_by("crop_id"), known, vectors, UNIT, config)}, _NONE)

    return compare


def _make_follow(corpus: Corpus, found: Found | UnitError) -> Step:
    def follow(row: Row) -> Row:
        if isinstance(found, UnitError):
            raise found
        return result({DUPLICATES.name: dedup_buckets.follow(corpus, found, row["unit_id"])}, _NONE)

    return follow


def _identity(recipe: Recipe) -> dict[str, Any]:
    return recipe.dedup.identity()


STAGE = Stage(
    name="dedup_across",
    tables=(DUPLICATES,),
    unit="corpus",
    # 2: more crops than ``exact_below`` are compared by parts of their hashes.
    version=2,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
)
