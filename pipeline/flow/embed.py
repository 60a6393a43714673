"""Embed on Ray: one unit is one file of crops, which a CPU task reads for the model's actor."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import digest_lists, joined
from pipeline.corpus.packs import PACK, read_pack
from pipeline.corpus.snapshot import Snapshot, stems
from pipeline.errors import UserError
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, unit_columns
from pipeline.run.stream import Operator, actors_for, stream
from pipeline.run.units import RESULT, Row, Step, result
from pipeline.run.weights_digest import weights_digest
from schemas.declaration import Table
from stages.embed.config import EmbedConfig

EMBEDDINGS = Table(
    name="embeddings",
    folder="embeddings",
    schema=schemas.tables.embeddings(),
    row="one row per model, crop and region",
    scope="model",
)
EVIDENCE = Table(
    name="evidence",
    folder="evidence",
    schema=schemas.tables.EVIDENCE,
    row="one row per model and crop: garment colours from its pixels, and objects from the detector",
    scope="model",
)

_COLUMNS = ["crop_id", "video_id", "jpeg", "keypoints", "objects"]

_READ = pa.schema([pa.field("crops", pa.large_binary())])


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    return pack_units(snapshot.packs(DETECT.name, CROPS), recipe.embed.slug)


def pack_units(packs: pa.Table, scope: str) -> pa.Table:
    """One unit per pack, with the columns of ``PACK``. It is stale when the rows that count in the pack change."""
    columns = {name: packs[name] for name in PACK.names}
    unit_id = joined("/", scope, stems(packs["path"]))
    return unit_columns({"unit_id": unit_id, "inputs": digest_lists(packs["live"]), **columns}, PACK)


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.embed
    actors, cpus, gpus = actors_for(config.actors, config.threads)
    embed = functools.partial(_make_embed, config)
    operators = [
        read_operator(job.corpus, actors),
        Operator(make_step=embed, fields=RESULT, cpus=cpus, gpus=gpus, actors=actors),
    ]
    return stream(job, operators, units_per_file=1)


def read_operator(corpus: Corpus, actors: int) -> Operator:
    """Reads the crops of a unit of ``pack_units``, ahead of a pool of this many actors."""
    return Operator(make_step=functools.partial(_make_read, corpus), fields=_READ, cpus=0.25, tasks=2 * actors)


def _make_read(corpus: Corpus) -> Step:
    def read(row: Row) -> Row:
        crops = read_pack(corpus, CROPS, row, _COLUMNS)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, crops.schema) as writer:
            writer.write_table(crops)
        return {"crops": bytes(sink.getvalue())}

    return read


def _make_embed(config: EmbedConfig) -> Step:
    from stages.embed.clip_model import ClipModel
    from stages.embed.embed_crops import embed_crops
    from stages.heap import keep_freed_memory

    keep_freed_memory()
    model = ClipModel(config)

    def embed(row: Row) -> Row:
        crops = pa.ipc.open_stream(row["crops"]).read_all()
        found = embed_crops(crops, model, config.regions, row["unit_id"], evidence=config.evidence)
        rows = {EVIDENCE.name: found.evidence, EMBEDDINGS.name: found.embeddings}
        return result(rows, "no crop of the file could be decoded")

    return embed


def _check(recipe: Recipe) -> None:
    config = recipe.embed
    if config.pretrained is None and weights_digest(config.model) == config.model:
        raise UserError(
            f"embed.model {config.model!r}: no such folder, and embed.pretrained is null. "
            "Give a folder with open_clip_config.json, or the tag of weights that open_clip can fetch"
        )


def _identity(recipe: Recipe) -> dict[str, Any]:
    config = recipe.embed
    weights = config.pretrained and weights_digest(config.pretrained)
    return config.identity() | {"model": weights_digest(config.model), "pretrained": weights}


def files(recipe: Recipe) -> dict[str, str | None]:
    """Weights of the CLIP, by recipe key."""
    return {"embed.model": recipe.embed.model, "embed.pretrained": recipe.embed.pretrained}


STAGE = Stage(
    name="embed",
    tables=(EMBEDDINGS, EVIDENCE),
    unit="crops file",
    version=2,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    scope=lambda recipe: recipe.embed.slug,
    check=_check,
    files=files,
)
