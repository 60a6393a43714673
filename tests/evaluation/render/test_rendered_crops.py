import hashlib
from collections.abc import Mapping

import cv2
import numpy as np
import pyarrow as pa
import pytest

from evaluation.render import render_sample
from evaluation.render.rendered_crops import render_table
from schemas.tables import MANIFEST
from stages.detect.quality import measure_pixels
from stages.errors import UnitError


@pytest.fixture(scope="module")
def whole() -> pa.Table:
    """Numbers 0 to 8 of series 3, rendered once for all tests that only read them."""
    return render_table(3, 0, 9, split="val", jpeg_quality=95)


@pytest.fixture(scope="module")
def samples() -> list[tuple[np.ndarray, dict[str, str]]]:
    return [render_sample(3, index) for index in range(9)]


def test_a_table_is_a_manifest_of_the_series(whole: pa.Table) -> None:
    assert whole.schema.equals(MANIFEST, check_metadata=True)
    for index, row in enumerate(whole.to_pylist()):
        assert row["crop_id"] == hashlib.sha1(f"render:3/{index}".encode()).hexdigest()[:16]
        assert (row["video_id"], row["unit_id"], row["frame_index"], row["pts_s"]) == (
            "render:3",
            "render:3/0",
            index,
            index,
        )
        assert (row["split"], row["license"], row["captions"]) == ("val", "AGPL-3.0-or-later", [])
        assert row["query"] is row["detect_fingerprint"] is row["caption_fingerprint"] is None


def test_attributes_are_the_truth(whole: pa.Table, samples: list[tuple[np.ndarray, dict[str, str]]]) -> None:
    for row, (_, truth) in zip(whole.to_pylist(), samples, strict=True):
        assert {entry["attribute"]: entry["value"] for entry in row["attributes"]} == truth
        assert all(entry["phrase"] == entry["value"] for entry in row["attributes"])
        assert {(entry["probability"], entry["margin"], entry["used"]) for entry in row["attributes"]} == {
            (1.0, 1.0, True)
        }
        regions = {entry["attribute"]: entry["region"] for entry in row["attributes"]}
        assert (regions["hair"], regions["upper_colour"], regions["age"]) == ("head", "upper", "whole")


def test_the_jpeg_is_the_crop_and_the_box_is_the_whole_of_it(
    whole: pa.Table, samples: list[tuple[np.ndarray, dict[str, str]]]
) -> None:
    row, (crop, _) = whole.to_pylist()[2], samples[2]
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert decoded.shape == crop.shape == (row["height"], row["width"], 3)
    assert np.abs(decoded.astype(int) - crop).mean() < 8
    assert [row[name] for name in ("x1", "y1", "x2", "y2")] == [0, 0, row["width"], row["height"]]
    assert (row["frame_width"], row["frame_height"]) == (row["width"], row["height"])
    assert row["sharpness"] == np.float32(measure_pixels(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)).sharpness)
    assert len(row["jpeg"]) < crop.nbytes


def test_captions_come_from_truth_and_number(samples: list[tuple[np.ndarray, dict[str, str]]]) -> None:
    def describe(truth: Mapping[str, str], index: int) -> list[str]:
        return [f"{index}: {truth['gender']}", "second"]

    rows = render_table(3, 7, 2, describe=describe).to_pylist()
    assert [row["captions"] for row in rows] == [describe(samples[index][1], index) for index in (7, 8)]


def test_a_stretch_does_not_depend_on_where_it_starts(whole: pa.Table) -> None:
    part = render_table(3, 4, 2, split="val", jpeg_quality=95)
    assert set(part["unit_id"].to_pylist()) == {"render:3/4"}
    assert whole.slice(4, 2).drop_columns("unit_id").equals(part.drop_columns("unit_id"))


def test_nothing_asked_gives_an_empty_manifest() -> None:
    assert render_table(3, 0, 0).num_rows == 0


@pytest.mark.parametrize(
    "bad", [{"seed": -1}, {"start": -1}, {"count": -2}, {"jpeg_quality": 0}, {"jpeg_quality": 101}]
)
def test_numbers_out_of_range_are_refused(bad: dict[str, int]) -> None:
    asked = {"seed": 1, "start": 0, "count": 1, "jpeg_quality": 85} | bad
    with pytest.raises(UnitError, match="must not be") as caught:
        render_table(asked["seed"], asked["start"], asked["count"], jpeg_quality=asked["jpeg_quality"])
    assert caught.value.kind == "bad_range"
