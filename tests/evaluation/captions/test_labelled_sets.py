"""Labelled sets, written here in their published formats and read back."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from evaluation.captions.labelled_sets import LabelError, read_market1501, read_pa100k, read_peta, read_street

PA100K = (
    "Female", "AgeOver60", "Age18-60", "AgeLess18", "Front", "Side", "Back", "Hat", "Glasses", "HandBag", "ShoulderBag",
    "Backpack", "HoldObjectsInFront", "ShortSleeve", "LongSleeve", "UpperStride", "UpperLogo", "UpperPlaid",
    "UpperSplice", "LowerStripe", "LowerPattern", "LongCoat", "Trousers", "Shorts", "Skirt&Dress", "boots",
)  # fmt: skip


def cell(values: list[str]) -> np.ndarray:
    """A MATLAB cell of strings, n x 1."""
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = values
    return column


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((100, 40, 3), 128, np.uint8))
    return path


def pa100k(folder: Path, *people: set[str]) -> Path:
    labels = np.array([[name in person for name in PA100K] for person in people], dtype=np.uint8)
    names = [image(folder / "release_data/release_data" / f"{n:06d}.jpg").name for n in range(1, len(people) + 1)]
    content = {"attributes": cell(list(PA100K)), "test_images_name": cell(names), "test_label": labels}
    savemat(folder / "annotation.mat", content)
    return folder


def test_pa100k_speaks_our_words(tmp_path: Path) -> None:
    pa100k(
        tmp_path,
        {"Female", "Age18-60", "Back", "Backpack", "ShortSleeve", "UpperStride", "Shorts", "Hat"},
        {"AgeLess18", "Front", "LongSleeve", "LongCoat", "Trousers", "boots"},
    )
    woman, child = read_pa100k(tmp_path)
    assert woman.truth["gender"] == {"woman"}
    assert woman.truth["age"] == {"young", "middle-aged"}
    assert woman.truth["bag"] == {"backpack"}
    assert woman.truth["upper_pattern"] == {"striped"}
    assert woman.truth["lower"] == {"shorts"}
    assert "t-shirt" in woman.truth["upper"]
    assert "jacket" not in woman.truth["upper"]
    assert child.truth["gender"] == {"man", "child"}
    assert child.truth["bag"] == child.truth["hat"] == {"none"}
    assert child.truth["upper"] == {"coat", "wind coat", "down coat"}
    assert "upper_colour" not in child.truth
    assert cv2.imdecode(np.frombuffer(child.read(), np.uint8), cv2.IMREAD_COLOR).shape == (100, 40, 3)


def test_peta_reads_label_files_beside_their_images(tmp_path: Path) -> None:
    archive = tmp_path / "PETA dataset" / "3DPeS" / "archive"
    for name in ("1_FRAME_25_RGB.bmp", "1_FRAME_80_RGB.bmp", "0002.png"):
        image(archive / name)
    (archive / "Label.txt").write_text(
        "1 personalMale personalLess45 upperBodyBlack lowerBodyGrey lowerBodyJeans carryingNothing hairShort\n"
        "2.png personalFemale personalLarger60 accessorySunglasses carryingUmbrella carryingMessengerBag\n\n"
    )
    found = {crop.name: crop.truth for crop in read_peta(tmp_path)}
    assert sorted(found) == ["3DPeS/0002.png", "3DPeS/1_FRAME_25_RGB.bmp", "3DPeS/1_FRAME_80_RGB.bmp"]
    man = found["3DPeS/1_FRAME_80_RGB.bmp"]
    assert (man["gender"], man["bag"], man["hair"]) == ({"man"}, {"none"}, {"short"})
    assert (man["upper_colour"], man["lower_colour"]) == ({"black"}, {"gray"})
    assert "long pants" in man["lower"]
    old = found["3DPeS/0002.png"]
    assert (old["age"], old["umbrella"], old["bag"]) == ({"old"}, {"umbrella"}, {"shoulder bag"})
    assert "upper_colour" not in old


@pytest.mark.parametrize(
    ("flag", "attribute", "values"),
    [
        ("personalLess15", "gender", {"child"}),
        ("personalLess15", "age", {"young"}),
        ("personalLess45", "age", {"young", "middle-aged"}),
        ("personalLess60", "age", {"middle-aged"}),
        ("personalLarger60", "age", {"old"}),
        ("carryingPlasticBags", "bag", {"handbag", "plastic bag"}),
        ("carryingNothing", "bag", {"none"}),
        ("carryingOther", "bag", None),
        ("accessorySunglasses", "glasses", {"sunglasses"}),
        ("accessoryNothing", "glasses", None),
        ("accessoryNothing", "umbrella", {"none"}),
        ("upperBodyThickStripes", "upper_pattern", {"striped"}),
        ("upperBodyOther", "upper_pattern", {"plain"}),
        ("upperBodyGrey", "upper_colour", {"gray"}),
        ("upperBodyGrey", "lower_colour", None),
        ("lowerBodyCapri", "lower", {"long pants", "shorts"}),
        ("lowerBodyLongSkirt", "lower", {"long skirt"}),
        ("hairLong", "hair", {"long", "medium"}),
    ],
)
def test_a_flag_of_peta_is_the_values_that_fit_it(
    flag: str, attribute: str, values: set[str] | None, tmp_path: Path
) -> None:
    image(tmp_path / "VIPeR/archive/7_a.bmp")
    (tmp_path / "VIPeR/archive/Label.txt").write_text(f"7 {flag}\n")
    (crop,) = read_peta(tmp_path)
    assert crop.truth.get(attribute) == values


@pytest.mark.parametrize(
    ("age", "ages", "genders"),
    [
        (1, {"young"}, {"man", "child"}),
        (2, {"young"}, {"man", "child"}),
        (3, {"young", "middle-aged"}, {"man"}),
        (4, {"old"}, {"man"}),
    ],
)
def test_the_four_ages_of_market1501(age: int, ages: set[str], genders: set[str], tmp_path: Path) -> None:
    row = dict.fromkeys(("gender", "hair", "hat", "backpack", "bag", "handbag", "up", "down"), 1) | {"clothes": 2}
    columns = {name: np.array([[value]], dtype=np.uint8) for name, value in (row | {"age": age}).items()}
    part = columns | {"image_index": cell(["7"]).T}
    savemat(tmp_path / "market_attribute.mat", {"market_attribute": {"test": part}})
    image(tmp_path / "bounding_box_test" / "0007_c1s1_000001_00.jpg")
    (crop,) = read_market1501(tmp_path)
    assert (crop.truth["age"], crop.truth["gender"]) == (ages, genders)


def test_peta_reads_the_matlab_form(tmp_path: Path) -> None:
    names = ["personalMale", "upperBodyRed", "accessoryHat"]
    data = np.zeros((2, 4 + len(names)))
    data[0, [4, 5]], data[1, 6] = 1, 1
    savemat(tmp_path / "PETA.mat", {"peta": {"data": data, "attribute": cell(names)}})
    for n in (1, 2):
        image(tmp_path / "images" / f"{n:05d}.png")
    first, second = read_peta(tmp_path)
    assert (first.truth["gender"], first.truth["upper_colour"], first.truth["hat"]) == ({"man"}, {"red"}, {"none"})
    assert second.truth["hat"] == {"hat", "helmet"}
    assert second.read().startswith(b"\x89PNG")


def test_market1501_gives_a_persons_labels_to_each_of_its_images(tmp_path: Path) -> None:
    no = dict.fromkeys(("hat", "backpack", "bag", "handbag", "upblack", "upred", "downblue", "downgray"), (1, 1))
    rows = no | {
        "gender": (1, 2), "hair": (1, 2), "up": (2, 1), "down": (1, 2), "clothes": (2, 1), "age": (3, 1),
        "upred": (2, 1), "downblue": (2, 1), "backpack": (1, 2),
    }  # fmt: skip
    columns = {name: np.array([values], dtype=np.uint8) for name, values in rows.items()}
    part = columns | {"image_index": cell(["0002", "7"]).T}
    savemat(tmp_path / "market_attribute.mat", {"market_attribute": {"test": part, "train": part}})
    for name in ("0002_c1s1_000451_03.jpg", "0002_c2s1_000301_01.jpg", "0007_c1s1_000001_00.jpg", "-1_c1s1_0_0.jpg"):
        image(tmp_path / "bounding_box_test" / name)
    man, again, girl = read_market1501(tmp_path)
    assert man.truth == again.truth
    assert (man.truth["gender"], man.truth["upper_colour"], man.truth["lower_colour"]) == ({"man"}, {"red"}, {"blue"})
    assert (man.truth["lower"], man.truth["bag"]) == ({"long pants"}, {"none"})
    assert "jacket" not in man.truth["upper"]
    assert (girl.truth["gender"], girl.truth["lower"]) == ({"woman", "child"}, {"skirt"})
    assert (girl.truth["hair"], girl.truth["bag"]) == ({"long", "medium"}, {"backpack"})
    assert "upper_colour" not in girl.truth


def test_street_labels_cut_their_crops_from_the_video(tmp_path: Path) -> None:
    labels = {
        "identities": {"A": {"gender": ["woman"], "hat": False, "bag": True, "hair": None}},
        "crops": [
            {"frame": 3, "box": [10, 20, 50, 100], "identity": "A"},
            {"frame": 3, "box": [-4.0, -0.6, 30.4, 60.0], "identity": "A"},
        ],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    crop, at_the_edge = read_street(tmp_path / "labels.json", Path("demo/street.mp4"))
    assert crop.truth == {"gender": {"woman"}, "hat": {"none"}, "bag": {"backpack", "shoulder bag", "handbag"}}
    assert cv2.imdecode(np.frombuffer(crop.read(), np.uint8), cv2.IMREAD_COLOR).shape == (80, 40, 3)
    assert cv2.imdecode(np.frombuffer(at_the_edge.read(), np.uint8), cv2.IMREAD_COLOR).shape == (60, 30, 3)


@pytest.mark.parametrize("reader", [read_pa100k, read_peta, read_market1501])
def test_a_folder_without_the_set_is_refused_by_name(reader, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=str(tmp_path)):
        list(reader(tmp_path))


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotation.mat").write_bytes(b"not MATLAB")
    with pytest.raises(LabelError, match=r"annotation\.mat"):
        list(read_pa100k(tmp_path))
    (tmp_path / "labels.json").write_text("[]")
    with pytest.raises(LabelError, match="not labels"):
        list(read_street(tmp_path / "labels.json", Path("demo/street.mp4")))
