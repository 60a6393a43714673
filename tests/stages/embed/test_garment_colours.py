from collections.abc import Iterable

import cv2
import numpy as np
import pyarrow as pa
import pytest

import schemas.tables
from evaluation.render.person import render_sample
from stages.embed.embed_crops import embed_crops
from stages.embed.garment_colours import NAMES, name_colours, to_lab
from stages.embed.regions import cut_cloth
from tests.corpora import person_jpeg
from tests.stages.crawl.serving import CLIP


class Encoder:
    """A model of one number: the mean level."""

    def encode_images(self, images: Iterable[np.ndarray]) -> np.ndarray:
        return np.array([[image.mean() / 255, 1] for image in images], np.float32)


def named(pixels: np.ndarray) -> str:
    return NAMES[name_colours([pixels]).name[0]]


def street(frame: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """RGB crop of the demo's video."""
    capture = cv2.VideoCapture(str(CLIP))
    capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
    left, top, right, bottom = box
    return capture.read()[1][top:bottom, left:right, ::-1].copy()


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((20, 20, 22), "black"),
        ((240, 240, 238), "white"),
        ((130, 130, 130), "gray"),
        ((90, 58, 36), "brown"),
        ((60, 90, 140), "blue"),
        ((24, 34, 80), "blue"),
        ((240, 150, 180), "pink"),
        ((240, 215, 50), "yellow"),
        ((200, 25, 30), "red"),
        ((175, 155, 110), "khaki"),
        ((120, 60, 160), "purple"),
        ((50, 130, 60), "green"),
        ((245, 130, 30), "orange"),
    ],
)
def test_cloth_of_one_colour_has_its_name(colour: tuple[int, int, int], name: str) -> None:
    found = name_colours([np.full((30, 20, 3), colour, np.uint8)])
    assert NAMES[found.name[0]] == name
    assert (found.share[0], found.margin[0]) == (1, 1)


def test_the_colour_of_most_pixels_wins_and_its_share_is_told() -> None:
    cloth = np.full((40, 40, 3), (200, 25, 30), np.uint8)
    cloth[:10] = (60, 90, 140)
    found = name_colours([cloth])
    assert NAMES[found.name[0]] == "red"
    assert found.share[0] == pytest.approx(0.75, abs=0.07)
    assert found.margin[0] == pytest.approx(0.5, abs=0.14)


def test_lab_is_that_of_the_standard() -> None:
    """Against OpenCV's, which follows the same one."""
    colours = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    theirs = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    assert to_lab(colours.astype(np.float64)) == pytest.approx(theirs, abs=0.3)


def test_a_cloth_is_named_alike_in_any_company() -> None:
    rng = np.random.default_rng(1)
    cloths = [rng.integers(0, 256, (*rng.integers(1, 40, 2), 3), dtype=np.uint8) for _ in range(50)]
    together = name_colours(cloths)
    alone = [name_colours([cloth]) for cloth in cloths]
    assert (together.name == [found.name[0] for found in alone]).all()
    assert (together.share == [found.share[0] for found in alone]).all()
    assert len(name_colours([]).name) == 0


def test_people_of_the_street_wear_what_the_eye_sees() -> None:
    in_red, in_jeans = street(440, (616, 255, 647, 353)), street(60, (615, 232, 650, 341))
    assert named(cut_cloth(in_red, "upper")) == "red"
    assert named(cut_cloth(in_jeans, "upper")) == "black"
    assert named(cut_cloth(in_jeans, "lower")) == "blue"


def test_most_rendered_persons_of_plain_clothes_are_named_rightly() -> None:
    samples = [render_sample(31, index) for index in range(60)]
    plain = [(image, truth) for image, truth in samples if truth.get("upper_pattern") == "plain"]
    right = [named(cut_cloth(image, "upper")) == truth["upper_colour"] for image, truth in plain]
    assert np.mean(right) > 0.6


def test_evidence_stands_beside_the_embeddings() -> None:
    things = [{"label": "dog", "confidence": 0.9, "x1": 0, "y1": 0, "x2": 9, "y2": 9, "overlap": 0.2}]
    crops = pa.table(
        {
            "crop_id": ["a", "b", "c"],
            "video_id": ["v"] * 3,
            "jpeg": [person_jpeg("red", "blue"), b"no picture", person_jpeg("black", "red")],
            "objects": pa.array([things, None, None], pa.list_(schemas.tables.OBJECT)),
        }
    )
    found = embed_crops(crops, Encoder(), ["whole"], "u")
    assert found.evidence.schema == schemas.tables.EVIDENCE
    assert found.evidence["crop_id"].to_pylist() == ["a", "c"] == found.embeddings["crop_id"].to_pylist()
    colours = [{item["region"]: item["name"] for item in row} for row in found.evidence["colours"].to_pylist()]
    assert colours == [{"upper": "red", "lower": "blue"}, {"upper": "black", "lower": "red"}]
    assert [row and row[0]["label"] for row in found.evidence["objects"].to_pylist()] == ["dog", None]
    assert embed_crops(crops, Encoder(), ["whole"], "u", evidence=False).evidence.num_rows == 0


def test_keypoints_of_the_crops_table_move_the_regions() -> None:
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[[5, 6, 11, 12, 13, 14, 15, 16]] = [(20, y, 1) for y in (60, 60, 75, 75, 85, 85, 95, 95)]
    crops = pa.table(
        {
            "crop_id": ["a", "b"],
            "video_id": ["v"] * 2,
            "jpeg": [person_jpeg("red", "blue")] * 2,
            "keypoints": pa.array([None, keypoints.ravel()], pa.list_(pa.float32())),
        }
    )
    found = embed_crops(crops, Encoder(), ["upper"], "u")
    upper = [{item["region"]: item["name"] for item in row}["upper"] for row in found.evidence["colours"].to_pylist()]
    assert upper == ["red", "blue"]
    one, other = found.embeddings["embedding"].to_pylist()
    assert one != other


def test_share_and_margin_of_the_evidence_are_those_of_the_pixels() -> None:
    """Three quarters of the cloth are red, a quarter is blue."""
    image = np.full((160, 80, 3), (200, 25, 30), np.uint8)
    image[::4] = (60, 90, 140)
    jpeg = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    crops = pa.table({"crop_id": ["a"], "video_id": ["v"], "jpeg": [jpeg]})
    [found] = embed_crops(crops, Encoder(), ["whole"], "u").evidence["colours"].to_pylist()
    for item, region in zip(found, ("upper", "lower"), strict=True):
        expected = name_colours([cut_cloth(image, region)])
        assert (item["region"], item["name"]) == (region, NAMES[expected.name[0]])
        assert (item["share"], item["margin"]) == (expected.share[0], expected.margin[0])
        assert item["margin"] < item["share"]
