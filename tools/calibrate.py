"""Fit the temperatures of a recipe's captions on rendered persons, whose attributes are known.

    python tools/calibrate.py recipes/demo.yaml calibration.yaml --count 1000 --reference reference.parquet

The first file is for ``caption.calibration``. The second, where one is asked for, holds the embeddings of other renders
of the same kind, for ``caption.prior: reference``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from evaluation.render.rendered_crops import render_table
from pipeline.errors import UserError
from pipeline.recipe import Recipe, load_recipe
from stages.caption.bank.bank import load_bank
from stages.caption.captions import features_by_region
from stages.caption.read.calibration import Calibration
from stages.caption.read.conquer import encode_bank
from stages.caption.read.fit_temperatures import fit_temperatures, label_codes
from stages.caption.read.prior import reference_means
from stages.embed.clip_model import ClipModel
from stages.embed.embed_crops import embed_crops
from stages.errors import UnitError


def calibrate(recipe: Recipe, model: ClipModel, count: int, seed: int) -> Calibration:
    """Render, embed, read, and fit.

    Args:
        recipe: Its embed and caption blocks say what is read, and how.
        model: The recipe's model.
        count: Rendered persons.
        seed: Seed of the series; take one that the model was not trained on.
    """
    bank, renders = load_bank(recipe.caption.bank), render_table(seed, 0, count)
    found = embed_crops(renders, model, recipe.embed.regions, "calibrate", evidence=False).embeddings
    features = features_by_region(found).features
    encoded = encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale)
    rows: list[Any] = renders["attributes"].to_pylist()
    truths = [{item["attribute"]: item["value"] for item in row} for row in rows]
    means = reference_means(recipe.caption) if recipe.caption.prior == "reference" else None
    fits = fit_temperatures(features, encoded, label_codes(truths, bank), recipe.caption, means)
    return Calibration(
        model=recipe.embed.slug,
        bank=bank.name,
        crops=count,
        temperatures={name: round(fit.temperature, 3) for name, fit in fits.items()},
        nll={name: (round(fit.before, 4), round(fit.after, 4)) for name, fit in fits.items()},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say; exit code 2 where they cannot be followed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", help="recipe whose model and bank are meant")
    parser.add_argument("out", type=Path, help="YAML file to write")
    parser.add_argument("--count", type=int, default=1000, help="rendered persons (default: 1000)")
    parser.add_argument("--seed", type=int, default=101, help="seed of the renders (default: 101)")
    parser.add_argument("--reference", type=Path, help="also write the embeddings of as many other renders here")
    options = parser.parse_args(arguments)
    try:
        recipe = load_recipe(Path(options.recipe))
        model = ClipModel(recipe.embed)
        fitted = calibrate(recipe, model, options.count, options.seed)
        if options.reference:
            others = render_table(options.seed + 1, 0, options.count)
            found = embed_crops(others, model, recipe.embed.regions, "reference", evidence=False)
            pq.write_table(found.embeddings, options.reference, compression="zstd")
    except (UserError, UnitError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    options.out.write_text(yaml.safe_dump(fitted.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    for name, temperature in fitted.temperatures.items():
        before, after = fitted.nll[name]
        print(f"{name:12} temperature {temperature:7.3f}  negative log likelihood {before:.3f} -> {after:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
