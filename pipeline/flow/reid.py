"""Re-identification features on Ray: one unit is one file of crops, as in embed, with another network."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.corpus.packs import PACK
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow import embed
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage
from pipeline.run.stream import Operator, actors_for, stream
from pipeline.run.units import RESULT, Row, Step, result
from pipeline.run.weights_digest import weights_digest
from stages.embed.reid_model import ReidConfig


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    packs = PACK.empty_table() if recipe.reid.model is None else snapshot.packs(DETECT.name, CROPS)
    return embed.pack_units(packs, recipe.reid.slug)


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.reid
    actors, cpus, gpus = actors_for(config.actors, config.threads)
    make_embed = functools.partial(_make_embed, config)
    operators = [
        embed.read_operator(job.corpus, actors),
        Operator(make_step=make_embed, fields=RESULT, cpus=cpus, gpus=gpus, actors=actors),
    ]
    return stream(job, operators, units_per_file=1)


def _make_embed(config: ReidConfig) -> Step:
    from stages.embed.embed_crops import embed_crops
    from stages.embed.reid_model import ReidModel

    model = ReidModel(config)

    def embed_file(row: Row) -> Row:
        crops = pa.ipc.open_stream(row["crops"]).read_all()
        found = embed_crops(crops, model, ["whole"], row["unit_id"], evidence=False)
        return result({embed.EMBEDDINGS.name: found.embeddings}, "no crop of the file could be decoded")

    return embed_file


def _check(recipe: Recipe) -> None:
    from stages.embed.reid_model import find_reid_weights

    if recipe.reid.model is None:
        return
    try:
        find_reid_weights(recipe.reid)
    except ValueError as error:
        raise UserError(str(error)) from error
    if recipe.reid.slug == recipe.embed.slug:
        raise UserError(f"reid.model and embed.model both name their features {recipe.reid.slug}; rename one file")


def _identity(recipe: Recipe) -> dict[str, Any]:
    model = recipe.reid.model
    return recipe.reid.identity() | {"model": model and weights_digest(model)}


STAGE = Stage(
    name="reid",
    tables=(embed.EMBEDDINGS,),
    unit="crops file",
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    scope=lambda recipe: recipe.reid.slug,
    check=_check,
    files=lambda recipe: {"reid.model": recipe.reid.model},
)
