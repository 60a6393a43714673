"""Splits: by video, to the shares, none empty; by time where there is one video."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from stages.publish.config import PublishConfig
from stages.publish.splits import assign_splits, plan_splits
from stages.publish.tracks import keep_tracks_whole

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def crops_by_split(videos: list[tuple[str, int]], seed: int = 0) -> Counter[str]:
    counts: Counter[str] = Counter()
    for video, split in assign_splits(videos, SHARES, seed).items():
        counts[split] += dict(videos)[video]
    return counts


def test_shares_are_met_by_crops_not_by_videos():
    rng = np.random.default_rng(0)
    videos = [(f"v{n}", int(size)) for n, size in enumerate(rng.lognormal(5, 1.5, 400) + 1)]
    counts = crops_by_split(videos)
    total = sum(counts.values())
    for split, share in SHARES.items():
        assert counts[split] / total == pytest.approx(share, abs=0.002)


def test_same_videos_in_any_order_give_the_same_splits():
    videos = [(f"v{n}", 10 + n % 7) for n in range(50)]
    assert assign_splits(videos, SHARES, 3) == assign_splits(videos[::-1], SHARES, 3)


def test_seed_deals_anew():
    videos = [(f"v{n}", 10 + n % 3) for n in range(50)]
    assert assign_splits(videos, SHARES, 0) != assign_splits(videos, SHARES, 1)


@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1), (1000, 1, 1), (1000, 900, 800), (5,) * 3, (1, 2, 3, 4, 1000), (10,) * 200],
    ids=str,
)
def test_no_split_is_empty_where_there_are_enough_videos(sizes):
    videos = [(f"v{n}", size) for n, size in enumerate(sizes)]
    assert set(assign_splits(videos, SHARES, 0).values()) == set(SHARES)


def test_two_videos_fill_the_two_largest_shares():
    assert assign_splits([("a", 90), ("b", 10)], {"train": 0.8, "val": 0.15, "test": 0.05}, 0) == {
        "a": "train",
        "b": "val",
    }


def test_a_video_without_crops_is_not_dealt():
    assert assign_splits([("a", 9), ("b", 0)], {"train": 1.0}, 0) == {"a": "train"}


def test_plan_by_video_looks_splits_up_and_says_so():
    video_id = pa.array(["a"] * 8 + ["b"] + ["c"])
    plan = plan_splits(video_id, np.zeros(10), np.arange(10), PublishConfig())
    splits = plan(pa.array(["c", "a", "b", "unknown"]), np.zeros(4), np.zeros(4)).to_pylist()
    assert splits[1] == "train"
    assert {splits[0], splits[2]} == {"val", "test"}
    assert splits[3] is None
    assert plan.statement.startswith("split by video: train 8 crops of 1, val 1 crops of 1")


def test_plan_says_which_split_is_empty():
    plan = plan_splits(pa.array(["a", "b"]), np.zeros(2), np.zeros(2), PublishConfig())
    assert "test empty, as there are 2 videos" in plan.statement


def test_no_crops_give_a_plan_all_the_same():
    plan = plan_splits(pa.array([], pa.string()), np.zeros(0), np.zeros(0), PublishConfig())
    assert plan.statement == "split by video: no crops; train and val and test empty, as there are 0 videos"


def one_video(seconds: np.ndarray, **options: object):
    config = PublishConfig.model_validate({"splits": {"train": 0.8, "val": 0.2}} | options)
    video_id = pa.array(["only"] * len(seconds))
    frames = np.arange(len(seconds))
    plan = plan_splits(video_id, seconds, frames, config)
    return plan, np.array(plan(video_id, seconds, frames).to_pylist(), dtype=object)


def test_one_video_is_cut_into_stretches_of_time():
    seconds = np.arange(0, 80, 0.5)
    plan, split = one_video(seconds)
    assert split[0] == "train"
    assert split[-1] == "val"
    train, val = seconds[split == "train"], seconds[split == "val"]
    assert train.max() + 2 <= val.min()
    assert val.min() % 10 == 0
    assert len(val) / len(seconds) == pytest.approx(0.2, abs=0.07)
    assert plan.statement.startswith("one video, so split by time and not by video: train 0.0-")
    assert "4 crops just before a border are in no split" in plan.statement


def test_order_of_the_crops_does_not_matter():
    seconds = np.random.default_rng(0).permutation(np.arange(0, 80, 0.5))
    _, split = one_video(seconds)
    _, ordered = one_video(np.sort(seconds))
    assert list(split[np.argsort(seconds)]) == list(ordered)


def test_crops_of_one_frame_stay_together():
    seconds = np.repeat(np.arange(0, 40, 0.5), 5)
    _, split = one_video(seconds)
    assert all(len(set(split[seconds == moment])) == 1 for moment in np.unique(seconds))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (np.array([0.0, 30.0]), {"train", "val"}),
        (np.array([0.0, 0.1, 0.2]), {"train", "val"}),
        (np.array([1e6, 1e6 + 5, 1e6 + 10]), {"train", "val"}),
        (np.array([-5.0, 0.0, 5.0, 10.0]), {"train", "val"}),
    ],
    ids=["two moments", "too short for segments", "late start", "negative start"],
)
def test_short_videos_fill_every_split(seconds, expected):
    _, split = one_video(seconds)
    assert {name for name in split if name} == expected


def test_one_moment_cannot_be_cut_and_the_plan_says_so():
    plan = plan_splits(pa.array(["only"] * 2), np.zeros(2), np.zeros(2, np.int64), PublishConfig())
    assert "val and test empty, too few moments" in plan.statement


def test_a_clock_that_stands_still_is_replaced_by_frames():
    plan, split = one_video(np.zeros(100))
    assert set(split) - {None} == {"train", "val"}
    assert "frames" in plan.statement


def test_a_single_split_needs_no_cut():
    _, split = one_video(np.arange(10.0), splits={"train": 1.0})
    assert set(split) == {"train"}


@pytest.mark.parametrize(
    "splits",
    [
        {"train": 0.8},
        {"train": 0.8, "val": 0.3},
        {"train": 1.2, "val": -0.2},
        {"train": 1.0, "val": 0.0},
        {"dev": 1.0},
        {},
    ],
    ids=str,
)
def test_shares_that_are_no_shares_are_refused(splits):
    with pytest.raises(ValidationError):
        PublishConfig(splits=splits)


def test_a_border_belongs_to_the_later_split_and_a_guard_begins_with_its_first_moment():
    seconds = np.arange(0, 80, 0.5)
    plan, split = one_video(seconds)
    border = plan.stretches[1].start
    assert split[seconds == border] == ["val"]
    assert list(seconds[split == None]) == [border - 2, border - 1.5, border - 1, border - 0.5]  # noqa: E711


def test_a_guard_takes_half_a_segment_at_most():
    seconds = np.arange(0, 80, 0.5)
    plan, split = one_video(seconds, time_guard_seconds=9)
    border = plan.stretches[1].start
    assert list(seconds[split == None]) == list(np.arange(border - 5, border, 0.5))  # noqa: E711


def test_a_guard_that_would_empty_a_split_is_left_out():
    seconds = np.array([0.0, 10.0, 20.9, 21.0, 31.0, 60.0])
    shares = {"train": 2 / 6, "val": 1 / 6, "test": 3 / 6}
    _, split = one_video(seconds, splits=shares, time_segment_seconds=1)
    assert list(split) == ["train", "train", "val", "test", "test", "test"]


def test_a_split_leaves_a_segment_to_each_split_after_it():
    seconds = np.array([0.0, *[10.0] * 98, 20.0])
    _, split = one_video(seconds, splits={"train": 0.8, "val": 0.1, "test": 0.1}, time_segment_seconds=1)
    assert set(split) - {None} == {"train", "val", "test"}


def test_a_plan_by_time_knows_one_video():
    plan, _ = one_video(np.arange(0, 80, 0.5))
    assert plan(pa.array(["only", "other"]), np.zeros(2), np.zeros(2, np.int64)).to_pylist() == ["train", None]


def test_the_seed_decides_between_videos_of_about_the_same_size():
    videos = [(f"v{n}", 64 + n) for n in range(60)]
    assert assign_splits(videos, SHARES, 0) != assign_splits(videos, SHARES, 1)


def tracked(counts: dict[str, int]) -> str:
    """Split in which a tracklet with so many crops on each side of a border stands; no crop lies in a guard."""
    seconds = np.arange(0, 80, 0.5)
    plan, split = one_video(seconds, time_guard_seconds=0)
    rows = [np.flatnonzero(split == name)[:count] for name, count in counts.items()]
    track = np.full(len(seconds), None, dtype=object)
    track[np.concatenate(rows)] = "t"
    whole = keep_tracks_whole(plan, pa.chunked_array([pa.array(track, pa.string())]), pa.array(split, pa.string()))
    assert "1 tracklets that cross a border" in whole.statement
    return whole.split_of_track["t"]


def test_a_tracklet_that_crosses_a_border_stands_where_most_of_it_lies():
    assert tracked({"train": 3, "val": 2}) == "train"
    assert tracked({"train": 2, "val": 3}) == "val"
    assert tracked({"train": 2, "val": 2}) == "train"
