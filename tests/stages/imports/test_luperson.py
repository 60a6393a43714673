import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import schemas.tables
from stages.detect.config import DetectConfig
from stages.imports.cut import NO_FRAME, cut_published
from stages.imports.luperson import box_rows, parse_name, read_detections, read_names, remainders
from stages.imports.reference import Reference, find_reference, parse_reference
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.stages.crawl.serving import CLIP

MEMORY = 1 << 30
BOX = {"bbox": np.array([618.625, 81.75, 1031.375, 709.25], np.float32)}
POSED = BOX | {"conf": 0.9488497, "pose": np.ones((17, 2), np.float32), "prob": np.full((17, 1), 0.5, np.float32)}
NAME = "japan+tokyo+abcdefghijk"


@pytest.mark.parametrize(
    ("text", "place", "youtube_id"),
    [
        (NAME, "japan+tokyo", "abcdefghijk"),
        ("united states+new york+-_3456789AB.mp4", "united states+new york", "-_3456789AB"),
        (" a+b+c+abcdefghijk.pkl\n", "a+b+c", "abcdefghijk"),
    ],
)
def test_names_are_country_city_and_id(text: str, place: str, youtube_id: str) -> None:
    name = parse_name(text)
    assert (name.place, name.youtube_id) == (place, youtube_id)


def test_a_list_with_a_line_that_is_no_name_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "vnames.txt"
    path.write_text(f"{NAME}\n\n{NAME}\nhttps://www.youtube.com/watch?v=abcdefghijk\n")
    with pytest.raises(
        ValueError, match=r"vnames\.txt, line 4: 'https://www\.youtube.*' is not a country\+city\+videoId"
    ):
        read_names(path)
    path.write_text(f"\ufeff{NAME}\r\n{NAME}\r\n")
    assert list(read_names(path)) == [NAME]


def test_one_file_a_folder_and_an_archive_give_the_same(tmp_path: Path) -> None:
    videos = {NAME: {20: [(0, BOX)]}, "peru+lima+ABCDEFGHIJK": {40: [(0, BOX)]}}
    one = tmp_path / "dets.pkl"
    one.write_bytes(pickle.dumps(videos))
    folder = tmp_path / "dets"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "dets.zip", "w") as archive:
        for name, frames in videos.items():
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(frames))
            archive.write(folder / f"{name}.pkl", f"dets/{name}.pkl")
    for path in (one, folder, tmp_path / "dets.zip"):
        found = {name: list(frames) for name, frames in read_detections(path, MEMORY)}
        assert found == {NAME: [20], "peru+lima+ABCDEFGHIJK": [40]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [(pickle.dumps([1, 2]), "is a list"), (b"<html>", "not a complete pickle|damaged, or forged")],
)
def test_another_file_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "dets.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        list(read_detections(tmp_path / "dets.pkl", MEMORY))


def test_rows_of_both_releases() -> None:
    weak = POSED | {"conf": 0.8}
    table = box_rows({1819: [(0, weak), (1, POSED)]}, 1, "youtube:abc", "u")
    assert table.schema == schemas.tables.IMPORTED
    assert table["detection_id"].to_pylist() == ["youtube:abc/1818/0", "youtube:abc/1818/1"]
    assert table["n"].to_pylist() == [1, 0]
    assert table["confidence"].to_pylist() == pytest.approx([0.9488497, 0.8])
    assert table["person"].to_pylist() == [None, None]
    assert table["keypoints"][0].as_py() == [1, 1, 0.5] * 17
    [row] = box_rows({0: [[3, BOX | {"pid": 17}]]}, 0, "v", "u").to_pylist()
    assert (row["frame_index"], row["frame_id"], row["n"], row["person"]) == (0, 0, 3, 17)
    assert (row["confidence"], row["keypoints"]) == (None, None)
    assert (row["x1"], row["y1"], row["x2"], row["y2"]) == (618.625, 81.75, 1031.375, 709.25)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([1], "a list, expected a dict by frame"),
        ({0: [(0, BOX)]}, "frame 0 comes before the first, number 1"),
        ({"7": [(0, BOX)]}, "'7' is not a frame number"),
        ({7: [(0, {"conf": 1})]}, "frame 7: KeyError"),
        ({7: [(0, {"bbox": np.ones(3)})]}, "is not x1, y1, x2, y2"),
        ({7: [(0, {"bbox": np.array([9, 1, 2, 3])})]}, "is not x1, y1, x2, y2"),
        ({7: [(0, {"bbox": np.array([1, 1, np.nan, 3])})]}, "is not x1, y1, x2, y2"),
        ({7: 3}, "frame 7: TypeError"),
    ],
)
def test_boxes_of_another_form_are_refused_by_frame(frames: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        box_rows(frames, 1, "v", "u")


@pytest.mark.parametrize(
    ("extent", "size", "fetched", "expected"),
    [
        # A box at the border of one size, and none beyond it.
        ((1280.0, 700.0), (1280, 720), 720, (1280, 720, "border")),
        ((640.0, 350.0), (1280, 720), 720, (640, 360, "border")),
        ((1000.0, 720.0), (640, 360), 360, (1280, 720, "border")),
        ((853.2, 400.0), (1920, 1080), 1080, (854, 480, "border")),
        ((405.0, 600.0), (404, 720), 720, (404, 720, "border")),
        # What the script would have fetched, too large for anything smaller.
        ((1100.0, 600.0), (1280, 720), 720, (1280, 720, "expected")),
        ((1100.0, 600.0), (640, 360), 360, (1280, 720, "expected")),
        ((1277.0, 700.0), (1280, 720), 720, (1280, 720, "expected")),
        ((600.0, 300.0), (640, 360), 720, (640, 360, "expected")),
        # Several sizes hold the boxes.
        ((500.0, 300.0), (1280, 720), 720, (1280, 720, "ambiguous")),
        ((800.0, 470.0), (640, 360), 720, (854, 480, "ambiguous")),
        # Hardly smaller than what the recipe fetches: the same format, cropped, and no proof of a smaller one.
        ((1000.0, 600.0), (1208, 680), 720, (1280, 720, "ambiguous")),
        # Larger than the script fetches where it knows the height.
        ((1920.0, 1000.0), (1280, 720), 720, (1920, 1080, "border")),
        ((1700.0, 900.0), (1280, 720), 720, (1920, 1080, "ambiguous")),
        ((9000.0, 900.0), (1280, 720), 720, (1280, 720, "ambiguous")),
    ],
)
def test_the_reference_size_is_found_or_said_to_be_ambiguous(
    extent: tuple[float, float], size: tuple[int, int], fetched: int, expected: tuple[int, int, str]
) -> None:
    found = find_reference(extent, size, fetched)
    assert (found.width, found.height, found.evidence) == expected


def test_a_given_reference_is_taken() -> None:
    assert parse_reference("1280x720") == Reference(1280, 720, "given")


def test_boxes_are_judged_as_published_and_cut_as_they_are_now() -> None:
    with CLIP.open("rb") as file:
        facts = probe(file, VideoLimits())
    frames = [(20, 2.0, np.full((576, 768, 3), 90, np.uint8))]
    boxes = {
        20: np.array([[100, 100, 160, 250, 0.9], [10, 10, 50, 110, 0.9], [200, 100, 260, 250, np.nan]], np.float32),
        40: np.array([[0, 0, 60, 150, 0.9]], np.float32),
    }
    reference = Reference(1536, 1152, "border")
    detections, crops = cut_published(
        frames, boxes, reference, facts, video_id="v", unit_id="u", config=DetectConfig(source="imported")
    )
    assert detections.schema == schemas.tables.DETECTIONS
    assert detections["detection_id"].to_pylist() == ["v/20/0", "v/20/1", "v/20/2", "v/40/0"]
    assert detections["drop_reason"].to_pylist() == [None, "narrow", None, NO_FRAME]
    assert detections["confidence"].to_pylist() == pytest.approx([0.9, 0.9, None, 0.9])
    assert set(detections["reference"].to_pylist()) == {"border"}
    assert (detections["reference_width"][0].as_py(), detections["frame_width"][0].as_py()) == (1536, 768)
    # 30 pixels wide here, 60 when it was published.
    assert [(row["width"], row["height"]) for row in crops.to_pylist()] == [(30, 75), (30, 75)]
    assert detections["x2"].to_pylist()[0] == 80


def test_reading_a_folder_holds_one_video_at_a_time(tmp_path: Path) -> None:
    content = pickle.dumps({frame: [(0, BOX)] for frame in range(20, 2000, 20)})
    for number in range(3):
        (tmp_path / f"a+b+abcdefghij{number}.pkl").write_bytes(content)
    (tmp_path / "a+b+zzzzzzzzzzz.pkl").write_bytes(b"cposix\nsystem\n.")
    found = read_detections(tmp_path, MEMORY)
    assert [next(found)[0][-1] for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match=r"a\+b\+zzzzzzzzzzz\.pkl: refused: it names posix\.system"):
        next(found)


def test_an_archive_that_is_damaged_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a+b+abcdefghijk.pkl", pickle.dumps({20: [(0, BOX)]}))
    broken = bytearray(content.getvalue())
    broken[60:80] = bytes(20)
    (tmp_path / "dets.zip").write_bytes(broken)
    with pytest.raises(ValueError, match="refused"):
        list(read_detections(tmp_path / "dets.zip", MEMORY))


def test_the_most_frequent_remainder_comes_first() -> None:
    assert list(remainders([20, 19, 39, 59], 20).items()) == [(19, 3), (0, 1)]


def test_a_height_is_judged_in_published_pixels_and_a_lost_frame_keeps_its_time() -> None:
    with CLIP.open("rb") as file:
        facts = probe(file, VideoLimits())
    boxes = {
        20: np.array([[100, 100, 160, 250, 0.9], [100, 100, 160, 230, 0.9]], np.float32),
        40: np.array([[0, 0, 60, 150, 0.9]], np.float32),
    }
    config = DetectConfig.model_validate({"source": "imported", "rules": {"min_height": 140}})
    frames = [(20, 2.0, np.full((576, 768, 3), 90, np.uint8))]
    detections, _ = cut_published(
        frames, boxes, Reference(1536, 1152, "border"), facts, video_id="v", unit_id="u", config=config
    )
    assert detections["drop_reason"].to_pylist() == [None, "short", NO_FRAME]
    assert detections["pts_s"].to_pylist() == pytest.approx([2.0, 2.0, 4.0])
