"""What the benchmarks share: crops through the real embed and caption steps, and tables for a terminal."""

import argparse
import importlib.metadata
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.captions.scores import Score, Truth, colour_bleed, judge
from pipeline.errors import UserError
from pipeline.flow.caption import STAGE
from pipeline.recipe import load_recipe
from stages.caption.bank.bank import load_bank
from stages.caption.captions import caption_crops
from stages.caption.config import CaptionConfig
from stages.caption.read.conquer import ClipReader, encode_bank
from stages.caption.read.prior import mean_features, reference_means
from stages.embed.clip_model import ClipModel
from stages.embed.config import EMBEDDED, EmbedConfig
from stages.embed.embed_crops import embed_crops

# What a wrong option raises; users get its one line.
REFUSALS = (UserError, ValueError, OSError)

PACKAGES = ("torch", "open_clip_torch", "numpy", "pyarrow", "opencv-python")


@dataclass(frozen=True)
class Reading:
    """One configuration's answers."""

    name: str
    scores: list[Score]
    bleed: float
    bleeding: int


def model_options(parser: argparse.ArgumentParser) -> None:
    """Options that name the model."""
    parser.add_argument("--model", default=EMBEDDED, help="open_clip architecture, or a model folder")
    parser.add_argument("--pretrained", help="open_clip tag or file of weights; none where the folder has its own")
    parser.add_argument("--regions", nargs="+", default=["whole", "head", "upper", "lower"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")


def reading_options(parser: argparse.ArgumentParser) -> None:
    """Options that name the model, the bank, and a recipe to compare with."""
    model_options(parser)
    parser.add_argument("--bank", help="phrase bank; default: the recipe's, else unipt14")
    parser.add_argument("--recipe", type=Path, help="also read as the caption block of this recipe says")


def embed_config(options: argparse.Namespace) -> EmbedConfig:
    """The embed block that the options stand for."""
    return EmbedConfig(
        model=options.model, pretrained=options.pretrained, regions=options.regions, threads=options.threads,
        batch_size=options.batch_size, device=options.device, precision=options.precision,
    )  # fmt: skip


def caption_configs(options: argparse.Namespace) -> dict[str, CaptionConfig]:
    """What is compared, by name, over one bank: the paper's way, our default, and what a recipe may switch on."""
    name, last = "with prior", CaptionConfig(prior="corpus")
    if options.recipe:
        recipe = load_recipe(options.recipe).model_copy(update={"embed": embed_config(options)})
        STAGE.check(recipe)
        name, last = "recipe", recipe.caption
    bank = options.bank or last.bank
    ways = {"faithful": CaptionConfig(faithful=True), "default": CaptionConfig(), name: last}
    return {name: config.model_copy(update={"bank": bank}) for name, config in ways.items()}


def read_side_by_side(jpegs: Sequence[bytes], truths: Sequence[Truth], options: argparse.Namespace) -> list[Reading]:
    """Embed the crops once, caption them in every way, and score each against the truth."""
    ways, config = caption_configs(options), embed_config(options)
    model, bank = ClipModel(config), load_bank(ways["default"].bank)
    ids = [f"{number:016x}" for number in range(len(jpegs))]
    crops = pa.table({"crop_id": ids, "video_id": ["benchmark"] * len(ids), "jpeg": pa.array(jpegs, pa.binary())})
    embedded = embed_crops(crops, model, config.regions, "benchmark")
    encoded = encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale)
    corpus_means = mean_features([embedded.embeddings])
    readings = []
    for name, caption in ways.items():
        prior = reference_means(caption) if caption.prior == "reference" else corpus_means
        reader = ClipReader(encoded, caption, prior)
        table = caption_crops(embedded.embeddings, reader, bank, caption, "benchmark", evidence=embedded.evidence)
        rows = dict(zip(ids, truths, strict=True))
        kept = [rows[str(crop)] for crop in table["crop_id"].to_pylist()]
        bleed, bleeding = colour_bleed(table["attributes"], kept)
        readings.append(Reading(name, judge(table["attributes"], kept, bank), bleed, bleeding))
    return readings


def show_readings(readings: Sequence[Reading], crops: int, title: str) -> None:
    """One table: every attribute, every configuration."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")
    for head in ("attribute", "crops", "guess"):
        table.add_column(head, justify="left" if head == "attribute" else "right")
    for reading in readings:
        for head in ("right", "stated", "stated right", "ECE"):
            table.add_column(f"{head}\n{reading.name}", justify="right", no_wrap=True)
    for scores in zip(*(reading.scores for reading in readings), strict=True):
        cells = [cell for score in scores for cell in _cells(score)]
        table.add_row(scores[0].attribute, str(scores[0].crops), _share(scores[0].guess), *cells)
    means = [cell for reading in readings for cell in _mean_cells(reading.scores)]
    table.add_row("mean", "", _share(float(np.mean([score.guess for score in readings[0].scores]))), *means)
    console = Console(width=200)
    console.print(table)
    for reading in readings:
        stated, right = _statements(reading.scores)
        console.print(
            f"stated, {reading.name}: {stated} values of {crops} crops, "
            f"{_share(right / stated if stated else math.nan)} right"
        )
    for reading in readings:
        if reading.bleeding:
            console.print(
                f"colour bleed, {reading.name}: one colour read for both garments of {reading.bleed:.1%} "
                f"of {reading.bleeding} crops whose garments differ"
            )
    console.print(f"{crops} crops; {about()}")


def about() -> str:
    """Machine and versions, in words."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}"


def root() -> Path:
    """Root of the repository."""
    return Path(__file__).resolve().parents[2]


def _cells(score: Score) -> list[str]:
    shares = (score.right, score.stated, score.stated_right, score.calibration_error)
    return [_share(share) for share in shares]


def _statements(scores: Sequence[Score]) -> tuple[int, int]:
    """How many values of labelled attributes the captions state, and how many of them are correct."""
    stated = [round(score.stated * score.crops) for score in scores]
    right = [round(score.stated_right * count) for score, count in zip(scores, stated, strict=True) if count]
    return sum(stated), sum(right)


def _mean_cells(scores: Sequence[Score]) -> list[str]:
    columns = [(score.right, score.stated, score.stated_right, score.calibration_error) for score in scores]
    known = [[share for share in column if not np.isnan(share)] for column in zip(*columns, strict=True)]
    return [_share(float(np.mean(column)) if column else float("nan")) for column in known]


def _share(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.1%}"
