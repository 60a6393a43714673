import cv2
import numpy as np
import pytest

from stages.detect.quality import colourfulness, measure_frame, measure_pixels, overlap, truncation

NOISE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
SMOOTH = cv2.GaussianBlur(NOISE, (0, 0), 9)


def boxes(*given: tuple[float, ...]) -> np.ndarray:
    return np.array(given, np.float32).reshape(-1, 4)


def test_sharpness_falls_with_blur_and_does_not_grow_with_size() -> None:
    blurred = [cv2.GaussianBlur(NOISE, (0, 0), sigma) for sigma in (0.5, 1, 2, 4)]
    values = [measure_pixels(image).sharpness for image in blurred]
    assert values == sorted(values, reverse=True)
    twice = cv2.resize(SMOOTH, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert measure_pixels(twice).sharpness == pytest.approx(measure_pixels(SMOOTH).sharpness, rel=0.2)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_grey_has_its_brightness_and_nothing_else(level: int) -> None:
    found = measure_pixels(np.full((50, 20, 3), level, np.uint8))
    assert vars(found) == {"sharpness": 0, "brightness": level, "contrast": 0, "colourfulness": 0}


def test_half_black_half_white_has_the_greatest_contrast() -> None:
    image = np.zeros((128, 64, 3), np.uint8)
    image[64:] = 255
    assert measure_pixels(image).contrast == pytest.approx(127.5)


@pytest.mark.parametrize(
    ("colours", "expected"),
    [
        # By hand after the paper: rg = R - G, yb = (R + G) / 2 - B.
        ([(0, 0, 255)], 0.3 * np.hypot(255, 127.5)),
        ([(0, 0, 255), (0, 255, 0)], 255 + 0.3 * 127.5),
        ([(255, 0, 0), (0, 255, 255)], 255.0),
        ([(90, 90, 90), (20, 20, 20)], 0.0),
    ],
)
def test_colourfulness_is_hasler_and_suesstrunks(colours: list[tuple[int, int, int]], expected: float) -> None:
    image = np.array([[colour] * 8 for colour in colours * 4], np.uint8)
    assert colourfulness(image) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("box", "sides"),
    [
        ((100, 100, 200, 300), 0),
        ((0, 100, 200, 300), 1),
        ((2, 100, 200, 300), 1),
        ((6, 100, 200, 300), 0),
        ((100, 0.5, 200, 718.8), 2),
        ((0, 0, 1280, 720), 4),
        ((1200, 600, 1279, 719.5), 2),
    ],
)
def test_truncation_counts_the_sides_on_the_border(box: tuple[float, ...], sides: int) -> None:
    assert truncation(boxes(box), 1280, 720).tolist() == [sides]


def test_overlap_is_the_greatest_share_that_one_other_covers() -> None:
    found = overlap(boxes((0, 0, 10, 10), (5, 0, 15, 10), (8, 0, 10, 10), (50, 50, 60, 60), (5, 5, 5, 9)))
    assert found.tolist() == pytest.approx([0.5, 0.5, 1.0, 0.0, 0.0])
    assert overlap(boxes()).tolist() == []
    assert overlap(boxes((0, 0, 10, 10))).tolist() == [0]


def test_a_frame_is_measured_whole() -> None:
    found = measure_frame(NOISE, boxes((0, 0, 40, 100), (20, 10, 60, 110), (300, 10, 320, 60)), 0.0)
    assert [pixels is None for pixels in found.pixels] == [False, False, True]
    assert found.row(0) == vars(measure_pixels(NOISE[:100, :40])) | {"truncation": 2, "overlap": pytest.approx(0.45)}
    assert found.row(2) == {"truncation": 1, "overlap": 0}
    assert measure_frame(NOISE, boxes(), 0.0).pixels == []


def test_the_margin_belongs_to_the_crop() -> None:
    found = measure_frame(NOISE, boxes((20, 20, 60, 100)), 0.1)
    assert found.row(0) | {"truncation": 0, "overlap": 0.0} == vars(measure_pixels(NOISE[12:108, 16:64])) | {
        "truncation": 0, "overlap": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "box", "sides"),
    [
        # 0.5 % of the shorter side, 800, is 4 pixels.
        ((1000, 800), (4, 100, 200, 300), 1),
        ((1000, 800), (4.01, 100, 200, 300), 0),
        ((1000, 800), (100, 4, 200, 300), 1),
        ((1000, 800), (100, 4.01, 200, 300), 0),
        ((1000, 800), (100, 100, 996, 300), 1),
        ((1000, 800), (100, 100, 995.9, 300), 0),
        ((1000, 800), (100, 100, 200, 796), 1),
        ((1000, 800), (100, 100, 200, 795.9), 0),
        # In a small frame it is less than a pixel.
        ((100, 60), (1, 10, 40, 50), 1),
        ((100, 60), (1.01, 10, 40, 50), 0),
        ((100, 60), (10, 10, 99, 50), 1),
        ((100, 60), (10, 10, 98.9, 50), 0),
    ],
)
def test_the_border_is_half_a_percent_wide_and_a_pixel_at_least(
    size: tuple[int, int], box: tuple[float, ...], sides: int
) -> None:
    assert truncation(boxes(box), *size).tolist() == [sides]


@pytest.mark.parametrize("axis", [0, 1])
def test_sharpness_is_measured_at_64_by_128(axis: int) -> None:
    """Lines one pixel wide: the Laplacian is 510 in the dark ones and -510 in the bright ones."""
    lines = 255 * (np.indices((128, 64))[axis] % 2)
    assert measure_pixels(np.repeat(lines[..., None], 3, 2).astype(np.uint8)).sharpness == 510**2


def test_measures_but_brightness_are_taken_after_resizing() -> None:
    """A board of single pixels, black and white, then blue and red: at half the size it has one colour."""
    white = (np.indices((256, 128)).sum(0) % 2).astype(bool)
    grey, coloured = np.zeros((256, 128, 3), np.uint8), np.zeros((256, 128, 3), np.uint8)
    grey[white], coloured[white], coloured[~white] = 255, (0, 0, 255), (255, 0, 0)
    assert vars(measure_pixels(grey)) == {"sharpness": 0, "brightness": 127.5, "contrast": 0, "colourfulness": 0}
    found = measure_pixels(coloured)
    assert found.colourfulness == pytest.approx(0.3 * np.hypot(128, 64))  # of (128, 0, 128)
    assert (found.sharpness, found.contrast) == (0, 0)


def test_luma_is_computed_before_resizing() -> None:
    """Dots of blue 8 have luma 1, so half of them 0.5, rounded up; resized first, they would be blue 4 with luma 0."""
    image = np.ones((256, 128, 3), np.uint8)
    image[:, :64] = 0
    image[:, :64, 0] = 8 * (np.indices((256, 64)).sum(0) % 2)
    assert measure_pixels(image).contrast == 0


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 29), ((0, 255, 0), 150), ((0, 0, 255), 76)])
def test_brightness_is_the_luma_of_blue_green_and_red(colour: tuple[int, int, int], luma: int) -> None:
    assert measure_pixels(np.full((20, 10, 3), colour, np.uint8)).brightness == luma
