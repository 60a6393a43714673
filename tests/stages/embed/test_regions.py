import numpy as np
import pytest

from stages.embed.config import Region
from stages.embed.regions import BANDS, CLOTH, cut_cloth, cut_region


def rows_of(region: Region, keypoints: np.ndarray | None, height: int = 200) -> tuple[int, int]:
    """First row and row past the last of a region, read off a picture whose rows are numbered."""
    image = np.repeat(np.arange(height, dtype=np.uint8)[:, None, None], 40, axis=1).repeat(3, axis=2)
    part = cut_region(image, region, keypoints)
    assert part.shape[1] == 40
    return int(part[0, 0, 0]), int(part[-1, 0, 0]) + 1


def pose(shoulders: float = 40, hips: float = 90, knees: float = 130, ankles: float = 180) -> np.ndarray:
    """COCO keypoints of a person who faces the camera, pixels of a crop 40 wide and 200 high."""
    keypoints = np.zeros((17, 3), np.float32)
    for pair, y in {(5, 6): shoulders, (11, 12): hips, (13, 14): knees, (15, 16): ankles}.items():
        keypoints[list(pair)] = [(26, y, 0.9), (14, y, 0.9)]
    return keypoints


def test_regions_follow_the_joints() -> None:
    assert rows_of("whole", pose()) == (0, 200)
    assert rows_of("head", pose()) == (0, 40)
    assert rows_of("upper", pose()) == (30, 95)
    assert rows_of("lower", pose()) == (81, 200)
    assert rows_of("feet", pose()) == (171, 200)


def test_a_person_who_stands_low_in_the_crop_has_other_regions_than_the_proportions_say() -> None:
    low = pose(shoulders=110, hips=150, knees=175, ankles=195)
    assert rows_of("upper", low) == (102, 154)
    assert rows_of("upper", None) == (24, 110)


@pytest.mark.parametrize("region", ["head", "upper", "lower", "feet"])
def test_hidden_or_impossible_joints_leave_the_region_to_the_proportions(region: Region) -> None:
    hidden = pose()
    hidden[:, 2] = 0.3
    upside_down = pose(shoulders=-20, hips=-60, ankles=-190)
    for keypoints in (hidden, upside_down):
        assert rows_of(region, keypoints) == rows_of(region, None)


def test_a_joint_counts_from_half_confidence_on() -> None:
    at, below = pose(), pose()
    at[:, 2], below[:, 2] = 0.5, np.nextafter(np.float32(0.5), np.float32(0))
    assert rows_of("upper", at) == rows_of("upper", pose())
    assert rows_of("upper", below) == rows_of("upper", None)


def test_cloth_of_a_person_in_side_view_is_a_fifth_of_the_crop_wide() -> None:
    side = pose()
    side[:, 0] = 20
    image = np.zeros((200, 40, 3), np.uint8)
    assert cut_cloth(image, "upper", side).shape == (30, 8, 3)
    assert cut_cloth(image, "upper", pose()).shape == (30, 8, 3)


def test_one_joint_of_a_pair_is_enough() -> None:
    side = pose()
    side[[6, 12, 14, 16], 2] = 0
    assert rows_of("upper", side) == rows_of("upper", pose())


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 200), (200, 1), (300, 100)])
def test_no_region_and_no_cloth_is_ever_empty(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    for keypoints in (None, pose(), pose() * np.float32([9, 9, 1]), pose() * np.float32([-9, -9, 1])):
        assert all(cut_region(image, region, keypoints).size for region in BANDS)
        assert all(cut_cloth(image, region, keypoints).size for region in CLOTH)


def test_cloth_lies_between_the_joints_and_leaves_the_street_out() -> None:
    keypoints = pose(shoulders=100, hips=150, knees=180, ankles=195)
    image = np.full((200, 40, 3), 128, np.uint8)
    image[100:150, 14:27], image[150:195, 14:27] = (200, 30, 30), (30, 30, 160)
    assert (cut_cloth(image, "upper", keypoints) == (200, 30, 30)).all()
    assert (cut_cloth(image, "lower", keypoints) == (30, 30, 160)).all()
    assert (cut_cloth(image, "upper", None) == 128).all()
