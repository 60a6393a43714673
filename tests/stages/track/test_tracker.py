"""Tracklets: one per person, whatever the chunks, the order and the package that solves assignments."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from schemas.tables import DETECTIONS, TRACKS
from stages.detect.config import DetectConfig
from stages.detect.crops import crop_id
from stages.track.assignment import lapjv
from stages.track.config import TrackConfig
from stages.track.track_rows import tracks_table

BYTE = TrackConfig(tracker="bytetrack")
BOT = TrackConfig(tracker="botsort")


def row(frame: int, n: int, x: float, y: float = 100, confidence: float = 0.9) -> dict:
    box = {"x1": x, "y1": y, "x2": x + 40, "y2": y + 100, "confidence": confidence}
    frames = {"frame_index": frame, "pts_s": frame / 25, "frame_width": 1280, "frame_height": 720}
    return {"detection_id": f"x:a/{frame}/{n}", "video_id": "x:a", "unit_id": "u", "kept": True} | box | frames


def street(frames: range = range(0, 400, 2)) -> list[dict]:
    """Two people who walk past each other, on two sides of a street."""
    return [one for f in frames for one in (row(f, 0, 100 + f * 0.8), row(f, 1, 900 - f * 0.8, y=320))]


def tracked(rows: list[dict], config: TrackConfig = BYTE, step: int = 2, **options) -> dict[str, str]:
    table = tracks_table(pa.Table.from_pylist(rows, DETECTIONS), config, unit_id="v", step=step, fps=25.0, **options)
    assert table.schema.equals(TRACKS)
    return dict(zip(table["detection_id"].to_pylist(), table["track_id"].to_pylist(), strict=True))


@pytest.mark.parametrize("config", [BYTE, BOT], ids=["bytetrack", "botsort"])
def test_each_person_is_one_tracklet(config):
    found = tracked(street(), config)
    assert {found[f"x:a/{frame}/0"] for frame in range(2, 400, 2)} == {"x:a/t0"}
    assert {found[f"x:a/{frame}/1"] for frame in range(2, 400, 2)} == {"x:a/t1"}


def test_the_order_of_the_rows_does_not_matter():
    rows = street()
    assert tracked([rows[n] for n in np.random.default_rng(0).permutation(len(rows))]) == tracked(rows)


def test_frames_of_a_tracklet_are_counted_at_the_rate_of_the_video():
    table = tracks_table(pa.Table.from_pylist(street(), DETECTIONS), BYTE, unit_id="v", step=2, fps=25.0)
    assert set(table["track_frames"].to_pylist()) == {400}


def test_who_is_away_for_long_comes_back_as_another():
    gap = [*street(range(0, 100, 2)), *(one | {"x1": 180.0, "x2": 220.0} for one in street(range(300, 400, 2)))]
    away = tracked(gap)
    assert away["x:a/90/0"] != away["x:a/390/0"]
    short = [one for one in street() if not 100 <= one["frame_index"] < 112]
    assert tracked(short)["x:a/90/0"] == tracked(short)["x:a/390/0"]
    assert tracked(short, BYTE.model_copy(update={"lost_seconds": 0.1}))["x:a/390/0"] != "x:a/t0"


@pytest.mark.parametrize(
    ("change", "count"),
    [({}, 2), ({"high_confidence": 0.95, "low_confidence": 0.92}, 0), ({"new_confidence": 0.95}, 0)],
    ids=["as they are", "too unsure to match", "too unsure to start"],
)
def test_thresholds_count(change, count):
    assert len(set(tracked(street(), BYTE.model_copy(update=change)).values())) == count


def test_an_unsure_detection_carries_a_tracklet_on():
    rows = [one | ({"confidence": 0.15} if 100 <= one["frame_index"] < 120 else {}) for one in street()]
    assert tracked(rows)["x:a/110/0"] == "x:a/t0"
    assert "x:a/110/0" not in tracked(rows, BYTE.model_copy(update={"low_confidence": 0.2}))


def jumps(overlap: float) -> list[dict]:
    """Two people side by side who change places between two frames: boxes mislead, looks do not."""
    left, right = 300.0, 300.0 + 40 * (1 - overlap) / (1 + overlap)
    places = {0: (left, right), 1: (right, left)}
    return [row(f, n, places[f >= 100][n]) for f in range(0, 200, 2) for n in (0, 1)]


def test_looks_hold_tracklets_apart_where_boxes_do_not():
    rows = jumps(overlap=0.6)
    vectors = np.eye(2, dtype=np.float32)
    looks = {crop_id(one["detection_id"]): int(one["detection_id"][-1]) for one in rows}
    config = BOT.model_copy(update={"appearance": True})
    found = tracked(rows, config, features=looks, vectors=vectors)
    assert found["x:a/90/0"] == found["x:a/190/0"]
    assert tracked(rows, BOT)["x:a/90/0"] != tracked(rows, BOT)["x:a/190/0"]
    some = {name: vector for name, vector in looks.items() if name != crop_id("x:a/150/0")}
    assert tracked(rows, config, features=some, vectors=vectors)["x:a/190/0"] == found["x:a/90/0"]


def test_no_detections_give_no_tracklets():
    assert tracked([]) == {}


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 2), (5, 5), (0, 3), (3, 0)], ids=str)
def test_assignments_are_the_cheapest_with_the_limit_as_the_price_of_staying_apart(shape):
    cost, limit = np.random.default_rng(sum(shape)).random(shape), 0.6
    total, column_of, row_of = lapjv(cost, extend_cost=True, cost_limit=limit)
    pairs = [(n, m) for n, m in enumerate(column_of) if m >= 0]
    assert total == pytest.approx(sum(cost[n, m] for n, m in pairs))
    assert all(row_of[m] == n for n, m in pairs)
    price = total - limit * len(pairs)
    for size in range(min(shape) + 1):
        for rows in itertools.combinations(range(shape[0]), size):
            for columns in itertools.permutations(range(shape[1]), size):
                assert price <= sum(cost[n, m] - limit for n, m in zip(rows, columns, strict=True)) + 1e-9


def test_without_a_limit_all_that_can_be_are_assigned():
    _, column_of, _ = lapjv(np.array([[9.0, 1.0], [1.0, 9.0], [5.0, 5.0]]), extend_cost=True)
    assert column_of.tolist() == [1, 0, -1]


def test_an_uneven_matrix_is_refused_unless_extended():
    with pytest.raises(ValueError, match="not square"):
        lapjv(np.zeros((2, 3)))


@pytest.mark.parametrize("sampling", [{"every_frames": 3}, {"every_seconds": 0.5}], ids=str)
def test_crops_are_cut_from_frames_that_are_looked_at(sampling):
    with pytest.raises(ValidationError, match=r"must be a multiple of sampling\.every_frames"):
        DetectConfig(sampling=sampling, crop={"every_frames": 20})


def stands(*spans: range) -> list[dict]:
    """A person who stands still, seen in every fifth frame of some spans."""
    return [row(frame, 0, 100) for span in spans for frame in span]


def test_patience_is_in_seconds_whatever_the_sampling():
    shortly = tracked(stands(range(0, 100, 5), range(120, 200, 5)), step=5)
    assert shortly["x:a/95/0"] == shortly["x:a/195/0"], "25 frames, 1 second, pass without a sight"
    longer = tracked(stands(range(0, 100, 5), range(150, 200, 5)), step=5)
    assert longer["x:a/95/0"] != longer["x:a/195/0"]


def test_a_match_costs_what_overlap_and_confidence_leave():
    """A box that stays in its place at a confidence of 0.9 costs 0.1."""
    still = stands(range(0, 100, 5))
    assert len(set(tracked(still, step=5).values())) == 1
    assert len(set(tracked(still, BYTE.model_copy(update={"max_cost": 0.11}), step=5).values())) == 1
    assert len(set(tracked(still, BYTE.model_copy(update={"max_cost": 0.09}), step=5).values())) != 1


@pytest.mark.parametrize(
    ("change", "held"),
    [({}, True), ({"min_overlap": 0.7}, False), ({"min_appearance": 0.95}, False), ({"min_appearance": 0.85}, True)],
    ids=str,
)
def test_thresholds_of_looks_count(change, held):
    """Boxes overlap by 0.6, and looks of one person before and after have a cosine of 0.8: (1 + 0.8) / 2 = 0.9."""
    rows = jumps(overlap=0.6)
    vectors = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0.8, 0.6, 0, 0], [0, 0, 0.8, 0.6]], np.float32)
    looks = {
        crop_id(one["detection_id"]): int(one["detection_id"][-1]) + 2 * (one["frame_index"] >= 100) for one in rows
    }
    config = BOT.model_copy(update={"appearance": True} | change)
    found = tracked(rows, config, features=looks, vectors=vectors)
    assert (found["x:a/90/0"] == found["x:a/190/0"]) == held
