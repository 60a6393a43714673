"""Embed on Ray: one unit = one file of crops, read on the way into the model's actor."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.live import live_files, read_live, stem
from pipeline.errors import UserError
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, units
from pipeline.run.stream import Operator, actors_for, stream
from pipeline.run.units import RESULT, Row, Step, result
from pipeline.run.weights import weights_digest
from stages.embed.config import EmbedConfig

FOLDER = "embeddings"
EVIDENCE = "evidence"

_COLUMNS = ["crop_id", "video_id", "jpeg", "keypoints", "objects"]

_WANTED = pa.schema([pa.field("path", pa.string()), pa.field("live", pa.list_(pa.string()))])
_READ = pa.schema([pa.field("crops", pa.large_binary())])


def folder(recipe: Recipe) -> str:
    """Folder of the recipe's embeddings."""
    return f"{FOLDER}/{recipe.embed.slug}"


def evidence_folder(recipe: Recipe) -> str:
    """Folder of the evidence beside those embeddings; a unit's two files have the same name."""
    return f"{EVIDENCE}/{recipe.embed.slug}"


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
    return file_units(live_files(corpus, DETECT.name, CROPS), recipe.embed.slug)


def file_units(files: dict[str, list[str]], scope: str) -> pa.Table:
    """One unit per file, which is to be done again when other rows of it count than before."""
    rows = [
        {"unit_id": f"{scope}/{stem(path)}", "inputs": digest(*live), "path": path, "live": live}
        for path, live in files.items()
    ]
    return units(rows, _WANTED)


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.embed
    actors, cpus, gpus = actors_for(config.actors, config.threads)
    embed = functools.partial(_make_embed, config, folder(job.recipe), evidence_folder(job.recipe))
    operators = [
        read_operator(job.corpus, actors),
        Operator(make_step=embed, fields=RESULT, cpus=cpus, gpus=gpus, actors=actors),
    ]
    return stream(job, operators, units_per_file=1)


def read_operator(corpus: Corpus, actors: int) -> Operator:
    """Reads the crops of a unit of ``file_units``, on the way into a pool of so many actors."""
    return Operator(make_step=functools.partial(_make_read, corpus), fields=_READ, cpus=0.25, tasks=2 * actors)


def _make_read(corpus: Corpus) -> Step:
    def read(row: Row) -> Row:
        crops = read_live(corpus, row["path"], row["live"], _COLUMNS)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, crops.schema) as writer:
            writer.write_table(crops)
        return {"crops": bytes(sink.getvalue())}

    return read


def _make_embed(config: EmbedConfig, target: str, beside: str) -> Step:
    from stages.embed.clip_model import ClipModel
    from stages.embed.embed_crops import embed_crops
    from stages.heap import keep_freed_memory

    keep_freed_memory()
    model = ClipModel(config)

    def embed(row: Row) -> Row:
        crops = pa.ipc.open_stream(row["crops"]).read_all()
        found = embed_crops(crops, model, config.regions, row["unit_id"], evidence=config.evidence)
        return result({beside: found.evidence, target: found.embeddings}, "no crop of the file could be decoded")

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


STAGE = Stage(
    name="embed",
    unit="crops file",
    version=2,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    scope=lambda recipe: recipe.embed.slug,
    check=_check,
)
