"""The text tower is tuned to features that stay, and both models are read as the caption stage reads them."""

import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from safetensors.torch import load_file

from evaluation.render.rendered_crops import render_table
from stages.embed.config import EMBEDDED
from stages.pretrain.config import PretrainConfig
from stages.pretrain.two_towers import WEIGHTS_FILE, TwoTowers, export
from tests.runs import ROOT
from tests.stages.pretrain.pretrain_toys import ARCHITECTURE

RECIPE = yaml.safe_load((ROOT / "tools/embedded_clip/recipe.yaml").read_text())
DIM = 32


@pytest.fixture(scope="module")
def tool() -> Any:
    return importlib.import_module("tools.openai_clip.lit")


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tower")
    (folder / "tiny.json").write_text(json.dumps(ARCHITECTURE))
    torch.manual_seed(1)
    return export(TwoTowers(PretrainConfig(model=str(folder / "tiny.json"))), folder)


@pytest.fixture(scope="module")
def truths() -> list[dict[str, str]]:
    rows = render_table(5, 0, 120)["attributes"].to_pylist()
    return [{item["attribute"]: item["value"] for item in row} for row in rows]


def jpeg(shade: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((40, 20, 3), shade, np.uint8))[1])


class Shades:
    """A model that sees how bright a picture is, and counts what it is shown."""

    shown = 0

    def encode_images(self, images: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        features = np.array([[image.mean() / 255, 1] for image in images], np.float32)
        self.shown += len(features)
        return features


def test_an_interrupted_run_embeds_only_what_is_missing(tool: Any, tmp_path: Path) -> None:
    count, model = 2 * tool.PART + 1, Shades()
    series = tool.Series("grey", [jpeg(number) for number in range(count)], [{}] * count)
    tool.encode(series, model, tmp_path)
    whole = tool.embeddings(tmp_path, "grey")
    assert model.shown == whole.num_rows == count * len(tool.REGIONS)
    (tmp_path / f"grey-{tool.PART:06d}.parquet").unlink()
    tool.encode(series, model, tmp_path)
    assert model.shown == (count + tool.PART) * len(tool.REGIONS)
    assert tool.embeddings(tmp_path, "grey").equals(whole)
    shades = [row[0] * 255 for row in whole["embedding"].to_pylist()[:: len(tool.REGIONS)]]
    assert shades == pytest.approx(range(count), abs=1.5)


def test_features_that_were_never_made_are_asked_for(tool: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no features of street; run the step 'encode' first"):
        tool.embeddings(tmp_path, "street")


def test_the_image_tower_stays_and_the_words_are_the_small_models(tool: Any, tower: Path, tmp_path: Path) -> None:
    towers = tool.lit_towers(tower, ROOT / EMBEDDED, PretrainConfig(**RECIPE["pretrain"]), tmp_path)
    state, first = towers.clip.state_dict(), load_file(ROOT / EMBEDDED / WEIGHTS_FILE)
    for name, value in load_file(tower / WEIGHTS_FILE).items():
        if name.startswith("visual."):
            assert torch.equal(state[name], value)
    assert torch.equal(state["token_embedding.weight"], first["token_embedding.weight"].float())
    assert state["text_projection"].shape == (64, DIM)
    assert not any(value.requires_grad for value in towers.clip.visual.parameters())


def test_a_few_steps_teach_the_words_of_a_colour(
    tool: Any, tower: Path, truths: list[dict[str, str]], tmp_path: Path
) -> None:
    colours = sorted({truth["upper_colour"] for truth in truths})
    rng = np.random.default_rng(0)
    seen = np.eye(DIM)[[colours.index(truth["upper_colour"]) for truth in truths]]
    rows = (seen + 0.05 * rng.normal(size=seen.shape)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    config = PretrainConfig(**RECIPE["pretrain"] | {"max_steps": 60, "batch_size": 64, "workers": 1})
    towers = tool.lit_towers(tower, ROOT / EMBEDDED, config, tmp_path)
    before = towers.clip.visual.state_dict()["proj"].clone()
    tool.tune(towers, tool.Lessons(dict.fromkeys(tool.REGIONS, rows), truths, RECIPE), config)
    assert torch.equal(towers.clip.visual.state_dict()["proj"], before)
    texts = [f"a photo of a person wearing a {colour} shirt" for colour in colours]
    with torch.no_grad():
        texts_seen = towers.clip.encode_text(towers.inputs().tokenize(texts), normalize=True).numpy()
    right = (rows @ texts_seen.T).argmax(axis=1) == seen.argmax(axis=1)
    assert right.mean() > 0.8


def test_both_ways_and_all_priors_are_scored(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = render_table(6, 0, 4)
    truths = [{item["attribute"]: frozenset([item["value"]]) for item in row} for row in rows["attributes"].to_pylist()]
    crops, model = rows["jpeg"].to_pylist(), tool.clip_model(ROOT / EMBEDDED)
    for name in ("street", "train"):
        tool.encode(tool.Series(name, crops, truths), model, tmp_path)
    cells = tool.read_cells(
        model, tool.load_bank("unipt14"), tmp_path, tool.Series("street", crops, truths), strength=0.5
    )
    assert len(cells) == 6
    tool.show("street", cells)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-7].startswith("| regions, prior none | ")
    assert lines[-1].startswith("| the commonest answer | ")


def test_products_of_whole_numbers_are_exact(tool: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the wheel's graph is read with the package onnx")
    make, tensor = onnx.helper, onnx.helper.make_tensor_value_info
    # Two products of 255 and 127 are more than 16 bits hold.
    weight = np.full((8, 2), 127, np.int8)
    weight[:, 1] = np.arange(8)
    stored = {"w": weight, "w_zero": np.array(3, np.int8)}
    nodes = [
        make.make_node("DynamicQuantizeLinear", ["pixel_values"], ["q", "scale", "zero"]),
        make.make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["product"], name="product"),
        make.make_node("Cast", ["product"], ["image_embeds"], to=1),
    ]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()]
    ends = ([tensor("pixel_values", 1, [None, 8])], [tensor("image_embeds", 1, [None, 2])])
    graph = make.make_graph(nodes, "small", *ends, tensors)
    opset = [make.make_opsetid("", 17)]
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "small.onnx")
    pixels = np.linspace(0, 1, 8, dtype=np.float32)[None]
    whole = np.rint(pixels * 255) @ (weight.astype(np.float32) - 3)
    expected = whole / np.linalg.norm(whole)
    assert tool._run(tool.exact_products(tmp_path / "small.onnx"), pixels) == pytest.approx(expected, abs=1e-6)


def test_reading_needs_the_labels(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tool.main(["measure"])
    assert ended.value.code == 2
    assert "give --labels and --video" in capsys.readouterr().err
