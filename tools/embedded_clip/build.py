"""Build the embedded CLIP: render pedestrians, train first its image tower and then its text tower, export, measure.

    python -m tools.embedded_clip.build                      # everything, into models/reidforge-clip-s
    python -m tools.embedded_clip.build --set pretrain.max_steps=200 --out /tmp/clip
    python -m tools.embedded_clip.build --measure-only

The recipe (tools/embedded_clip/recipe.yaml) has the seeds of the renders, the questions and the training. Renders and
checkpoints are kept under .cache/, and an interrupted build resumes from its last checkpoint. The exit code is 1 if
colours are read correctly less often than the recipe requires.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch.distributed as dist
import yaml
from torch.multiprocessing.spawn import spawn

from evaluation.captions.scores import judge
from stages.caption.bank.bank import Bank, load_bank
from stages.caption.config import CaptionConfig
from stages.caption.read.conquer import encode_bank, read_attributes
from stages.caption.read.decisions import decide
from stages.embed.clip_model import ClipModel
from stages.embed.config import EmbedConfig
from stages.embed.regions import cut_region
from stages.pictures import decode
from stages.pretrain.checkpoint import latest
from stages.pretrain.config import PretrainConfig
from stages.pretrain.loop import train
from stages.pretrain.two_towers import TwoTowers, export
from tools.embedded_clip.attributes import Crops, teach
from tools.embedded_clip.texts import Truth, texts_of_block

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 2000
MEASURED = "measured.json"
TABLE_START, TABLE_END = "<!-- figures -->", "<!-- end of figures -->"
COLOURS = ("upper_colour", "lower_colour")

Recipe = dict[str, Any]


def renders(seed: int, count: int, quality: int, folder: Path) -> list[Path]:
    """Parquet manifests of a series of renders; renders those that are missing."""
    from evaluation.render.rendered_crops import render_table

    paths = []
    for start in range(0, count, CHUNK):
        path = folder / f"{seed}-{start:06d}.parquet"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            rows = render_table(seed, start, min(CHUNK, count - start), jpeg_quality=quality)
            pq.write_table(rows, path.with_suffix(".part"), compression="zstd")
            path.with_suffix(".part").replace(path)
            print(f"rendered {path.name}", flush=True)
        paths.append(path)
    return paths


def load(paths: Sequence[Path]) -> tuple[list[str], list[bytes], list[Truth]]:
    """crop_id, JPEG and truth of every render."""
    table = pa.concat_tables(pq.read_table(path, columns=["crop_id", "jpeg", "attributes"]) for path in paths)
    columns: list[list[Any]] = [column.to_pylist() for column in table.columns]
    ids, jpegs, rows = columns
    return ids, jpegs, [{item["attribute"]: item["value"] for item in row} for row in rows]


class Renders:
    """The training split: a new order of the crops in each epoch, new questions in each block."""

    def __init__(self, recipe: Recipe, bank: Bank, paths: Sequence[Path]) -> None:
        self._texts, self._bank = recipe["texts"], bank
        self._size = recipe["pretrain"]["batch_size"]
        self._seed = recipe["pretrain"].get("seed", 0)
        self.ids, self._jpegs, self._truths = load(paths)

    def stream(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[pa.RecordBatch]:
        """Record batches of an epoch, one per training step; each worker takes its part of every batch."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self.ids))
        for number, start in enumerate(range(0, len(order) - self._size + 1, self._size)):
            rng = random.Random(f"{self._seed}/{epoch}/{number}")  # noqa: S311 - not for secrets
            yield self._block(order[start : start + self._size], rng, slice(rank, None, world))

    def _block(self, rows: npt.NDArray[np.int64], rng: random.Random, part: slice) -> pa.RecordBatch:
        texts, region = self._texts, "whole"
        if rng.random() < texts["region_share"]:
            region = rng.choice(("head", "upper", "lower"))
        ids, truths = [self.ids[row] for row in rows], [self._truths[row] for row in rows]
        captions = texts_of_block(
            self._bank,
            truths,
            ids,
            questions=texts["questions"],
            synonyms=texts["synonyms"],
            rng=rng,
            keep=lambda question: region == "whole" or self._region_of(question) == region,
        )
        jpegs = [self._jpegs[row] if region == "whole" else _cut(self._jpegs[row], region) for row in rows[part]]
        return pa.record_batch({"crop_id": ids[part], "jpeg": jpegs, "captions": captions[part]})

    def _region_of(self, question: str) -> str:
        facet = self._bank.by_name.get(question.split("+")[0])
        return facet.block.region if facet else "whole"


def _cut(jpeg: bytes, region: Any) -> bytes:
    image = decode(jpeg)
    assert image is not None
    part = cv2.cvtColor(cut_region(image, region), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def read(model: ClipModel, bank: Bank, jpegs: Sequence[bytes]) -> "pa.ListArray[Any]":
    """The ``attributes`` of encoded crops, read zero-shot by the prompts of the bank as the caption stage does it.

    The stage stores features as float16 in between, which changes one value in ten thousand.
    """
    images = [image for image in map(decode, jpegs) if image is not None]
    regions: list[Any] = sorted({region for block in bank.attributes for region in block.blend})
    features = {region: model.encode_images([cut_region(image, region) for image in images]) for region in regions}
    encoded = encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale)
    return decide(read_attributes(features, encoded, CaptionConfig()), CaptionConfig()).to_arrow()


def measure(folder: Path, bank: Bank, paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Read held-out renders, and score each attribute over the renders that have it.

    Returns:
        Attribute -> ``right``, the share read correctly, and ``commonest``, the share of the commonest value, which
        answering without looking would get.
    """
    model = ClipModel(EmbedConfig(model=str(folder), pretrained=None, threads=2))
    _, jpegs, truths = load(paths)
    accepted = [{name: frozenset([value]) for name, value in truth.items()} for truth in truths]
    scores = judge(read(model, bank, jpegs), accepted, bank)
    return {score.attribute: {"right": round(score.right, 4), "commonest": round(score.guess, 4)} for score in scores}


def write_figures(folder: Path, figures: dict[str, dict[str, float]], crops: int) -> None:
    """Write the figures beside the model, and into the table of its README if it has one."""
    (folder / MEASURED).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    readme = folder / "README.md"
    if not readme.exists():
        return
    rows = [
        f"| {name} | {100 * row['right']:.1f} % | {100 * row['commonest']:.1f} % |" for name, row in figures.items()
    ]
    head = f"Measured on {crops} held-out renders:\n\n| attribute | read correctly | commonest value |\n|---|---|---|\n"
    before, _, rest = readme.read_text(encoding="utf-8").partition(TABLE_START)
    after = rest.partition(TABLE_END)[2]
    text = f"{before}{TABLE_START}\n{head}" + "\n".join(rows) + f"\n{TABLE_END}{after}"
    readme.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the build as the arguments say."""
    options = _options(arguments)
    recipe: Recipe = yaml.safe_load(options.recipe.read_text(encoding="utf-8"))
    for item in options.set:
        _override(recipe, *item.split("=", 1))
    bank, render = load_bank(recipe["texts"]["bank"]), recipe["render"]
    cache = options.cache
    held_out = renders(render["held_out_seed"], render["held_out"], render["jpeg_quality"], cache / "renders")
    if not options.measure_only:
        paths = renders(render["seed"], render["count"], render["jpeg_quality"], cache / "renders")
        _train(recipe, paths, options.work or cache / "embedded_clip", options.out)
    figures = measure(options.out, bank, held_out)
    write_figures(options.out, figures, render["held_out"])
    print(json.dumps(figures, indent=1))
    return 0 if min(figures[name]["right"] for name in COLOURS) >= recipe["required_colour_accuracy"] else 1


def _train(recipe: Recipe, paths: Sequence[Path], work: Path, out: Path) -> None:
    recipe = _taught(recipe, paths, work)
    config = PretrainConfig(**recipe["pretrain"])
    if config.workers > 1:
        meeting = work / f"rendezvous-{os.getpid()}"
        spawn(_worker, (recipe, paths, work, meeting), nprocs=config.workers)  # type: ignore[no-untyped-call]
    else:
        _worker(0, recipe, paths, work, None)
    towers = TwoTowers(config.model_copy(update={"init": str(work / "model")}))
    export(towers, out, half=True)


def _taught(recipe: Recipe, paths: Sequence[Path], work: Path) -> Recipe:
    """The recipe with the classifier's image tower as ``init``, locked."""
    config = PretrainConfig(**recipe["pretrain"] | {"lock_image": False})
    if not (folder := work / "taught").exists():
        lessons, bank, (_, jpegs, truths) = recipe["lessons"], load_bank(recipe["texts"]["bank"]), load(paths)
        crops = Crops(jpegs, truths, bank, TwoTowers(config).inputs(), lessons["regions"])
        teach(config, lessons, bank, crops, work)
    return recipe | {"pretrain": recipe["pretrain"] | {"init": str(folder), "lock_image": True}}


def _worker(rank: int, recipe: Recipe, paths: Sequence[Path], work: Path, meeting: Path | None) -> None:
    config, started = PretrainConfig(**recipe["pretrain"]), time.monotonic()
    if meeting is not None:
        dist.init_process_group("gloo", f"file://{meeting.resolve()}", rank=rank, world_size=config.workers)
    data = Renders(recipe, load_bank(recipe["texts"]["bank"]), paths)

    def report(metrics: dict[str, Any], _: Path | None) -> None:
        if rank == 0:
            values = " ".join(f"{name}={value:.5g}" for name, value in metrics.items() if name != "phase")
            print(f"{time.monotonic() - started:7.1f} s {values}", flush=True)

    def stream(epoch: int) -> Iterator[pa.RecordBatch]:
        return data.stream(epoch, rank, config.workers)

    resume = latest(work / "checkpoints")
    train(config, stream, None, work, report, rows=len(data.ids), resume_from=resume)
    if meeting is not None:
        dist.destroy_process_group()


def _override(recipe: Recipe, key: str, value: str) -> None:
    *path, last = key.split(".")
    block = recipe
    for name in path:
        block = block[name]
    block[last] = yaml.safe_load(value)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipe.yaml"))
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "reidforge-clip-s", help="folder of the model")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache", help="folder of renders and checkpoints")
    parser.add_argument("--work", type=Path, help="folder of this training, below the cache by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--measure-only", action="store_true", help="measure the model in --out on held-out renders")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
