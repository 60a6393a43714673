"""Caption on Ray: one unit = one file of embeddings; CPU only, no image is touched."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.live import live_files, read_live, stem
from pipeline.errors import UserError
from pipeline.flow import embed
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage
from pipeline.run.stream import BUSY_CPUS, Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from pipeline.run.weights import weights_digest
from schemas.declaration import Table

CAPTIONS = Table(
    name="captions",
    folder="captions",
    schema=schemas.tables.CAPTIONS,
    row="one row per variant and crop: its sentences and attributes",
    scope="variant",
)
TEXTS = "texts"

_EVIDENCE = "evidence"

# Raised when the same bank and model would be encoded otherwise than before.
_ENCODING = "1"

# A mean settles within some ten thousand crops; reading a large corpus whole for it would gain nothing.
_PRIOR_FILES = 16


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
    """One unit per file of embeddings; with the corpus's prior, done again when what that is made from changes."""
    files = _embeddings(corpus, recipe)
    wanted = embed.file_units(files, recipe.caption.variant)
    beside = live_files(corpus, embed.STAGE.name, embed.EVIDENCE, recipe.embed.slug)
    folder = embed.EVIDENCE.under(recipe.embed.slug)
    named = [f"{folder}/{stem(path)}.parquet" for path in wanted["path"].to_pylist()]
    paths = [path if path in beside else None for path in named]
    wanted = wanted.append_column(_EVIDENCE, pa.array(paths, pa.string()))
    if recipe.caption.prior != "corpus":
        return wanted
    prior = digest(*(unit for path in _prior_files(files) for unit in (path, *files[path])))
    inputs = [digest(own, prior) for own in wanted["inputs"].to_pylist()]
    return wanted.set_column(wanted.schema.get_field_index("inputs"), "inputs", pa.array(inputs, pa.string()))


def _embeddings(corpus: Corpus, recipe: Recipe) -> dict[str, list[str]]:
    return live_files(corpus, embed.STAGE.name, embed.EMBEDDINGS, recipe.embed.slug)


def _prior_files(files: Mapping[str, list[str]]) -> list[str]:
    """The files whose features make the prior: names are digests, so the first ones are as good as drawn by lot."""
    return sorted(files)[:_PRIOR_FILES]


def _execute(job: Job) -> Iterator[pa.Table]:
    import ray

    # Read and encoded once, here, and shared: text bank, calibration and prior are constants of the variant. Workers
    # need none of the files that the recipe names.
    features = ray.put(_encode(job.corpus, job.recipe))
    means = ray.put(_means(job.corpus, job.recipe))
    make_caption = functools.partial(_make_caption, job.corpus, _settled(job.recipe), features, means)
    return stream(job, [Operator(make_step=make_caption, fields=RESULT, cpus=BUSY_CPUS)], units_per_file=1)


def _settled(recipe: Recipe) -> Recipe:
    from stages.caption.bank.bank import load_bank
    from stages.caption.read.calibration import load_temperatures

    temperatures = load_temperatures(recipe.caption, load_bank(recipe.caption.bank))
    return recipe.model_copy(update={"caption": recipe.caption.model_copy(update={"calibration": temperatures})})


def _encode(corpus: Corpus, recipe: Recipe) -> Any:
    """The text bank, from the corpus where it was encoded before: by this model, in these words."""
    from stages.caption.bank.bank import load_bank
    from stages.caption.read.conquer import encode_bank, pack_bank, unpack_bank
    from stages.embed.clip_model import ClipModel

    bank, config = load_bank(recipe.caption.bank), recipe.embed
    weights = config.pretrained and weights_digest(config.pretrained)
    key = digest(_ENCODING, weights_digest(config.model), str(weights), bank.digest, length=32)
    path = f"{TEXTS}/{config.slug}/{key}.npz"
    if corpus.exists(path):
        return unpack_bank(corpus.read(path), bank)
    model = ClipModel(config.model_copy(update={"device": "cpu", "precision": "fp32"}))
    encoded = encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale)
    corpus.put(path, pack_bank(encoded))
    return encoded


def _means(corpus: Corpus, recipe: Recipe) -> Any:
    """Mean features of the prior, by region; empty where the recipe wants none."""
    from stages.caption.read.prior import mean_features, reference_means

    if recipe.caption.prior == "reference":
        return reference_means(recipe.caption)
    files = _embeddings(corpus, recipe) if recipe.caption.prior == "corpus" else {}
    columns = ["region", "embedding"]
    return mean_features(
        read_live(corpus, embed.EMBEDDINGS, path, files[path], columns) for path in _prior_files(files)
    )


def _make_caption(corpus: Corpus, recipe: Recipe, features: Any, means: Any) -> Step:
    import ray

    from stages.caption.bank.bank import load_bank
    from stages.caption.captions import caption_embeddings
    from stages.heap import keep_freed_memory

    keep_freed_memory()
    bank = load_bank(recipe.caption.bank)
    encoded, prior = ray.get([features, means])

    def caption(row: Row) -> Row:
        embeddings = read_live(corpus, embed.EMBEDDINGS, row["path"], row["live"])
        evidence = row[_EVIDENCE] and read_live(corpus, embed.EVIDENCE, row[_EVIDENCE], row["live"])
        table = caption_embeddings(
            embeddings, encoded, bank, recipe.caption, row["unit_id"], evidence=evidence, means=prior
        )
        return result({CAPTIONS.name: table}, "the file holds no embedding")

    return caption


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
            f"{recipe.embed.slug}; fit temperatures for it: python tools/calibrate.py RECIPE FILE"
        )


def _identity(recipe: Recipe) -> dict[str, Any]:
    from stages.caption.variant import variant_digests

    return recipe.caption.identity() | variant_digests(recipe.caption)


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
)
