"""Caption on Ray: one unit = one file of embeddings; CPU only, no image is touched."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.corpus import Corpus
from pipeline.errors import UserError
from pipeline.flow import embed
from pipeline.flow.stage import Job, Stage
from pipeline.flow.stream import Operator, stream
from pipeline.flow.tables import live_files, read_live
from pipeline.recipe import Recipe
from pipeline.units import RESULT, Row, Step, result

FOLDER = "captions"


def folder(recipe: Recipe) -> str:
    """Folder of the recipe's captions."""
    return f"{FOLDER}/{recipe.caption.variant}"


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
    files = live_files(corpus, embed.STAGE.name, embed.folder(recipe), recipe.embed.slug)
    return embed.file_units(files, recipe.caption.variant)


def _execute(job: Job) -> Iterator[pa.Table]:
    import ray

    # Encoded once, here, and shared: the text bank is a constant of the variant.
    features = ray.put(_encode(job.recipe))
    make_caption = functools.partial(_make_caption, job.corpus, job.recipe, features)
    return stream(job, [Operator(make_step=make_caption, fields=RESULT, cpus=1.0)], units_per_file=1)


def _encode(recipe: Recipe) -> Any:
    from stages.caption.bank import load_bank
    from stages.caption.conquer import encode_bank
    from stages.embed.model import ClipModel

    model = ClipModel(recipe.embed.model_copy(update={"device": "cpu", "precision": "fp32"}))
    return encode_bank(load_bank(recipe.caption.bank), model.encode_texts, logit_scale=model.logit_scale)


def _make_caption(corpus: Corpus, recipe: Recipe, features: Any) -> Step:
    import ray

    from stages.caption.bank import load_bank
    from stages.caption.captions import caption_embeddings

    bank = load_bank(recipe.caption.bank)
    encoded = ray.get(features)

    def caption(row: Row) -> Row:
        embeddings = read_live(corpus, row["path"], row["live"])
        table = caption_embeddings(embeddings, encoded, bank, recipe.caption, row["unit_id"])
        return result({folder(recipe): table}, "the file holds no embedding")

    return caption


def _check(recipe: Recipe) -> None:
    from stages.caption.problems import BankError
    from stages.caption.variant import variant_digests

    try:
        variant_digests(recipe.caption)
    except BankError as error:
        raise UserError(f"caption: {error}") from error


def _identity(recipe: Recipe) -> dict[str, Any]:
    from stages.caption.variant import variant_digests

    return recipe.caption.identity() | variant_digests(recipe.caption)


STAGE = Stage(
    name="caption",
    unit="embeddings file",
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
    scope=lambda recipe: recipe.caption.variant,
)
