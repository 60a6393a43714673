import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stages.embed.clip_model import ClipModel
from stages.embed.config import EmbedConfig
from stages.pretrain.losses import MASKED
from stages.pretrain.two_towers import WEIGHTS_FILE, TwoTowers, export, read_spec, special_tokens
from tests.stages.pretrain.pretrain_toys import architecture, config

TEXTS = ["a red shirt", "blue pants below a white shirt"]


@pytest.mark.parametrize("half", [False, True])
def test_open_clip_loads_what_was_exported(tmp_path: Path, half: bool) -> None:
    towers = TwoTowers(config(tmp_path)).eval()
    folder = export(towers, tmp_path / "model", half=half)
    loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    loaded.eval()
    images = torch.randn(2, 3, 32, 16)
    with torch.inference_mode():
        ours = towers(images, towers.inputs().tokenize(TEXTS))
        tolerance = {"atol": 5e-3, "rtol": 0.0} if half else {"atol": 1e-6, "rtol": 1e-5}
        torch.testing.assert_close(loaded.encode_image(images, normalize=True), ours.image, **tolerance)
        torch.testing.assert_close(loaded.encode_text(tokens, normalize=True), ours.text, **tolerance)
    # A person crop must be squashed to the input, not cut to its centre.
    assert preprocess(Image.new("RGB", (20, 90))).shape == (3, 32, 16)
    assert open_clip.get_model_preprocess_cfg(loaded)["resize_mode"] == "squash"
    assert load_file(folder / WEIGHTS_FILE)["logit_scale"].dtype == (torch.float16 if half else torch.float32)


def test_the_embed_stage_reads_an_exported_model(tmp_path: Path) -> None:
    folder = export(TwoTowers(config(tmp_path)), tmp_path / "model")
    model = ClipModel(EmbedConfig(model=str(folder), pretrained=None))
    assert model.image_size == (32, 16)
    assert model.encode_texts(TEXTS).shape == (2, 32)


def test_exported_weights_are_a_start_for_more_training(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path))
    folder = export(towers, tmp_path / "model")
    again = TwoTowers(config(tmp_path, model=str(folder), init=str(folder), seed=5))
    for name, value in towers.clip.state_dict().items():
        assert torch.equal(value, again.clip.state_dict()[name]), name


def test_every_word_sees_the_words_after_it(tmp_path: Path) -> None:
    for bidirectional in (True, False):
        towers = TwoTowers(config(tmp_path, bidirectional=bidirectional)).eval()
        tokens = towers.inputs().tokenize(["red shirt", "red pants"])
        assert torch.equal(tokens[0, 1], tokens[1, 1])
        first, second = towers._token_features(tokens)[:, 1]
        assert torch.allclose(first, second) == (not bidirectional)


def test_hidden_words_change_the_guess_but_not_the_features(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path)).eval()
    tokens = towers.inputs().tokenize(TEXTS)
    hidden = torch.zeros_like(tokens, dtype=torch.bool)
    hidden[:, 2] = True
    images = torch.randn(2, 3, 32, 16)
    plain = towers(images, tokens)
    masked = towers(images, tokens, tokens.masked_fill(hidden, MASKED), hidden)
    assert torch.equal(plain.text, masked.text)
    assert masked.words is not None
    assert masked.words.shape == (2, 49408)
    assert plain.words is None


def test_without_its_weight_there_is_no_head(tmp_path: Path) -> None:
    assert TwoTowers(config(tmp_path, mlm={"weight": 0})).head is None


def test_special_tokens_are_the_tokenisers(tmp_path: Path) -> None:
    inputs = TwoTowers(config(tmp_path)).inputs()
    tokens = inputs.tokenize(["red"])[0].tolist()
    assert set(special_tokens(inputs.tokenize)) == {tokens[0], tokens[2], 0}


def test_temperature_starts_where_it_should(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path, temperature={"initial": 0.05, "learnable": False}))
    assert float(towers.clip.logit_scale.detach().exp()) == pytest.approx(20)
    assert not towers.clip.logit_scale.requires_grad


def test_temperature_has_a_lower_limit(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path, temperature={"initial": 1e-4})).eval()
    outputs = towers(torch.randn(1, 3, 32, 16), towers.inputs().tokenize(["red"]))
    assert float(outputs.scale.detach()) == 100


def test_image_size_can_be_changed(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path, image_size=(48, 16)))
    assert (towers.inputs().height, towers.inputs().width) == (48, 16)
    assert towers.clip.encode_image(torch.randn(1, 3, 48, 16)).shape == (1, 32)


def test_names_of_open_clip_are_known(tmp_path: Path) -> None:
    spec = read_spec(config(tmp_path, model="ViT-B-16", image_size=(384, 128)))
    assert spec["model_cfg"]["vision_cfg"]["image_size"] == [384, 128]
    assert spec["model_cfg"]["text_cfg"]["no_causal_mask"] is True


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": "ViT-Z-99"}, "no such architecture"),
        ({"model": "roberta-ViT-B-32"}, "Hugging Face"),
        ({"model": "coca_ViT-B-32"}, "caption decoder"),
        ({"init": "nowhere.safetensors"}, "no such file"),
    ],
)
def test_wrong_models_are_named(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TwoTowers(config(tmp_path, **changes))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = export(TwoTowers(config(tmp_path)), tmp_path / "model")
    other = json.loads(Path(architecture(tmp_path)).read_text()) | {"embed_dim": 24}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="does not fit the model"):
        TwoTowers(config(tmp_path, model=str(tmp_path / "other.json"), init=str(folder)))
