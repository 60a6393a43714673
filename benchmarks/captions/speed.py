"""How fast crops are captioned and embedded; embedding as a ratio to the bare model, measured in the same run.

    python -m benchmarks.captions.speed
    python -m benchmarks.captions.speed --model ViT-B-16-quickgelu --pretrained openai --device cuda --precision fp16

Captions: from stored embeddings, an Arrow table in memory, to the captions table, on one core; the whole and its parts.
Embed: from a table of JPEGs to the embeddings table, with decoding and resizing. It is compared with open_clip's bare
``encode_image`` of the same model, batch size, precision and threads over pixels prepared beforehand, once in the
layout of open_clip's own transforms and once channels last, as embed feeds them. The runs alternate. Decoding has a
thread of its own, so it needs a core in addition to the ``--threads`` of the model.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

# One core is measured. BLAS reads these when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import pyarrow as pa
import torch
from rich import box
from rich.console import Console
from rich.table import Table

import schemas.tables
from benchmarks.captions.reading import about, embed_config, model_options
from evaluation.render.rendered_crops import render_table
from stages.caption.bank.bank import load_bank
from stages.caption.captions import caption_crops, caption_table, features_by_region
from stages.caption.config import CaptionConfig
from stages.caption.read.conquer import BankFeatures, ClipReader, encode_bank
from stages.caption.read.decisions import decide
from stages.caption.write.combine import write_sentences
from stages.caption.write.known_writers import caption_writer
from stages.embed.clip_model import ClipModel
from stages.embed.embed_crops import embed_crops
from stages.heap import keep_freed_memory
from stages.pictures import decode

CAPTIONS_GOAL = 20_000
EMBED_GOAL = 0.95
Line = tuple[str, float, str, str]


def embeddings_table(count: int, dim: int, regions: Sequence[str], seed: int = 0) -> pa.Table:
    """Random unit vectors as ``schemas.tables.embeddings(dim)``: ``count`` crops, each with these regions."""
    features = np.random.default_rng(seed).standard_normal((count * len(regions), dim), dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    ids = pa.array([f"{seed:06x}{number:010x}" for number in range(count)])
    rows = pa.array(np.repeat(np.arange(count), len(regions)), pa.int64())
    return pa.table(
        {
            "crop_id": ids.take(rows),
            "video_id": pa.repeat(f"video:{seed}", len(rows)),
            "unit_id": pa.repeat(f"unit/{seed}", len(rows)),
            "region": pa.array(list(regions) * count),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features.astype(np.float16).ravel()), dim),
        },
        schema=schemas.tables.embeddings(dim),
    )


def captions(options: argparse.Namespace, encoded: BankFeatures) -> list[Line]:
    """Captions per second and core: the whole path and its parts."""
    bank, config, count = load_bank(options.bank), CaptionConfig(), options.captions
    table = embeddings_table(count, encoded.dim, options.regions)
    reader, writer = ClipReader(encoded, config), caption_writer(bank, config)
    batch = features_by_region(table)
    decisions = decide(reader.read(batch), config)
    stated = decisions.stated()
    parts: dict[str, Callable[[], object]] = {
        "captions, whole path": lambda: caption_crops(table, reader, bank, config, "u"),
        "  read the table": lambda: features_by_region(table),
        "  conquer": lambda: decide(reader.read(batch), config),
        "  combine": lambda: write_sentences(stated, batch.crop_ids, bank, config),
        "  combine and table": lambda: caption_table(batch, decisions, writer, "u", seed=config.seed),
    }
    lines = []
    for name, times in turns(parts, options.repeats).items():
        rate = count / median(times)
        goal = verdict(rate / CAPTIONS_GOAL, f"{CAPTIONS_GOAL:,}/s") if not name.startswith(" ") else ""
        lines.append((name, rate, "crops/s and core", goal))
    return lines


def embed(options: argparse.Namespace, model: ClipModel) -> list[Line]:
    """Images per second of embedding and of the bare forward pass, and their ratio."""
    config = embed_config(options)
    count = max(config.batch_size, options.crops // config.batch_size * config.batch_size)
    crops = render_table(3, 0, count)
    wide = model.image_size[1], model.image_size[0]
    jpegs: list[Any] = crops["jpeg"].to_pylist()[: config.batch_size]
    images = [image for image in map(decode, jpegs) if image is not None]
    sized = np.stack([cv2.resize(image, wide) for image in images])
    pixels = torch.from_numpy(sized).permute(0, 3, 1, 2).float().div_(128).sub_(1).to(model.device, model.dtype)
    stacked = pixels.contiguous(memory_format=torch.contiguous_format)
    last = pixels.contiguous(memory_format=torch.channels_last)

    def bare(pixels: torch.Tensor) -> None:
        with torch.inference_mode():
            for _ in range(count // config.batch_size):
                model.model.encode_image(pixels, normalize=True).float().cpu()

    path = "embed, JPEG decoding included"
    runs: dict[str, Callable[[], object]] = {
        "bare forward, pixels as open_clip stacks them": lambda: bare(stacked),
        "bare forward, channels last": lambda: bare(last),
        path: lambda: embed_crops(crops, model, ["whole"], "u", evidence=False),
    }
    times = turns(runs, options.repeats)
    lines = [(name, count / median(row), "images/s", "") for name, row in times.items()]
    whole = times.pop(path)
    for name, row in times.items():
        ratio = median(first / second for first, second in zip(row, whole, strict=True))
        lines.append((f"embed / {name}", ratio, "ratio", verdict(ratio / EMBED_GOAL, f"{EMBED_GOAL:.2f}")))
    return lines


def turns(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Wall times of each run, by name. The runs alternate, after one warm-up of each."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - began)
    return times


def verdict(share: float, goal: str) -> str:
    """Whether a goal was reached, for the table."""
    return f"goal {goal} {'reached' if share >= 1 else f'missed ({share:.0%} of it)'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--captions", type=int, default=16_384, help="crops to caption")
    parser.add_argument("--crops", type=int, default=1024, help="crops to embed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bank", default="unipt14")
    model_options(parser)
    parser.set_defaults(regions=["whole", "upper", "lower"])
    options = parser.parse_args(arguments)
    cv2.setNumThreads(options.threads)
    keep_freed_memory()
    model = ClipModel(embed_config(options))
    encoded = encode_bank(load_bank(options.bank), model.encode_texts, logit_scale=model.logit_scale)
    lines = embed(options, model)
    torch.set_num_threads(1)
    lines = captions(options, encoded) + lines
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=f"Speed with {options.model}")
    for name in ("what", "rate", "unit", "goal"):
        table.add_column(name, justify="right" if name == "rate" else "left")
    for what, rate, unit, goal in lines:
        table.add_row(what, f"{rate:,.3f}" if unit == "ratio" else f"{rate:,.0f}", unit, goal)
    Console(width=140).print(table)
    device = torch.cuda.get_device_name() if model.device.startswith("cuda") else f"{options.threads} threads"
    print(f"batch {options.batch_size}, {model.dtype}, {device}; features of {encoded.dim}; {about()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
