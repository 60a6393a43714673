"""The manifest: what goes in, what stays out and why, with provenance."""

from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.flow.dedup import DUPLICATES, STATICS
from pipeline.flow.track import TRACKS
from schemas.declaration import Mark
from schemas.tables import CAPTIONS, CROPS, MANIFEST, VIDEOS
from stages.errors import UnitError
from stages.publish.config import PublishConfig
from stages.publish.manifest import manifest_table
from stages.publish.selection import plan_manifest
from tests.corpora import caption_rows, crop_rows, found, manifest_of, video_row


@pytest.fixture
def crops() -> pa.Table:
    rows = [*crop_rows("x:b", "d-b", range(0, 200, 50)), *crop_rows("x:a", "d-a", range(150, -50, -50))]
    return pa.Table.from_pylist(rows, CROPS)


@pytest.fixture
def captions(crops) -> pa.Table:
    return pa.Table.from_pylist(caption_rows(crops, "c0"), CAPTIONS)


@pytest.fixture
def videos() -> pa.Table:
    rows = [video_row("x:a", license="CC-BY"), video_row("x:b", license=None, query=None)]
    return pa.Table.from_pylist(rows, VIDEOS)


def halves(**options) -> PublishConfig:
    return PublishConfig(splits={"train": 0.5, "val": 0.5}, **options)


def publish(crops, captions, videos, marks=(), **options) -> pa.Table:
    return manifest_of(crops, captions, videos, halves(**options), marks=marks)


def marks(duplicates=(), statics=(), tracks=()) -> list[tuple[Mark, pa.Table]]:
    def table(schema, rows):
        return pa.Table.from_pylist([dict(zip(schema, row, strict=True)) for row in rows], pa.schema(schema.items()))

    text = pa.string()
    return [
        (DUPLICATES.mark, table({"crop_id": text, "duplicate_of": text}, duplicates)),
        (STATICS.mark, table({"crop_id": text}, [(crop,) for crop in statics])),
        (TRACKS.mark, table({"detection_id": text, "track_id": text, "track_frames": pa.int64()}, tracks)),
    ]


def changed(table: pa.Table, row: int, **values) -> pa.Table:
    rows = table.to_pylist()
    rows[row] |= values
    return pa.Table.from_pylist(rows, table.schema)


def test_rows_follow_the_schema_sorted_by_video_and_time(crops, captions, videos):
    table = publish(crops, captions, videos)
    assert table.schema.equals(MANIFEST, check_metadata=True)
    keys = list(zip(table["video_id"].to_pylist(), table["pts_s"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert len(table) == 8


def test_a_self_contained_manifest_has_the_bytes_of_each_crop(crops, captions, videos):
    rows = publish(crops, captions, videos, self_contained=True)
    originals = {row["crop_id"]: row["jpeg"] for row in crops.to_pylist()}
    assert len(originals) == 8
    assert dict(zip(rows["crop_id"].to_pylist(), rows["jpeg"].to_pylist(), strict=True)) == originals
    assert rows["crops_path"].null_count == 8
    both = ["jpeg", "crops_path"]
    assert rows.drop_columns(both).equals(publish(crops, captions, videos).drop_columns(both))


def test_every_row_carries_its_own_captions_and_provenance(crops, captions, videos):
    rows = publish(crops, captions, videos).to_pylist()
    sentences = {row["crop_id"]: [item["text"] for item in row["captions"]] for row in captions.to_pylist()}
    for row in rows:
        assert row["jpeg"] is None
        assert row["crops_path"] == {"x:a": "crops/d-a.parquet", "x:b": "crops/d-b.parquet"}[row["video_id"]]
        assert row["captions"] == sentences[row["crop_id"]]
        assert row["unit_id"] == "unit"
        assert (row["detect_fingerprint"], row["caption_fingerprint"]) == ("d0", "c0")
        assert row["source_url"] == f"https://video.example/{row['video_id'][-1]}"
    assert {row["video_id"]: row["license"] for row in rows} == {"x:a": "CC-BY", "x:b": None}
    assert {len(row["captions"]) for row in rows} == {1, 2}


def test_a_video_stands_in_one_split(crops, captions, videos):
    rows = publish(crops, captions, videos).to_pylist()
    assert len({(row["video_id"], row["split"]) for row in rows}) == 2


def test_files_one_after_another_give_the_same_rows(crops, captions, videos):
    plan = plan_manifest(found(crops, captions, videos), halves())
    without = crops.drop_columns(["jpeg"])
    parts = [manifest_table(plan.chosen.slice(first, 4), without, captions, videos, "unit") for first in (0, 4)]
    assert pa.concat_tables(parts).sort_by("crop_id").equals(publish(crops, captions, videos).sort_by("crop_id"))


@pytest.mark.parametrize(
    ("options", "reason", "count"),
    [
        ({"min_sharpness": 110}, "sharpness", 4),
        ({"licences": ["CC-BY"]}, "licence", 4),
        ({"licences": []}, "licence", 8),
    ],
    ids=str,
)
def test_selection_leaves_out_and_counts(crops, captions, videos, options, reason, count):
    assert len(publish(crops, captions, videos, **options)) == 8 - count
    assert plan_manifest(found(crops, captions, videos), halves(**options)).left_out == {reason: count}


def test_crops_without_captions_stay_out_unless_asked_for(crops, captions, videos):
    fewer = changed(captions.slice(1), 0, captions=[])
    assert len(publish(crops, fewer, videos)) == 6
    table = publish(crops, fewer, videos, require_caption=False)
    assert sorted(len(texts) for texts in table["captions"].to_pylist()) == [0, 0, 1, 1, 1, 1, 1, 1]
    assert table["caption_fingerprint"].null_count == 1


def test_a_crop_whose_sharpness_was_not_measured_passes_only_without_a_limit(crops, captions, videos):
    unmeasured = changed(crops, 0, sharpness=None)
    assert len(publish(unmeasured, captions, videos)) == 8
    assert len(publish(unmeasured, captions, videos, min_sharpness=1)) == 7


def test_duplicates_stay_out_unless_asked_for(crops, captions, videos):
    ids = crops["crop_id"].to_pylist()
    found_marks = marks(duplicates=[(ids[0], ids[1])])
    assert len(publish(crops, captions, videos, found_marks)) == 7
    assert len(publish(crops, captions, videos, found_marks, keep_duplicates=True)) == 8


def test_static_persons_stay_out_unless_asked_for(crops, captions, videos):
    found_marks = marks(statics=crops["crop_id"].to_pylist()[:2])
    assert len(publish(crops, captions, videos, found_marks)) == 6
    assert len(publish(crops, captions, videos, found_marks, keep_static=True)) == 8


def test_short_tracklets_stay_out_when_asked_to_and_the_others_are_named(crops, captions, videos):
    ids, seen = (crops[name].to_pylist() for name in ("crop_id", "detection_id"))
    found_marks = marks(tracks=[(seen[0], "x:b/t0", 240), (seen[1], "x:b/t0", 240), (seen[2], "x:b/t1", 180)])
    assert len(publish(crops, captions, videos, found_marks)) == 8
    table = publish(crops, captions, videos, found_marks, min_track_frames=200)
    assert dict(zip(table["crop_id"].to_pylist(), table["track_id"].to_pylist(), strict=True)) == {
        ids[0]: "x:b/t0",
        ids[1]: "x:b/t0",
    }


def test_a_tracklet_stands_in_one_split_where_one_video_is_cut_in_time(captions, videos):
    long = pa.Table.from_pylist(crop_rows("x:a", "d-a", range(0, 2000, 10)), CROPS)
    texts = pa.Table.from_pylist(caption_rows(long, "c0"), CAPTIONS)
    seen = long["detection_id"].to_pylist()
    tracks = [(name, f"x:a/t{position // 28}", 300) for position, name in enumerate(seen)]
    found_marks = marks(tracks=tracks)
    tracked = dict(zip(long["crop_id"].to_pylist(), (track for _, track, _ in tracks), strict=True))
    config = PublishConfig(splits={"train": 0.8, "val": 0.2})
    for given, whole in (((), False), (found_marks, True)):
        plan = plan_manifest(found(long, texts, videos, marks=given), config)
        table = manifest_of(long, texts, videos, config, marks=given)
        pairs = {
            (tracked[crop], split)
            for crop, split in zip(table["crop_id"].to_pylist(), table["split"].to_pylist(), strict=True)
        }
        assert (len(pairs) == len({track for track, _ in pairs})) == whole
        assert ("tracklets that cross" in plan.statement) == whole
    assert len(table) == len(long), "a whole tracklet has no crops in a guard"


def test_crops_in_the_guard_of_a_border_are_counted(videos):
    long = pa.Table.from_pylist(crop_rows("x:a", "d-a", range(0, 2000, 10)), CROPS)
    texts = pa.Table.from_pylist(caption_rows(long, "c0"), CAPTIONS)
    config = PublishConfig(splits={"train": 0.8, "val": 0.2})
    guard = plan_manifest(found(long, texts, videos), config).left_out["guard"]
    assert guard > 0
    assert len(manifest_of(long, texts, videos, config)) + guard == len(long)


def test_two_detections_under_one_crop_id_are_refused(crops, captions, videos):
    clash = changed(crops, 0, crop_id=crops["crop_id"][1].as_py())
    with pytest.raises(UnitError, match=r"two detections, x:b/0/0 and x:b/50/0") as error:
        publish(clash, captions, videos)
    assert error.value.kind == "crop_id_collision"


def test_a_crop_that_stands_there_twice_is_refused(crops, captions, videos):
    with pytest.raises(UnitError, match="cropped twice"):
        publish(pa.concat_tables([crops, crops.slice(0, 1)]), captions, videos)


def test_no_crops_give_an_empty_manifest(captions, videos):
    assert publish(CROPS.empty_table(), captions, videos).schema.equals(MANIFEST)
    assert len(publish(CROPS.empty_table(), CAPTIONS.empty_table(), VIDEOS.empty_table())) == 0


def test_rows_of_one_moment_are_ordered_by_frame_then_by_falling_confidence_then_by_crop(crops, captions, videos):
    ties = [
        {"crop_id": crop, "detection_id": crop, "frame_index": frame, "pts_s": 1.0, "confidence": confidence}
        for crop, frame, confidence in [("d", 8, 0.99), ("b", 7, 0.5), ("c", 7, 0.9), ("a", 7, 0.5)]
    ]
    rows = [row | change for row, change in zip(crops.to_pylist()[:4], ties, strict=True)]
    for order in (rows, rows[::-1]):
        table = publish(pa.Table.from_pylist(order, CROPS), captions, videos, require_caption=False)
        assert table["crop_id"].to_pylist() == ["c", "a", "b", "d"]


def test_a_crop_as_sharp_as_the_limit_passes(crops, captions, videos):
    limit = crops["sharpness"][0].as_py()
    kept = publish(crops, captions, videos, min_sharpness=limit)["sharpness"].to_pylist()
    assert min(kept) == limit


def test_crops_that_stay_out_have_no_weight_in_the_splits(captions, videos):
    many = pa.Table.from_pylist([*crop_rows("x:a", "d-a", range(40)), *crop_rows("x:b", "d-b", range(4))], CROPS)
    few = pa.Table.from_pylist(caption_rows(many, "c0")[39:], CAPTIONS)
    config = PublishConfig(splits={"train": 0.7, "val": 0.3})
    plan = plan_manifest(found(many, few, videos), config)
    assert plan.statement == "split by video: train 4 crops of 1, val 1 crops of 1 videos"


def test_rows_of_a_unit_that_is_in_another_file_now_do_not_count(crops, captions, videos):
    given = found(crops, captions, videos)
    position = given.crops.schema.get_field_index("path")
    older = given.crops.set_column(position, "path", pa.array(["crops/older.parquet"] * len(crops), pa.string()))
    plan = plan_manifest(replace(given, crops=pa.concat_tables([older, given.crops])), halves())
    assert sorted(plan.chosen["crops_path"].to_pylist()) == ["crops/d-a.parquet"] * 4 + ["crops/d-b.parquet"] * 4
