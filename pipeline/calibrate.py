"""Fits the temperatures of a recipe's captions on crops whose attributes are known: renders, or a labelled set.

An uncalibrated model is too sure of some attributes and too unsure of others. The fitted file goes into the recipe as
``caption.calibration``.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from evaluation.captions.labelled_sets import READERS
from evaluation.render.rendered_crops import render_table
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from stages.caption.bank.bank import load_bank
from stages.caption.captions import features_by_region
from stages.caption.read.calibration import Calibration
from stages.caption.read.conquer import encode_bank
from stages.caption.read.fit_temperatures import fit_temperatures, label_codes
from stages.caption.read.prior import reference_means
from stages.embed.clip_model import ClipModel
from stages.embed.embed_crops import embed_crops
from stages.errors import UnitError


@dataclass(frozen=True)
class KnownCrops:
    """Crops whose attributes are known.

    Args:
        table: Columns crop_id, video_id and jpeg.
        truths: Value by attribute of each crop, in the table's order; attributes that are not known are absent.
    """

    table: pa.Table
    truths: list[dict[str, str]]


def calibrate(recipe: Recipe, crops: KnownCrops, out: Path) -> Calibration:
    """Embed the crops, read them as the recipe says, fit, and write the file.

    Args:
        recipe: Its embed and caption blocks say what is read, and how; ``caption.calibration`` has no effect.
        crops: The crops to fit on.
        out: YAML file to write.

    Returns:
        What was written.

    Raises:
        UserError: The model, the bank or a file of the recipe cannot be used, or the file cannot be written.
    """
    try:
        _check_folder(out)
        fitted = _fit(recipe, crops)
        out.write_text(yaml.safe_dump(fitted.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    except (UnitError, ValueError, OSError) as error:
        raise UserError(f"calibrate: {error}") from error
    return fitted


def write_reference(recipe: Recipe, seed: int, count: int, out: Path) -> None:
    """Write the embeddings of ``count`` renders, for ``caption.prior: reference``.

    Args:
        recipe: Its embed block names the model and the regions.
        seed: Seed of the renders; not the one that temperatures are fitted on.
        count: Number of renders.
        out: Parquet file to write.

    Raises:
        UserError: The model cannot be used, or the file cannot be written.
    """
    try:
        _check_folder(out)
        renders = render_table(seed, 0, count)
        found = embed_crops(renders, ClipModel(recipe.embed), recipe.embed.regions, "reference", evidence=False)
        pq.write_table(found.embeddings, out, compression="zstd")
    except (UnitError, ValueError, OSError) as error:
        raise UserError(f"calibrate: {error}") from error


def rendered(seed: int, count: int) -> KnownCrops:
    """Render persons.

    Args:
        seed: Seed of the series; a model must not have been trained on it.
        count: Number of persons.

    Raises:
        UserError: The seed or the count is out of range.
    """
    try:
        table = render_table(seed, 0, count)
    except UnitError as error:
        raise UserError(f"calibrate: {error}") from error
    rows: list[Any] = table["attributes"].to_pylist()
    return KnownCrops(table, [{item["attribute"]: item["value"] for item in row} for row in rows])


def labelled(name: str, folder: Path, split: str, seed: int, count: int) -> KnownCrops:
    """Read a labelled set.

    A label that fits several values of our banks ("bag") is left out: it does not say which reading is right.

    Args:
        name: pa100k, peta or market1501.
        folder: Folder of the set.
        split: Split of the set, such as train.
        seed: Seed of the draw.
        count: Number of crops to draw; fewer if the set is smaller.

    Raises:
        UserError: The set is not known, not there, or not in its format.
    """
    if name not in READERS:
        raise UserError(f"--labelled {name!r}: no such set; accepted are {', '.join(READERS)}")
    try:
        every = list(READERS[name](folder, split))
        chosen = random.Random(seed).sample(every, min(count, len(every)))  # noqa: S311 - not for secrets
        images = [crop.read() for crop in chosen]
    except (ValueError, OSError) as error:
        raise UserError(f"--labelled {name}: {error}") from error
    if not chosen:
        raise UserError(f"--labelled {name}: {folder} holds no labelled crop")
    ids = [f"{number:016x}" for number in range(len(chosen))]
    table = pa.table({"crop_id": ids, "video_id": [name] * len(ids), "jpeg": pa.array(images, pa.binary())})
    return KnownCrops(table, [_single(crop.truth) for crop in chosen])


def _single(truth: Any) -> dict[str, str]:
    return {name: next(iter(values)) for name, values in truth.items() if len(values) == 1}


def _fit(recipe: Recipe, crops: KnownCrops) -> Calibration:
    bank, model = load_bank(recipe.caption.bank), ClipModel(recipe.embed)
    found = embed_crops(crops.table, model, recipe.embed.regions, "calibrate", evidence=False).embeddings
    batch = features_by_region(found)
    # An image that cannot be decoded has no features, and its truth has no row then.
    truth_of = dict(zip(crops.table["crop_id"].to_pylist(), crops.truths, strict=True))
    labels = label_codes([truth_of[crop] for crop in batch.crop_ids], bank)
    encoded = encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale)
    means = reference_means(recipe.caption) if recipe.caption.prior == "reference" else None
    fits = fit_temperatures(batch.features, encoded, labels, recipe.caption, means)
    return Calibration(
        model=recipe.embed.slug,
        bank=bank.name,
        crops=len(batch.crop_ids),
        temperatures={name: round(fit.temperature, 3) for name, fit in fits.items()},
        nll={name: (round(fit.before, 4), round(fit.after, 4)) for name, fit in fits.items()},
    )


def _check_folder(out: Path) -> None:
    # Checked before minutes of work, not after them.
    if not out.parent.is_dir():
        raise OSError(f"{out} cannot be written: the folder {out.parent} does not exist")
