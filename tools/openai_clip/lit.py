"""Tune a small text tower to OpenAI's image tower, which stays as it is (LiT), and compare it with our small CLIP.

    python -m tools.openai_clip.lit encode --labels labels.json --video vtest.avi   # long: features of all crops
    python -m tools.openai_clip.lit tune                                            # minutes: the text tower
    python -m tools.openai_clip.lit measure --labels labels.json --video vtest.avi  # both models, all ways of reading
    python -m tools.openai_clip.lit cost --labels labels.json --video vtest.avi     # seconds per crop, cost of 8 bits

The image tower comes from a wheel (tools/openai_clip/tower.py); do not commit it. Each step keeps its results under
.cache/lit, and an interrupted ``encode`` resumes. The labels have the format of benchmarks/captions/street.json; the
labelled crops are read, never trained on. The recipe is that of the embedded model, tools/embedded_clip/recipe.yaml.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Figures are for one thread, which BLAS reads from the environment when it loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
import yaml
from safetensors.torch import load_file

from evaluation.captions.labelled_sets import LabelError, read_street
from evaluation.captions.scores import Score, Truth, judge
from stages.caption.bank.bank import Bank, load_bank
from stages.caption.captions import caption_crops, features_by_region
from stages.caption.config import CaptionConfig, Prior
from stages.caption.read.conquer import ClipReader, encode_bank
from stages.caption.read.prior import mean_features
from stages.embed.clip_model import ClipModel
from stages.embed.config import EMBEDDED, EmbedConfig, Region
from stages.embed.embed_crops import embed_crops
from stages.embed.regions import cut_region
from stages.heap import keep_freed_memory
from stages.pictures import decode, squash
from stages.pretrain.config import MlmConfig, PretrainConfig
from stages.pretrain.losses import contrastive_loss
from stages.pretrain.optimization import schedule
from stages.pretrain.two_towers import CONFIG_FILE, WEIGHTS_FILE, TwoTowers, export
from tools.embedded_clip.build import CHUNK, ROOT, load, renders
from tools.embedded_clip.texts import texts_of_block
from tools.openai_clip.tower import TOWER, middle, read_tower, write_model
from tools.wheels import fetch

STEPS = ("encode", "tune", "measure", "cost")
SIZE = (112, 112)
"""What the demo's ten minutes can pay for: a quarter of the patches of 224 x 224."""

REGIONS: tuple[Region, ...] = ("whole", "head", "upper", "lower")
WAYS: Mapping[str, Sequence[Region]] = {"regions": REGIONS, "whole crop": REGIONS[:1]}
PART = 25
"""Crops in one file of features: what an interrupted run may lose."""

ATTRIBUTES = ("upper_colour", "lower_colour", "upper", "lower", "gender", "hair")
DEMO_CROPS = 790
TELL_EVERY = 100

Floats = npt.NDArray[np.float32]


class Series(NamedTuple):
    """Crops of one kind."""

    name: str
    jpegs: Sequence[bytes]
    truths: Sequence[Truth]


def street(labels: Path, video: Path) -> Series:
    """The labelled crops of a street video."""
    try:
        crops = list(read_street(labels, video))
    except LabelError as error:
        raise SystemExit(str(error)) from error
    return Series("street", [crop.read() for crop in crops], [crop.truth for crop in crops])


def rendered(name: str, seed: int, count: int, of: int, recipe: Mapping[str, Any], cache: Path) -> Series:
    """The first ``count`` renders of a series of ``of``."""
    paths = renders(seed, of, recipe["render"]["jpeg_quality"], cache / "renders")
    _, jpegs, truths = load(paths[: -(-count // CHUNK)])
    accepted = [{key: frozenset([value]) for key, value in truth.items()} for truth in truths[:count]]
    return Series(name, jpegs[:count], accepted)


def encode(series: Series, model: ClipModel, folder: Path) -> None:
    """Write the features of every region of a series, in parts; those that are there stay.

    Args:
        series: The crops.
        model: The model that embeds them.
        folder: Where ``<series>-<first crop>.parquet`` are written, each of ``schemas.tables.embeddings``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(series.jpegs), PART):
        path = folder / f"{series.name}-{start:06d}.parquet"
        if path.exists():
            continue
        jpegs, began = series.jpegs[start : start + PART], time.process_time()
        ids = [f"{start + number:016x}" for number in range(len(jpegs))]
        crops = pa.table({"crop_id": ids, "video_id": [series.name] * len(ids), "jpeg": pa.array(jpegs, pa.binary())})
        found = embed_crops(crops, model, REGIONS, series.name, evidence=False).embeddings
        pq.write_table(found, path.with_suffix(".part"), compression="zstd")
        path.with_suffix(".part").replace(path)
        seconds = time.process_time() - began
        print(f"{path.name}: {seconds:.1f} s of processor for {found.num_rows} images", flush=True)


def embeddings(folder: Path, name: str) -> pa.Table:
    """What ``encode`` wrote of a series so far.

    Raises:
        SystemExit: Nothing is there.
    """
    paths = sorted(folder.glob(f"{name}-*.parquet"))
    if not paths:
        raise SystemExit(f"{folder}: no features of {name}; run the step 'encode' first")
    return pa.concat_tables(pq.read_table(path) for path in paths)


def lit_towers(tower: Path, start: Path, config: PretrainConfig, work: Path) -> TwoTowers:
    """An image tower that stays beside the text tower of another model, whose last projection is new.

    Args:
        tower: Model folder of the image tower.
        start: Model folder of the text tower.
        config: How it will be trained; its model and its first weights are those of the two folders.
        work: Where the joint architecture is written.
    """
    spec = json.loads((tower / CONFIG_FILE).read_text(encoding="utf-8"))
    text = json.loads((start / CONFIG_FILE).read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
    spec["model_cfg"]["text_cfg"] = text
    work.mkdir(parents=True, exist_ok=True)
    (work / CONFIG_FILE).write_text(json.dumps(spec), encoding="utf-8")
    torch.manual_seed(config.seed)
    towers = TwoTowers(config.model_copy(update={"model": str(work), "init": None, "lock_image": True}))
    state, first = load_file(tower / WEIGHTS_FILE), load_file(start / WEIGHTS_FILE)
    images = {name: value for name, value in state.items() if name.startswith("visual.")}
    texts = {name: value for name, value in first.items() if not name.startswith("visual.")}
    del texts["text_projection"], texts["logit_scale"]
    towers.clip.load_state_dict(towers.clip.state_dict() | images | texts)
    # They know the bank's words already; training them took three fifths of a step, and few renders are soon learnt by
    # heart.
    towers.clip.token_embedding.requires_grad_(False)
    return towers


class Lessons:
    """Features of the training renders, and what each step asks about them."""

    def __init__(
        self, features: Mapping[str, npt.NDArray[np.floating]], truths: Sequence[Mapping[str, str]], recipe: Any
    ) -> None:
        self._features = {region: torch.from_numpy(rows.astype(np.float32)) for region, rows in features.items()}
        self._truths, self._texts = truths, recipe["texts"]
        self._bank = load_bank(self._texts["bank"])

    def block(self, size: int, rng: random.Random) -> tuple[torch.Tensor, list[list[str]]]:
        """Features [B, D] of one region of as many renders, and the texts of each."""
        whole = rng.random() >= self._texts["region_share"]
        region = "whole" if whole else rng.choice(REGIONS[1:])
        rows = rng.sample(range(len(self._truths)), min(size, len(self._truths)))
        texts = texts_of_block(
            self._bank,
            [self._truths[row] for row in rows],
            [str(row) for row in rows],
            questions=self._texts["questions"],
            synonyms=self._texts["synonyms"],
            rng=rng,
            keep=lambda question: whole or self._region_of(question) == region,
        )
        return self._features[region][rows], texts

    def _region_of(self, question: str) -> str:
        facet = self._bank.by_name.get(question.split("+")[0])
        return facet.block.region if facet else "whole"


def tune(towers: TwoTowers, lessons: Lessons, config: PretrainConfig) -> None:
    """Train the text tower against features that stay: ``lock_image`` of stages/pretrain, images encoded once."""
    clip, tokenize = towers.clip.train(), towers.inputs().tokenize
    trained = [value for value in clip.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=config.betas, weight_decay=config.weight_decay)
    steps = config.max_steps or 0
    for step in range(steps):
        rng = random.Random(f"{config.seed}/{step}")  # noqa: S311 - not for secrets
        image, texts = lessons.block(config.batch_size, rng)
        loss = _loss(clip, image, texts, tokenize)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, steps, config)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, config.clip_norm or float("inf"))
        optimizer.step()
        if (step + 1) % TELL_EVERY == 0:
            print(f"step {step + 1} loss {loss.item():.3f} scale {clip.logit_scale.exp().item():.1f}", flush=True)


def _loss(clip: Any, image: torch.Tensor, texts: Sequence[Sequence[str]], tokenize: Any) -> torch.Tensor:
    distinct = sorted({text for row in texts for text in row})
    place = {text: number for number, text in enumerate(distinct)}
    encoded = F.normalize(clip.encode_text(tokenize(distinct)), dim=-1)
    scale = clip.logit_scale.exp().clamp(max=100.0)
    keys = torch.tensor([[place[text] for text in row] for row in texts])
    parts = [contrastive_loss(image, encoded[own], scale, own, equal_texts="positives") for own in keys.unbind(1)]
    return torch.stack(parts).mean()


def read_cells(model: ClipModel, bank: Bank, features: Path, series: Series, strength: float) -> dict[str, list[Score]]:
    """Scores of ``ATTRIBUTES`` by way of reading, as the caption stage reads them.

    Args:
        model: The model of the features.
        bank: The bank to read with.
        features: Folder that ``encode`` wrote for this model; its training renders are the reference set.
        series: The crops, of which those encoded so far are read.
        strength: Share of the mean that a prior takes off.
    """
    encoded, found = encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale), {}
    every, reference = embeddings(features, series.name), embeddings(features, "train")
    for way, regions in WAYS.items():
        table = every.filter(pc.is_in(every["region"], pa.array(regions)))
        priors: dict[Prior, Any] = {
            "none": None, "corpus": mean_features([table]), "reference": mean_features([reference])
        }  # fmt: skip
        for prior, means in priors.items():
            config = CaptionConfig(
                prior=prior, prior_strength=strength, reference="train" if prior == "reference" else None
            )
            captions = caption_crops(table, ClipReader(encoded, config, means or {}), bank, config, series.name)
            truths = [series.truths[int(str(crop), 16)] for crop in captions["crop_id"].to_pylist()]
            scores = {score.attribute: score for score in judge(captions["attributes"], truths, bank)}
            found[f"{way}, prior {prior}"] = [scores[name] for name in ATTRIBUTES]
    return found


def show(title: str, rows: Mapping[str, Sequence[Score]]) -> None:
    """One table in Markdown, shares in percent; its last row is what the commonest answer gets without looking."""
    print(f"\n{title}\n\n| read by | {' | '.join(ATTRIBUTES)} | mean |\n|---|{'---|' * (len(ATTRIBUTES) + 1)}")
    shares = {name: [score.right for score in scores] for name, scores in rows.items()}
    shares["the commonest answer"] = [score.guess for score in next(iter(rows.values()))]
    for name, row in shares.items():
        print(f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in [*row, float(np.mean(row))])} |")


def eight_bits(file: Path, work: Path, images: Sequence[npt.NDArray[np.uint8]]) -> dict[str, Floats]:
    """Cosines [N] of what the wheel's graph says of images with what the dequantised tower says, at 224 x 224.

    Once with ONNX Runtime's own products of 8 bits, once with the same whole numbers multiplied exactly: without VNNI
    ONNX Runtime adds two such products in 16 bits, which overflow.
    """
    folder = work / "tower-224"
    if not (folder / WEIGHTS_FILE).exists():
        write_model(read_tower(file), folder)
    inputs = TwoTowers(PretrainConfig(model=str(folder), mlm=MlmConfig(weight=0.0))).inputs()
    pixels = inputs.pixels([squash(image, inputs.height, inputs.width) for image in images]).numpy()
    expected = clip_model(folder).encode_images(images)
    graphs = {"as ONNX Runtime multiplies": file.read_bytes(), "multiplied exactly": exact_products(file)}
    return {name: (_run(graph, pixels) * expected).sum(axis=1) for name, graph in graphs.items()}


def exact_products(file: Path) -> bytes:
    """The wheel's graph, its products of whole numbers of 8 bits taken in floating point, where nothing overflows."""
    import onnx

    model = onnx.load(file)
    make, nodes = onnx.helper.make_node, []
    for node in model.graph.node:
        if node.op_type != "MatMulInteger":
            nodes.append(node)
            continue
        names = [f"{node.name}/{part}" for part in ("image", "weight", "image_zero", "weight_zero")]
        nodes += [make("Cast", [given], [name], to=1) for given, name in zip(node.input, names, strict=True)]
        nodes += [make("Sub", [names[at], names[at + 2]], [f"{names[at]}_shifted"]) for at in (0, 1)]
        nodes.append(make("MatMul", [f"{names[0]}_shifted", f"{names[1]}_shifted"], node.output))
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _run(graph: bytes, pixels: Floats) -> Floats:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # One by one: a scale of the activations is taken over all that go in together.
    found = [session.run(["image_embeds"], {"pixel_values": image[None]})[0] for image in pixels]
    features = np.concatenate(found)
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True))


def seconds_a_crop(model: ClipModel, images: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Processor seconds that all regions of one crop cost, on one thread."""
    parts = [cut_region(image, region) for image in images for region in REGIONS]
    model.encode_images(parts[: len(REGIONS)])
    began = time.process_time()
    model.encode_images(parts)
    return (time.process_time() - began) / len(images)


def clip_model(folder: Path) -> ClipModel:
    """A model folder, on one thread."""
    return ClipModel(
        EmbedConfig(model=str(folder), pretrained=None, precision="fp32", device="cpu", threads=1, batch_size=25)
    )


def _tune(options: argparse.Namespace, recipe: Mapping[str, Any], work: Path) -> None:
    torch.set_num_threads(1)
    batch = features_by_region(embeddings(work / "features-tower", "train"))
    paths = renders(
        recipe["render"]["seed"], recipe["render"]["count"], recipe["render"]["jpeg_quality"], options.cache / "renders"
    )
    _, _, truths = load(paths[: -(-len(batch.crop_ids) // CHUNK)])
    steps = options.max_steps or recipe["pretrain"]["max_steps"]
    config = PretrainConfig(**recipe["pretrain"] | {"workers": 1, "max_steps": steps, "device": "cpu"})
    towers = lit_towers(work / "tower", ROOT / EMBEDDED, config, work / "model")
    print(f"tuning to {len(batch.crop_ids)} renders", flush=True)
    tune(towers, Lessons(batch.features, [truths[int(crop, 16)] for crop in batch.crop_ids], recipe), config)
    export(towers, work / "model", half=True)


def _cost(options: argparse.Namespace, work: Path) -> None:
    images = [image for image in map(decode, street(options.labels, options.video).jpegs) if image is not None]
    images = images[:: max(1, len(images) // options.cost_crops)]
    bits = eight_bits(fetch(TOWER, options.cache / "models"), work, images)
    for name, cosines in bits.items():
        print(f"8 bits {name}, {len(images)} crops: cosine {cosines.mean():.3f}, least {cosines.min():.3f}")
    for folder in (ROOT / EMBEDDED, work / "tower"):
        each = seconds_a_crop(clip_model(folder), images)
        print(f"{folder.name}: {each:.4f} s of processor a crop of 4 regions, {each * DEMO_CROPS:.0f} s for the demo's")


def _series(options: argparse.Namespace, recipe: Mapping[str, Any]) -> list[Series]:
    render = recipe["render"]
    return [
        street(options.labels, options.video),
        rendered("held_out", render["held_out_seed"], options.held_out, render["held_out"], recipe, options.cache),
        rendered("train", render["seed"], options.train, render["count"], recipe, options.cache),
    ]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=STEPS, help="what to do, in this order")
    parser.add_argument("--labels", type=Path, help="labelled crops of a street video")
    parser.add_argument("--video", type=Path, help="that video")
    parser.add_argument("--held-out", type=int, default=300, help="held-out renders to read (default: 300)")
    parser.add_argument("--train", type=int, default=2500, help="renders to tune to (default: 2500)")
    parser.add_argument("--max-steps", type=int, help="steps of the tuning (default: the recipe's)")
    parser.add_argument(
        "--prior-strength", type=float, default=0.5, help="share of the mean to take off (default: 0.5)"
    )
    parser.add_argument("--cost-crops", type=int, default=15, help="crops to take the time of (default: 15)")
    parser.add_argument("--recipe", type=Path, default=ROOT / "tools" / "embedded_clip" / "recipe.yaml")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache", help="folder of the wheel, renders and features")
    options = parser.parse_args(arguments)
    if options.steps != ["tune"] and not (options.labels and options.video):
        parser.error(f"{' '.join(options.steps)}: give --labels and --video")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the steps that the arguments name."""
    options = _options(arguments)
    keep_freed_memory()
    work, recipe = options.cache / "lit", yaml.safe_load(options.recipe.read_text(encoding="utf-8"))
    tower, tuned, small = work / "tower", work / "model", ROOT / EMBEDDED
    if not (tower / WEIGHTS_FILE).exists():
        weights = read_tower(fetch(TOWER, options.cache / "models"))
        write_model(middle(weights, *SIZE), tower, *SIZE)
    if "encode" in options.steps:
        for folder in (small, tower):
            model = clip_model(folder)
            for series in _series(options, recipe):
                encode(series, model, work / f"features-{folder.name}")
    if "tune" in options.steps:
        _tune(options, recipe, work)
    if "measure" in options.steps:
        bank, contenders = load_bank(recipe["texts"]["bank"]), {"small CLIP": (small, small), "LiT": (tower, tuned)}
        for series in _series(options, recipe)[:2]:
            rows: dict[str, list[Score]] = {}
            for name, (embedder, reader) in contenders.items():
                features = work / f"features-{embedder.name}"
                cells = read_cells(clip_model(reader), bank, features, series, options.prior_strength)
                rows |= {f"{name}, {way}": scores for way, scores in cells.items()}
            show(series.name, rows)
    if "cost" in options.steps:
        _cost(options, work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
