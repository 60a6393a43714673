"""Comparison by buckets: what comparing all pairs finds, by parts of hashes; nearly all of it, by cells of features."""

from dataclasses import replace

import faiss
import numpy as np
import pyarrow as pa
import pytest

from stages.dedup import bucket_rows, buckets, pairs
from stages.dedup.alike import Looks, Rule, compare, pair_cosines
from stages.dedup.leaders import follow_leaders
from stages.dedup.pairs import Pairs, follow_pairs

# With threads, these small searches wait for each other on a busy machine.
faiss.omp_set_num_threads(1)

HASHED = Rule(max_hash_distance=None, min_cosine=0.9, cosine_hash_distance=4)
COSINE = Rule(max_hash_distance=None, min_cosine=0.9, cosine_hash_distance=None)


def scenes(persons: int, each: int, spread: float, bits: int, seed: int = 0, dim: int = 32) -> Looks:
    """Persons that several videos show: hashes of one person differ in up to so many bits from a common one."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(persons, 1, dim)) + spread * rng.normal(size=(persons, each, dim))
    points = (points / np.linalg.norm(points, axis=2, keepdims=True)).reshape(-1, dim)
    hashes = np.repeat(rng.integers(0, 2**64, size=persons, dtype=np.uint64), each)
    for _ in range(bits):
        bit = np.uint64(1) << rng.integers(0, 64, size=len(hashes), dtype=np.uint64)
        hashes ^= np.where(rng.random(len(hashes)) < 0.5, bit, 0).astype(np.uint64)
    order = rng.permutation(len(hashes))
    return Looks(hashes[order], points[order].astype(np.float16), rng.integers(0, 30, size=len(hashes)))


def table_of(looks: Looks) -> pa.Table:
    columns = {
        "crop_id": [f"{row:05d}" for row in range(len(looks.hashes))],
        "video_id": [f"x:{video}" for video in looks.apart],
        "phash": pa.array(looks.hashes),
        "features": bucket_rows._as_bytes(looks.features.astype(np.float16)),
    }
    return pa.table(columns)


def found_pairs(looks: Looks, rule: Rule, *, probes: int = 4, groups: int = 3) -> Pairs:
    table = table_of(looks)
    count = len(table)
    centres = np.empty((0, 0), np.float32)
    if not buckets.by_hash(rule):
        sample = looks.features[buckets.in_sample(table["crop_id"], count)]
        centres = buckets.cell_centres(sample, buckets.cell_count(count))
    rows, placement = bucket_rows.placed_rows(table, np.arange(count, dtype=np.uint32), rule, centres, probes)
    parts = bucket_rows.grouped(rows, placement, groups)
    found = Pairs.concat(bucket_rows.pairs_in_group(part, bucket_rows.features_of(part), rule) for _, part in parts)
    _, once = np.unique(found.worse << 32 | found.better, return_index=True)
    return found.take(once)


def led_by(found: Pairs, count: int, span: int = 10**9) -> tuple[np.ndarray, np.ndarray]:
    """Leader of each crop, -1 for leaders, and its similarity."""
    status = np.zeros(count, np.uint8)
    leader, cosine = np.full(count, -1), np.zeros(count, np.float32)
    for first in range(0, count, span):
        stop = min(first + span, count)
        led = follow_pairs(found.take((found.worse >= first) & (found.worse < stop)), status, first, stop)
        leader[led.worse], cosine[led.worse] = led.better, led.cosine
    return leader, cosine


@pytest.mark.parametrize("distance", [0, 1, 4, 7])
def test_parts_of_the_hash_find_what_comparing_all_finds(distance):
    looks = scenes(400, 5, 0.2, bits=3)
    rule = replace(HASHED, cosine_hash_distance=distance)
    exact = follow_leaders(np.arange(2000), looks, rule)
    leader, cosine = led_by(found_pairs(looks, rule), 2000)
    assert (exact.row >= 0).sum() > (100 if distance else 20)
    assert leader.tolist() == exact.row.tolist()
    assert cosine == pytest.approx(exact.similarity, abs=2e-5)


def test_each_pair_is_found_once_and_only_with_another_video():
    looks = scenes(100, 6, 0.2, bits=1)
    table = table_of(looks)
    rows, placement = bucket_rows.placed_rows(table, np.arange(600, dtype=np.uint32), HASHED, np.empty((0, 0)), 4)
    parts = bucket_rows.grouped(rows, placement, 3)
    found = Pairs.concat(bucket_rows.pairs_in_group(part, bucket_rows.features_of(part), HASHED) for _, part in parts)
    compared = compare(looks.take(np.arange(600)), looks.take(np.arange(600)), HASHED).alike
    wanted = {(one, other) for one, other in np.argwhere(np.triu(compared, 1)).tolist()}
    assert len(found.worse) == len(wanted) > 500
    assert set(zip(found.better.tolist(), found.worse.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("distance", [None, 12])
def test_cells_find_nearly_all_that_comparing_all_finds(distance):
    looks = scenes(400, 5, 0.15, bits=5)
    rule = replace(COSINE, cosine_hash_distance=distance)
    exact = follow_leaders(np.arange(2000), looks, rule).row
    leader, _ = led_by(found_pairs(looks, rule), 2000)
    assert (exact >= 0).sum() > 1000
    assert (leader >= 0).sum() > 0.98 * (exact >= 0).sum()
    assert (leader[exact < 0] >= 0).sum() <= 2


def test_more_probes_find_more_and_all_cells_find_all():
    looks = scenes(1500, 1, 0, bits=0, dim=7)
    everything = np.count_nonzero(
        np.triu(compare(looks.take(np.arange(1500)), looks.take(np.arange(1500)), COSINE).alike)
    )
    counts = [len(found_pairs(looks, COSINE, probes=probes).worse) for probes in (1, 4, 10**6)]
    assert 0 < counts[0] < counts[1] < counts[2] == everything


def test_groups_blocks_and_ranges_have_no_say(monkeypatch):
    looks = scenes(200, 5, 0.2, bits=2)
    for rule in (HASHED, COSINE):
        whole = found_pairs(looks, rule)
        leaders, _ = led_by(whole, 1000)
        monkeypatch.setattr(pairs, "_HOMES", 7)
        monkeypatch.setattr(pairs, "_BLOCK", 3)
        monkeypatch.setattr(pairs, "_CANDIDATES", 2)
        blocks = found_pairs(looks, rule, groups=50)
        monkeypatch.undo()
        for name in ("better", "worse", "cosine"):
            assert getattr(blocks, name).tolist() == getattr(whole, name).tolist()
        assert led_by(whole, 1000, span=13)[0].tolist() == leaders.tolist()


def test_cells_do_not_depend_on_how_numbers_are_added():
    looks = scenes(200, 5, 0.4, bits=0, dim=512)
    order = np.random.default_rng(3).permutation(512)
    straight, mixed = looks.features, looks.features[:, order]
    centres, others = buckets.cell_centres(straight, 30), buckets.cell_centres(mixed, 30)
    assert np.array_equal(centres[:, order], others)
    one, other = buckets.cell_buckets(straight, centres, 4), buckets.cell_buckets(mixed, others, 4)
    assert one.bucket.tolist() == other.bucket.tolist()
    ones, others = np.divmod(np.arange(20_000), 1000)
    assert np.array_equal(pair_cosines(straight, ones, others), pair_cosines(mixed, ones, others))


def test_cosines_of_pairs_are_those_of_blocks():
    looks = scenes(20, 5, 0.3, bits=0)
    whole = looks.take(np.arange(100))
    cosines = compare(whole, whole, COSINE).cosine
    one, other = np.divmod(np.arange(10_000), 100)
    assert pair_cosines(looks.features, one, other).reshape(100, 100) == pytest.approx(cosines, abs=1.1e-5)


def test_a_picture_that_every_video_shows_leaves_one_leader_and_few_pairs():
    count = 3000
    looks = Looks(np.full(count, 9, np.uint64), np.tile(np.array([0.6, 0.8], np.float16), (count, 1)), np.arange(count))
    found = found_pairs(looks, HASHED)
    assert len(found.worse) <= pairs.MOST_PAIRS * count
    leader, _ = led_by(found, count)
    assert leader.tolist() == [-1, *[0] * (count - 1)]


def test_a_chain_of_small_changes_does_not_end_as_one_crop():
    angles = np.arange(40) * 0.3
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    looks = Looks(np.zeros(40, np.uint64), features, np.arange(40))
    exact = follow_leaders(np.arange(40), looks, HASHED).row
    assert led_by(found_pairs(looks, HASHED), 40)[0].tolist() == exact.tolist()
    assert (exact == -1).sum() == 10


def test_of_leaders_the_one_most_alike_is_named_and_of_equals_the_better_one():
    found = Pairs(np.array([0, 1, 0, 1]), np.array([2, 2, 3, 3]), np.array([0.9, 0.95, 0.97, 0.97], np.float32))
    assert led_by(found, 4)[0].tolist() == [-1, -1, 1, 0]


def test_one_crop_and_no_crop_have_no_pairs():
    for count in (0, 1):
        looks = scenes(count, 1, 0.1, bits=0)
        assert len(found_pairs(looks, HASHED).worse) == 0


@pytest.mark.parametrize(
    ("home", "found"), [([True, True], 1), ([True, False], 1), ([False, True], 1), ([False, False], 0)]
)
def test_two_crops_are_compared_where_one_of_them_is_at_home(home, found):
    looks = Looks(np.zeros(2, np.uint64), np.array([[1, 0], [1, 0]], np.float16), np.arange(2))
    result = pairs.alike_pairs(looks, np.arange(2), np.array(home), COSINE, np.empty(0, np.uint64))
    assert list(zip(result.better.tolist(), result.worse.tolist(), strict=True)) == [(0, 1)] * found


def test_sums_of_products_are_integers_that_float32_counts_exactly():
    rng = np.random.default_rng(0)
    for features in (scenes(200, 1, 0.4, bits=0, dim=512).features, np.eye(3, dtype=np.float16)):
        points = buckets._on_grid(features)
        assert np.array_equal(points, np.rint(points))
        assert (points.astype(np.float64) ** 2).sum(axis=1).max() < 2**24
    centres = buckets.cell_centres(rng.normal(size=(50, 4)) / 4, 5)
    assert np.array_equal(centres, np.rint(centres))
    assert (centres.astype(np.float64) ** 2).sum(axis=1).max() < 2**24
