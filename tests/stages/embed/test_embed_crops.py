from collections.abc import Iterable
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest

from stages.embed.clip_model import ClipModel
from stages.embed.config import EmbedConfig
from stages.embed.embed_crops import SLICE, embed_crops
from stages.embed.regions import BANDS, cut_region
from stages.pictures import decode
from tests.corpora import person_jpeg
from tests.runs import tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> ClipModel:
    return ClipModel(EmbedConfig(model=str(folder), pretrained=None, batch_size=7))


def crops_table(jpegs: list[bytes]) -> pa.Table:
    count = range(len(jpegs))
    return pa.table({"crop_id": [f"{i:016x}" for i in count], "video_id": ["v"] * len(jpegs), "jpeg": jpegs})


def test_one_row_of_unit_norm_per_crop_and_region(model: ClipModel) -> None:
    crops = crops_table([person_jpeg("red", "blue"), person_jpeg("black", "red", width=70, height=300)])
    table = embed_crops(crops, model, ["whole", "upper"], "u").embeddings
    assert table["crop_id"].to_pylist() == [f"{i:016x}" for i in (0, 0, 1, 1)]
    assert table["region"].to_pylist() == ["whole", "upper"] * 2
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), model.dim)
    norms = np.linalg.norm(np.array(table["embedding"].to_pylist(), np.float32), axis=1)
    assert norms == pytest.approx(np.ones(4), abs=2e-3)


def test_a_damaged_crop_costs_its_own_row_only(model: ClipModel) -> None:
    good = person_jpeg("red", "blue")
    table = embed_crops(crops_table([good, b"\xff\xd8 no jpeg", b"", good]), model, ["whole"], "u").embeddings
    assert table["crop_id"].to_pylist() == [f"{0:016x}", f"{3:016x}"]


def test_nothing_readable_gives_an_empty_table(model: ClipModel) -> None:
    assert embed_crops(crops_table([b"", b"x"]), model, ["whole"], "u").embeddings.num_rows == 0
    assert embed_crops(crops_table([]), model, ["whole"], "u").embeddings.num_rows == 0


def test_a_crop_gets_the_same_feature_in_any_company(model: ClipModel) -> None:
    jpegs = [person_jpeg("red", "blue", width=30 + i % 9) for i in range(SLICE + 3)]
    many = embed_crops(crops_table(jpegs), model, ["whole"], "u").embeddings
    alone = embed_crops(crops_table(jpegs).slice(SLICE, 1), model, ["whole"], "u").embeddings
    together, single = (np.array(t["embedding"].to_pylist(), np.float32) for t in (many.slice(SLICE, 1), alone))
    assert together == pytest.approx(single, abs=2e-3)


def test_crops_are_decoded_only_as_the_model_comes_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr("stages.embed.embed_crops.decode", lambda jpeg: decoded.append(jpeg) or decode(jpeg))

    class Slow:
        def encode_images(self, images: Iterable[np.ndarray]) -> np.ndarray:
            taken = 0
            for taken, _ in enumerate(images, start=1):
                assert len(decoded) == (taken + 1) // 2
            return np.zeros((taken, 2), np.float32)

    jpegs = [person_jpeg("red", "blue", width=30 + number) for number in range(9)]
    assert embed_crops(crops_table(jpegs), Slow(), ["whole", "upper"], "u").embeddings.num_rows == 18


def test_features_are_those_of_open_clip_itself(model: ClipModel, folder: Path) -> None:
    from PIL import Image

    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    # At the model's own size nothing is resized, so both see the same pixels.
    picture = np.random.default_rng(0).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    expected = theirs.eval().encode_image(preprocess(Image.fromarray(picture))[None], normalize=True)
    assert model.encode_images([picture]) == pytest.approx(expected.detach().numpy(), abs=1e-5)
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a woman in a red coat"])
    texts = theirs.encode_text(tokens, normalize=True).detach().numpy()
    assert model.encode_texts(["a woman in a red coat"]) == pytest.approx(texts, abs=1e-5)


def test_regions_of_a_crop_keep_the_order_of_the_recipe(model: ClipModel) -> None:
    crops = crops_table([person_jpeg("red", "blue", width=70, height=300)])
    one = embed_crops(crops, model, ["whole", "upper"], "u").embeddings
    other = embed_crops(crops, model, ["upper", "whole"], "u").embeddings
    assert other["region"].to_pylist() == ["upper", "whole"]
    features = [dict(zip(t["region"].to_pylist(), t["embedding"].to_pylist(), strict=True)) for t in (one, other)]
    assert np.array(features[0]["upper"]) == pytest.approx(np.array(features[1]["upper"]), abs=2e-3)
    assert features[0]["upper"] != features[0]["whole"]


def test_the_precision_is_the_recipes(folder: Path) -> None:
    config = EmbedConfig(model=str(folder), pretrained=None, precision="bf16", device="cpu")
    assert str(ClipModel(config).dtype) == "torch.bfloat16"


@pytest.mark.parametrize("height", [1, 2, 3, 50, 300])
def test_regions_are_never_empty_and_lie_in_order(height: int) -> None:
    image = np.zeros((height, 20, 3), np.uint8)
    assert cut_region(image, "whole").shape == image.shape
    for region in BANDS:
        assert cut_region(image, region).shape[0] >= 1


@pytest.mark.parametrize(
    ("model", "pretrained", "slug"),
    [
        ("ViT-B-16", "openai", "vit-b-16-openai"),
        ("models/reidforge-clip-s", None, "reidforge-clip-s"),
        ("ViT-B-16", "/data/My Weights.pt", "vit-b-16-my-weights.pt"),
    ],
)
def test_the_folder_in_the_corpus_is_named_after_the_model(model: str, pretrained: str | None, slug: str) -> None:
    assert EmbedConfig(model=model, pretrained=pretrained).slug == slug


@pytest.mark.parametrize("model", ["ViT-B-16", "ViT-B/16"])
def test_weights_that_cannot_be_had_are_told_with_what_to_do(model: str) -> None:
    with pytest.raises(ValueError, match=r"local weights file as embed\.pretrained"):
        ClipModel(EmbedConfig(model=model, pretrained="/nope.pt"))


def test_a_model_that_nobody_has_is_told_with_those_of_like_name() -> None:
    with pytest.raises(ValueError, match="'ViT-B16' is neither") as refused:
        ClipModel(EmbedConfig(model="ViT-B16"))
    assert "ViT-B-16" in str(refused.value)
    assert len(str(refused.value)) < 200
