"""Duplicates: every one is like the crop that stands for it, the best stands, and order and blocks have no say."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.tables import CROPS, DUPLICATES, STATICS
from stages.dedup import leaders
from stages.dedup.alike import Looks, Rule
from stages.dedup.config import DedupConfig
from stages.dedup.duplicate_rows import dedup_across, dedup_video
from stages.dedup.leaders import follow_leaders
from stages.dedup.ranking import best_first, quality
from tests.corpora import crop_rows

HASH = Rule(max_hash_distance=4, min_cosine=None, cosine_hash_distance=None)
COSINE = Rule(max_hash_distance=None, min_cosine=0.9, cosine_hash_distance=None)


def flipped(value: int, count: int, first: int = 0) -> int:
    return value ^ sum(1 << bit for bit in range(first, first + count))


def follow(looks: Looks, rule: Rule, order=None) -> np.ndarray:
    rows = np.arange(len(looks.hashes)) if order is None else np.asarray(order)
    return follow_leaders(rows, looks, rule).row


def clouds(groups: int, each: int, spread: float, dim: int = 32, seed: int = 0) -> np.ndarray:
    """Features in groups; rows of a group have a cosine of about 1 / (1 + spread**2)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 1, dim))
    points = centres + spread * rng.normal(size=(groups, each, dim))
    return (points / np.linalg.norm(points, axis=2, keepdims=True)).reshape(-1, dim).astype(np.float32)


def hashes(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_crops_within_the_distance_stand_behind_the_first():
    base = 0x0F0F_3355_AAAA_1234
    looks = Looks(hashes(base, flipped(base, 4), flipped(base, 5), base))
    assert follow(looks, HASH).tolist() == [-1, 0, -1, 0]


def test_the_better_crop_stands_whatever_the_rows():
    assert follow(Looks(hashes(5, 5, 5)), HASH, order=[2, 0, 1]).tolist() == [2, 2, -1]


def test_a_chain_of_small_changes_does_not_end_as_one_crop():
    walk = hashes(*(flipped(0, 3 * step) for step in range(12)))
    behind = follow(Looks(walk), HASH)
    for row, leader in enumerate(behind):
        assert leader == -1 or abs(row - leader) * 3 <= 4
    assert (behind == -1).sum() == 6


def test_among_leaders_the_one_most_alike_is_named():
    looks = Looks(hashes(0, flipped(0, 8), flipped(0, 5)))
    assert follow(looks, HASH).tolist() == [-1, -1, 1]


def test_a_cosine_needs_the_hash_to_agree():
    features = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    looks = Looks(hashes(0, flipped(0, 9), flipped(0, 7)), features)
    believed = Rule(max_hash_distance=4, min_cosine=0.98, cosine_hash_distance=8)
    assert follow(looks, believed).tolist() == [-1, -1, 1]
    assert follow(looks, Rule(4, 0.98, None)).tolist() == [-1, 0, 0]
    assert follow(looks, Rule(4, None, 8)).tolist() == [-1, -1, 1], "2 bits apart"


def test_crops_of_one_group_are_kept_apart():
    looks = Looks(hashes(1, 1, 1), np.ones((3, 1), np.float32), np.array([0, 0, 1]))
    assert follow(looks, COSINE).tolist() == [-1, -1, 0]


def test_blocks_have_no_say(monkeypatch):
    features = clouds(40, 12, 0.3)
    looks = Looks(np.zeros(len(features), np.uint64), features)
    whole = follow(looks, COSINE)
    for block in (1, 7, 100):
        monkeypatch.setattr(leaders, "_BLOCK", block)
        monkeypatch.setattr(leaders, "_LEADERS", 16)
        assert follow(looks, COSINE).tolist() == whole.tolist()


@pytest.fixture
def crops() -> pa.Table:
    rows = crop_rows("x:a", "x:a/0", range(0, 500, 50))
    return pa.Table.from_pylist(rows, CROPS)


def features_of(crops: pa.Table, vectors: np.ndarray) -> tuple[dict[str, int], np.ndarray]:
    return {name: row for row, name in enumerate(crops["crop_id"].to_pylist())}, vectors


NO_FEATURES = ({}, np.zeros((0, 0), np.float16))


def changed(crops: pa.Table, **columns: list) -> pa.Table:
    for name, values in columns.items():
        position = crops.schema.get_field_index(name)
        crops = crops.set_column(position, CROPS.field(name), pa.array(values, CROPS.field(name).type))
    return crops


def test_quality_prefers_the_large_sharp_and_certain(crops):
    base = {"confidence": 0.8, "width": 60, "height": 150, "sharpness": 200.0}
    better = [base | change for change in ({"confidence": 0.9}, {"width": 80}, {"sharpness": 400.0})]
    values = quality(pa.Table.from_pylist([base, *better, base | {"sharpness": None}]))
    assert (values[1:4] > values[0]).all()
    assert 0 < values[4] <= 1


def test_crops_of_one_quality_are_ordered_by_their_ids(crops):
    same = changed(crops, sharpness=[100.0] * 10)
    ids = np.array(same["crop_id"].to_pylist())
    assert ids[best_first(same)].tolist() == sorted(ids)


def test_duplicates_of_a_video_name_the_sharpest_and_say_how_alike(crops):
    same = changed(
        crops, phash=[0, 1, 3, *range(2**40, 2**64, 2**61)][:10], sharpness=[100.0, 300.0, 200.0] + [50.0] * 7
    )
    _, found = dedup_video(same, *NO_FEATURES, "unit", DedupConfig())
    ids = crops["crop_id"].to_pylist()
    rows = {row["crop_id"]: row for row in found.to_pylist()}
    assert found.schema.equals(DUPLICATES)
    assert {rows[ids[0]]["duplicate_of"], rows[ids[2]]["duplicate_of"]} == {ids[1]}
    assert rows[ids[0]]["how"] == "phash"
    assert rows[ids[0]]["similarity"] == pytest.approx(63 / 64)
    assert ids[1] not in rows


def test_the_order_of_the_files_does_not_matter(crops):
    same = changed(crops, phash=[n % 3 for n in range(10)])
    shuffled = same.take(pa.array(np.random.default_rng(1).permutation(10)))
    config = DedupConfig(min_cosine=0.9, cosine_hash_distance=None)
    vectors = clouds(5, 2, 0.1).astype(np.float16)
    one = dedup_video(same, *features_of(same, vectors), "unit", config)[1]
    other = dedup_video(shuffled, *features_of(same, vectors), "unit", config)[1]
    assert one.equals(other)
    assert {"cosine", "phash"} >= set(one["how"].to_pylist())


def test_a_crop_without_features_is_compared_by_its_hash_alone(crops):
    same = changed(crops, phash=[7, 7, *(2**n for n in range(20, 60, 5))])
    known, vectors = features_of(same, clouds(10, 1, 0.1).astype(np.float16))
    known.pop(same["crop_id"][0].as_py())
    config = DedupConfig(min_cosine=0.9, cosine_hash_distance=64, max_hash_distance=0)
    assert len(dedup_video(same, known, vectors, "unit", config)[1]) == 1


def test_videos_are_compared_with_each_other_and_not_with_themselves():
    rows = [*crop_rows("x:a", "x:a/0", [0, 50]), *crop_rows("x:b", "x:b/0", [0, 50])]
    crops = changed(pa.Table.from_pylist(rows, CROPS), phash=[9, 9, 9, 2**50])
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float16)
    found = dedup_across(crops, *features_of(crops, vectors), "unit", DedupConfig())
    ids = crops["crop_id"].to_pylist()
    pairs = {row["crop_id"]: row["duplicate_of"] for row in found.to_pylist()}
    # 50 is the sharper frame: of video b's first crop, the sharper sight in video a stands for it.
    assert set(found["how"].to_pylist()) == {"across"}
    assert len({name for name in pairs if name in ids[:2]} & set(pairs.values())) == 0
    assert ids[3] not in pairs
    assert all((name in ids[:2]) != (leader in ids[:2]) for name, leader in pairs.items())


def test_a_poster_is_static_and_people_are_not(crops):
    rows = crop_rows("x:a", "x:a/0", range(0, 5000, 25))
    table = pa.Table.from_pylist(rows, CROPS)
    poster = [
        {"x1": 300.0 + n % 3, "x2": 360.0 + n % 2, "y1": 100.0, "y2": 250.0, "phash": flipped(0xABC, n % 5)}
        for n in range(200)
    ]
    walker = [{"x1": 4.0 * n, "x2": 4.0 * n + 50} for n in range(200)]
    both = [row | change for row, change in zip(table.to_pylist(), poster, strict=True)]
    both += [
        row | change | {"crop_id": f"w{n}"}
        for n, (row, change) in enumerate(zip(table.to_pylist(), walker, strict=True))
    ]
    found, _ = dedup_video(pa.Table.from_pylist(both, CROPS), *NO_FEATURES, "unit", DedupConfig())
    assert found.schema.equals(STATICS)
    assert sorted(found["crop_id"].to_pylist()) == sorted(table["crop_id"].to_pylist())
    assert set(found["static_id"].to_pylist()) == {"x:a/s0"}
    assert found["seen_share"][0].as_py() == 1
    assert found["span_s"][0].as_py() == pytest.approx(199.0)


@pytest.mark.parametrize(
    ("change", "static"),
    [
        ({}, True),
        ({"min_seconds": 300}, False),
        ({"min_seen": 1.0}, False),
        ({"min_iou": 0.99}, False),
        ({"max_hash_distance": 1}, False),
        ({"min_span": 1.0}, True),
        ({"enabled": False}, False),
    ],
    ids=str,
)
def test_every_threshold_of_static_persons_counts(change, static):
    rows = crop_rows("x:a", "x:a/0", range(0, 5000, 25))
    spots = [
        row | {"x1": 300.0 + 2 * (n % 5), "x2": 360.0, "y1": 100.0, "y2": 250.0, "phash": 0xFF << (3 * (n % 4))}
        for n, row in enumerate(rows)
        if n % 10 or n in (0, 199)
    ]
    others = [row | {"crop_id": f"w{n}", "x1": 7.0 * n, "x2": 7.0 * n + 9} for n, row in enumerate(rows)]
    config = DedupConfig(static={"max_hash_distance": 32} | change)
    found, _ = dedup_video(pa.Table.from_pylist(spots + others, CROPS), *NO_FEATURES, "unit", config)
    assert (len(found) > 0) == static


def test_who_walks_past_a_poster_is_no_poster():
    rows = crop_rows("x:a", "x:a/0", range(0, 5000, 25))
    place = {"x1": 300.0, "x2": 360.0, "y1": 100.0, "y2": 250.0}
    table = [row | place | {"phash": 2**63 - 1 if n == 50 else 0xF0} for n, row in enumerate(rows)]
    found, _ = dedup_video(pa.Table.from_pylist(table, CROPS), *NO_FEATURES, "unit", DedupConfig())
    assert rows[50]["crop_id"] not in found["crop_id"].to_pylist()
    assert len(found) == 199


def test_no_crops_give_no_rows():
    statics, duplicates = dedup_video(CROPS.empty_table(), *NO_FEATURES, "unit", DedupConfig())
    assert len(statics) == len(duplicates) == 0


def test_measures_that_equal_a_threshold_count():
    features = np.array([[1, 0], [0.6, 0.8]], np.float32)
    rule = Rule(max_hash_distance=None, min_cosine=0.6, cosine_hash_distance=7)
    assert follow(Looks(hashes(0, flipped(0, 7)), features), rule).tolist() == [-1, 0]
    assert follow(Looks(hashes(0, flipped(0, 8)), features), rule).tolist() == [-1, -1]


def test_a_cosine_counts_to_five_digits():
    features = np.array([[1, 0], [0.899996, 0.43589], [0.89999, 0.43590]], np.float32)
    assert follow(Looks(hashes(0, 0), features[:2]), COSINE).tolist() == [-1, 0]
    assert follow(Looks(hashes(0, 0), features[[0, 2]]), COSINE).tolist() == [-1, -1]


def test_of_leaders_equally_alike_the_better_one_is_named(monkeypatch):
    monkeypatch.setattr(leaders, "_BLOCK", 2)
    monkeypatch.setattr(leaders, "_LEADERS", 1)
    assert follow(Looks(hashes(0, flipped(0, 8), flipped(0, 4))), HASH).tolist() == [-1, -1, 0]


def test_hashes_are_compared_with_all_leaders(monkeypatch):
    monkeypatch.setattr(leaders, "_BLOCK", 2)
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]] * 4, np.float32)
    rule = Rule(max_hash_distance=4, min_cosine=0.9, cosine_hash_distance=4)
    looks = Looks(hashes(*[0] * 16), features)
    assert follow(looks, rule).tolist() == [-1, *[0] * 15]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({}, 0.5),
        ({"width": 256, "height": 512}, 0.5),
        ({"width": 64}, 0.25),
        ({"confidence": None}, 0.25),
        ({"sharpness": None}, 0.5),
        ({"sharpness": 600.0}, 0.75),
    ],
    ids=str,
)
def test_quality_is_the_product_of_confidence_size_and_sharpness(change, value):
    row = {"confidence": 1.0, "width": 128, "height": 256, "sharpness": 200.0} | change
    schema = pa.schema([("confidence", pa.float32()), ("width", pa.int32()), ("height", pa.int32())])
    table = pa.Table.from_pylist([row], schema.append(pa.field("sharpness", pa.float32())))
    assert quality(table) == pytest.approx([value])


def test_a_crop_without_features_does_not_borrow_those_of_another(crops):
    two = changed(crops.slice(0, 2), phash=[7, 2**40])
    known = {two["crop_id"][1].as_py(): 0}
    config = DedupConfig(min_cosine=0.9, cosine_hash_distance=None, max_hash_distance=None)
    vectors = np.array([[0.6, 0.8]], np.float16)
    assert len(dedup_video(two, known, vectors, "unit", config)[1]) == 0
    both = dict.fromkeys(two["crop_id"].to_pylist(), 0)
    assert len(dedup_video(two, both, vectors, "unit", config)[1]) == 1


def standing(frames: range, hash_bits: int = 0) -> list[dict]:
    """A poster that is seen in some frames; its hash differs in so many bits in every tenth."""
    place = {"x1": 300.0, "x2": 360.0, "y1": 100.0, "y2": 250.0}
    return [
        row | place | {"phash": flipped(0xF0, hash_bits if n % 10 == 9 else 0)}
        for n, row in enumerate(crop_rows("x:a", "x:a/0", frames))
    ]


def walking(frames: range) -> list[dict]:
    return [
        row | {"crop_id": f"w{n}", "x1": 7.0 * n, "x2": 7.0 * n + 9}
        for n, row in enumerate(crop_rows("x:a", "x:a/0", frames))
    ]


@pytest.mark.parametrize(
    ("poster", "change", "found"),
    [
        (range(0, 5000, 25), {}, 200),
        (range(0, 3975, 25), {}, 0),  # 158 of 199 seconds, less than 0.8
        (range(0, 3975, 25), {"min_span": 0.79}, 159),
        (range(0, 5000, 25), {"min_seconds": 199}, 200),
        (range(0, 5000, 25), {"min_seconds": 199.1}, 0),
        (range(0, 5000, 100), {"min_seen": 0.25, "min_span": 0.5}, 50),
        (range(0, 5000, 100), {"min_seen": 0.26, "min_span": 0.5}, 0),
    ],
    ids=str,
)
def test_a_person_is_static_from_each_threshold_on(poster, change, found):
    table = pa.Table.from_pylist([*standing(poster), *walking(range(0, 5000, 25))], CROPS)
    statics, _ = dedup_video(table, *NO_FEATURES, "unit", DedupConfig(static=change))
    assert len(statics) == found


@pytest.mark.parametrize(("bits", "found"), [(16, 200), (17, 180)])
def test_the_look_of_a_place_may_differ_in_as_many_bits_as_configured(bits, found):
    table = pa.Table.from_pylist(standing(range(0, 5000, 25), bits), CROPS)
    assert len(dedup_video(table, *NO_FEATURES, "unit", DedupConfig())[0]) == found
