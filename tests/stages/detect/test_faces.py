import cv2
import numpy as np
import pytest

from stages.detect.config import DetectConfig
from stages.detect.detection_rows import detect_chunk
from stages.detect.faces import Head, blur_heads, find_heads

NOISE = np.random.default_rng(0).integers(0, 255, (400, 300, 3), np.uint8)
BOX = np.array([[100, 100, 180, 340, 0.9]], np.float32)


def person(head: tuple[float, float] = (140, 120), sure: float = 0.9) -> np.ndarray:
    """Keypoints [1, 17, 3] of somebody upright in BOX."""
    x, y = head
    points = [(x, y), (x - 4, y - 4), (x + 4, y - 4), (x - 9, y), (x + 9, y), (120, 150), (160, 150)]
    points += [(140, 220)] * 10
    return np.array([[(*point, sure) for point in points]], np.float32)


def inside(head: Head, image: np.ndarray) -> np.ndarray:
    """Pixels whose square touches the head's area."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return (columns + 1 > head.x1) & (columns < head.x2) & (rows + 1 > head.y1) & (rows < head.y2)


def test_keypoints_place_the_head_where_it_is() -> None:
    [head] = find_heads(BOX, person((170, 110)))
    assert head.by == "keypoints"
    assert ((head.x1 + head.x2) / 2, (head.y1 + head.y2) / 2) == pytest.approx((170, 108.4))
    assert head.x2 - head.x1 == pytest.approx(2 * 0.07 * 240)
    assert head.y2 - head.y1 == pytest.approx(1.5 * (head.x2 - head.x1))


def test_a_face_close_by_is_covered_by_the_spread_of_its_points() -> None:
    points = person()
    points[0, :5, :2] = [(140, 160), (110, 130), (170, 130), (80, 150), (200, 150)]
    [head] = find_heads(BOX, points)
    assert head.x1 < 60
    assert head.x2 > 220
    assert head.y1 < 90
    assert head.y2 > 240


@pytest.mark.parametrize("points", [None, person(sure=0.1), np.full((1, 17, 3), np.nan, np.float32)])
def test_without_points_the_top_of_the_box_is_taken(points: np.ndarray | None) -> None:
    [head] = find_heads(BOX, points)
    assert head == pytest.approx(("proportion", 108, 100, 172, 152.8))


@pytest.mark.parametrize("points", [None, person()])
def test_pixels_change_in_the_head_alone(points: np.ndarray | None) -> None:
    before = NOISE.copy()
    [head] = find_heads(BOX, points)
    blurred = blur_heads(NOISE, [head])
    changed = (blurred != NOISE).any(2)
    assert not changed[~inside(head, NOISE)].any()
    share = changed[inside(head, NOISE)].mean()
    assert share > (0.95 if points is None else 0.7)
    assert np.array_equal(before, NOISE)


def test_hardly_anything_of_a_head_is_left() -> None:
    [head] = find_heads(BOX, None)
    blurred = blur_heads(NOISE, [head])
    part = blurred[100:153, 108:172]
    assert part.std() < 0.25 * NOISE.std()
    assert blur_heads(NOISE // 2 + 60, [head])[100:153, 108:172].std() < part.std()


@pytest.mark.parametrize("head", [Head("keypoints", -20, -30, 10, 15), Head("proportion", 290, 390, 340, 450)])
def test_heads_at_the_border_are_blurred_as_far_as_they_are_seen(head: Head) -> None:
    changed = (blur_heads(NOISE, [head]) != NOISE).any(2)
    assert changed.any()
    assert not changed[~inside(head, NOISE)].any()
    assert np.array_equal(blur_heads(NOISE, [Head("proportion", 500, 500, 600, 600)]), NOISE)


def crops(faces: str, boxes: np.ndarray, points: np.ndarray | None) -> list[dict]:
    config = DetectConfig.model_validate({"faces": faces, "crop": {"jpeg_quality": 100}})
    frame = cv2.GaussianBlur(NOISE, (0, 0), 2)
    keypoints = None if points is None else [points]
    _, table = detect_chunk([(0, 0.0, frame)], [boxes], video_id="v", unit_id="u", config=config, keypoints=keypoints)
    return table.to_pylist()


def decoded(row: dict) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), 1).astype(int)


@pytest.mark.parametrize(("points", "by"), [(None, "proportion"), (person(), "keypoints")])
def test_a_crop_is_stored_blurred_at_the_head_and_nowhere_else(points: np.ndarray | None, by: str) -> None:
    [kept], [blurred] = crops("keep", BOX, points), crops("blur", BOX, points)
    assert (kept["head_blurred_by"], blurred["head_blurred_by"]) == (None, by)
    difference = np.abs(decoded(kept) - decoded(blurred)).max(2)
    assert difference[5:35, 30:50].mean() > 8
    assert difference[80:].max() <= 3  # blocks of the JPEG that the blur does not reach
    measures = ("sharpness", "brightness", "contrast", "colourfulness")
    assert [kept[name] for name in measures] == [blurred[name] for name in measures]


def test_the_head_of_a_neighbour_is_blurred_in_ones_crop_too() -> None:
    rejected = (130, 180, 170, 260, 0.3)
    both = np.array([BOX[0], rejected], np.float32)
    [alone], [beside] = crops("blur", BOX, None), crops("blur", both, None)
    difference = np.abs(decoded(alone) - decoded(beside)).max(2)
    assert difference[82:96, 36:64].mean() > 8


@pytest.mark.parametrize(("sure", "by"), [(0.3, "keypoints"), (0.29, "proportion")])
def test_a_point_counts_from_a_confidence_of_0_3_on(sure: float, by: str) -> None:
    [head] = find_heads(BOX, person(sure=sure))
    assert head.by == by


def test_a_point_in_doubt_does_not_move_the_head() -> None:
    points = person((170, 110))
    points[0, 4] = (290, 300, 0.29)
    [head] = find_heads(BOX, points)
    # Of the nose, the eyes and one ear that are left: (170 + 166 + 174 + 161) / 4 and (110 + 106 + 106 + 110) / 4.
    assert ((head.x1 + head.x2) / 2, (head.y1 + head.y2) / 2) == pytest.approx((167.75, 108))


@pytest.mark.parametrize(("left", "right", "width"), [(0.3, 0.9, 80), (0.29, 0.9, 33.6), (0.9, 0.29, 33.6)])
def test_broad_shoulders_make_a_large_head(left: float, right: float, width: float) -> None:
    """0.4 of the 100 pixels between them to each side; without both, 0.07 of the box's 240 pixels."""
    points = person()
    points[0, 5:7] = [(90, 150, left), (190, 150, right)]
    [head] = find_heads(BOX, points)
    assert head.x2 - head.x1 == pytest.approx(width)


@pytest.mark.parametrize(
    ("head", "columns", "rows"),
    [
        (Head("proportion", 10.5, 20.5, 30.5, 40.5), (10, 30), (20, 40)),
        (Head("proportion", 280, 380, 310, 410), (280, 299), (380, 399)),
        (Head("proportion", -10, -10, 20.1, 20.1), (0, 20), (0, 20)),
    ],
)
def test_every_pixel_that_the_head_touches_is_blurred(
    head: Head, columns: tuple[int, int], rows: tuple[int, int]
) -> None:
    changed = (blur_heads(NOISE, [head]) != NOISE).any(2)
    for axis, (first, last) in ((0, columns), (1, rows)):
        found = changed.any(axis).nonzero()[0]
        assert (found[0], found[-1]) == (first, last)
