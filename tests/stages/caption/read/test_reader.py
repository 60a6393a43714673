"""Readers other than CLIP fit: whatever they look at, thresholds, evidence and sentences are the same."""

import numpy as np
import pyarrow as pa
import pytest

import schemas.tables
from stages.caption.bank.problems import BankError
from stages.caption.captions import caption_crops
from stages.caption.config import CaptionConfig, EvidenceConfig, UnknownConfig
from stages.caption.read.readings import Readings
from stages.errors import UnitError
from tests.corpora import person_jpeg
from tests.stages.caption.captioning import street, unipt
from tests.stages.caption.colour_reader import ColourReader

CONFIG = CaptionConfig(captions_per_crop=4)
JPEGS = {"a": person_jpeg("red", "blue"), "b": person_jpeg("black", "red"), "broken": b"\xff\xd8 no jpeg"}


def crops_table(jpegs: dict[str, bytes] = JPEGS) -> pa.Table:
    columns = {"crop_id": list(jpegs), "video_id": ["v"] * len(jpegs), "jpeg": list(jpegs.values())}
    return pa.table(columns | {"keypoints": pa.nulls(len(jpegs), pa.list_(pa.float32()))})


def attributes_of(captions: pa.Table) -> dict[str, dict[str, dict[str, object]]]:
    rows = zip(captions["crop_id"].to_pylist(), captions["attributes"].to_pylist(), strict=True)
    return {crop: {item["attribute"]: item for item in items} for crop, items in rows}


def test_a_reader_of_pixels_is_captioned_as_clip_is() -> None:
    captions = caption_crops(crops_table(), ColourReader(unipt()), unipt(), CONFIG, "u")
    captions.validate(full=True)
    assert captions.schema.equals(schemas.tables.CAPTIONS)
    found = attributes_of(captions)
    assert [found[crop]["upper_colour"]["value"] for crop in JPEGS] == ["red", "black", None]
    assert [found[crop]["lower_colour"]["value"] for crop in JPEGS] == ["blue", "red", None]
    assert {item["source"] for item in found["a"].values()} == {"colours"}
    assert (found["a"]["upper_colour"]["region"], found["a"]["gender"]["region"]) == ("upper", "whole")
    texts = [" ".join(caption["text"] for caption in row) for row in captions["captions"].to_pylist()]
    assert "red" in texts[0]
    assert "blue" in texts[0]
    assert "black" in texts[1]
    assert not any(colour in texts[2] for colour in ("red", "blue", "black"))


def test_what_a_reader_cannot_say_is_never_stated() -> None:
    anything = CaptionConfig(unknown=UnknownConfig(probability=0, margin=0), optional_threshold=0)
    for config in (anything, CaptionConfig(faithful=True)):
        found = attributes_of(caption_crops(crops_table(), ColourReader(unipt()), unipt(), config, "u"))
        used = {name for items in found.values() for name, item in items.items() if item["used"]}
        assert used == {"upper_colour", "lower_colour"}
        assert {item["value"] for name, item in found["a"].items() if name not in used} == {None}
        assert not any(item["used"] for item in found["broken"].values())


def test_evidence_is_set_beside_the_readings_of_any_reader() -> None:
    bag = {"label": "backpack", "confidence": 0.9, "overlap": 0.9, "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0}
    blue = {"region": "upper", "name": "blue", "share": 0.9, "margin": 0.8}
    row = {"crop_id": "a", "video_id": "v", "unit_id": "u", "colours": [blue], "objects": [bag]}
    evidence = pa.Table.from_pylist([row], schema=schemas.tables.EVIDENCE)
    config = CaptionConfig(evidence=EvidenceConfig(demand=("upper_colour",), prefer=("bag",)))
    captions = caption_crops(crops_table(), ColourReader(unipt()), unipt(), config, "u", evidence=evidence)
    found = attributes_of(captions)
    assert (found["a"]["upper_colour"]["agrees"], found["a"]["upper_colour"]["used"]) == (False, False)
    assert (found["b"]["upper_colour"]["agrees"], found["b"]["upper_colour"]["used"]) == (None, True)
    assert (found["a"]["bag"]["value"], found["a"]["bag"]["clip_value"]) == ("backpack", None)
    assert (found["a"]["bag"]["source"], found["b"]["bag"]["source"]) == ("detector", "colours")


def test_a_reader_of_another_bank_is_refused() -> None:
    with pytest.raises(BankError, match="readings are of bank street, not of unipt14; read with that bank"):
        caption_crops(crops_table(), ColourReader(street()), unipt(), CONFIG, "u")


def test_a_crop_with_two_rows_is_refused() -> None:
    twice = pa.concat_tables([crops_table(), crops_table().slice(1, 1)])
    with pytest.raises(UnitError, match="1 crops have two rows") as caught:
        caption_crops(twice, ColourReader(unipt()), unipt(), CONFIG, "u")
    assert caught.value.kind == "crop_rows"


def readings(choice: np.ndarray, regions: int = len(unipt().facets)) -> Readings:
    sure = np.ones(choice.shape, np.float32)
    return Readings(unipt(), ("whole",) * regions, ("toy",) * regions, choice, sure, sure.copy())


def test_readings_cannot_be_changed_afterwards() -> None:
    made = readings(np.zeros((2, len(unipt().facets)), np.int64))
    for array in (made.choice, made.probability, made.margin):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


@pytest.mark.parametrize("column", range(0, len(unipt().facets), 5))
def test_a_value_that_the_bank_does_not_have_is_refused(column: int) -> None:
    choice = np.zeros((2, len(unipt().facets)), np.int64)
    choice[1, column] = len(unipt().facets[column].phrases) - 1
    readings(choice.copy())
    for beyond in (len(unipt().facets[column].phrases), -2):
        choice[1, column] = beyond
        with pytest.raises(ValueError, match="a value that bank unipt14 does not have"):
            readings(choice.copy())


def test_readings_of_another_number_of_facets_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit the 17 facets of bank unipt14"):
        readings(np.zeros((2, 3), np.int64))
    with pytest.raises(ValueError, match="do not fit the 17 facets"):
        readings(np.zeros((2, len(unipt().facets)), np.int64), regions=3)
