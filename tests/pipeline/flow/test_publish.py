"""Publish over a corpus with marks: which crops enter the manifest, in which order, and what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

import schemas.tables as tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import crop_features, detect, publish
from pipeline.flow.crop_marks import mark_parts, read_marks
from pipeline.flow.order import STAGES, select_stages
from pipeline.recipe import Recipe
from pipeline.run.runner import RunContext, run_stage
from pipeline.run.stage import Stage, Writer
from schemas.declaration import Mark, Table
from schemas.parquet_layout import blob_options
from tests.corpora import caption_rows, crop_id_of, crop_rows, ledger_row, video_row
from tests.runs import ask

pytestmark = pytest.mark.usefixtures("ray_cluster")

(PUBLISH,) = select_stages("publish", "publish")

MODEL, VARIANT = "clip-tiny", "base"
PERSONS = 2
"""Crops in each frame; the later one is the surer one."""
FRAMES = range(0, 300, 50)


def write(corpus: Corpus, rows: list[dict[str, Any]], schema: pa.Schema, path: str) -> pa.Table:
    table = pa.Table.from_pylist(rows, schema)
    corpus.write_table(table, path, **(blob_options(table) if "jpeg" in schema.names else {}))
    return table


def add_video(corpus: Corpus, name: str, cosine: float) -> None:
    """A video with two crops in each frame, their captions, and features that its name decides."""
    video = f"x:{name}"
    write(corpus, [video_row(video)], tables.VIDEOS, f"videos/{name}.parquet")
    Ledger(corpus, "crawl").append([ledger_row(f"url-{name}", [f"videos/{name}.parquet"])])
    unit = f"{video}/00000000-00000500"
    rows = []
    for row in crop_rows(video, unit, FRAMES):
        for n in range(PERSONS):
            detection = row["detection_id"].removesuffix("/0") + f"/{n}"
            names = {"detection_id": detection, "crop_id": crop_id_of(detection)}
            rows.append(row | names | {"confidence": 0.5 + 0.1 * n, "frame_index": row["frame_index"]})
    crops = write(corpus, rows, tables.CROPS, f"crops/{name}.parquet")
    Ledger(corpus, "detect").append([ledger_row(unit, [f"crops/{name}.parquet"], fingerprint="d")])
    features = [
        {"crop_id": row["crop_id"], "video_id": video, "unit_id": f"{MODEL}/{name}", "region": region,
         "embedding": [cosine, (1 - cosine**2) ** 0.5] if region == "whole" else [0.0, 1.0]}
        for row in rows for region in ("head", "whole")
    ]  # fmt: skip
    write(corpus, features, tables.embeddings(2), f"embeddings/{MODEL}/{name}.parquet")
    Ledger(corpus, "embed").append([ledger_row(f"{MODEL}/{name}", [f"embeddings/{MODEL}/{name}.parquet"], scope=MODEL)])
    unit = f"{VARIANT}/{name}"
    write(corpus, caption_rows(crops, unit), tables.CAPTIONS, f"captions/{VARIANT}/{name}.parquet")
    Ledger(corpus, "caption").append(
        [ledger_row(unit, [f"captions/{VARIANT}/{name}.parquet"], scope=VARIANT, fingerprint="c")]
    )


def crop(video: str, frame: int, n: int) -> str:
    return crop_id_of(f"x:{video}/{frame}/{n}")


DUPLICATE, STATIC, BOTH = crop("a", 0, 0), crop("a", 50, 1), crop("b", 0, 1)
TRACKED = {f"x:a/{frame}/0": 40 if frame < 100 else 80 for frame in FRAMES}
ALL = {crop(video, frame, n) for video in "ab" for frame in FRAMES for n in range(PERSONS)}


def add_marks(corpus: Corpus) -> None:
    """One duplicate, one static person, one crop that is both, and a tracklet in two lengths."""
    keys = {"video_id": "x:a", "unit_id": "x:a"}
    pairs = {DUPLICATE: crop("a", 50, 0), BOTH: crop("b", 50, 0)}
    found = [
        keys | {"crop_id": one, "duplicate_of": other, "how": "phash", "similarity": 1.0}
        for one, other in pairs.items()
    ]
    write(corpus, found, tables.DUPLICATES, "duplicates/d.parquet")
    never = [keys | {"crop_id": one, "static_id": "x:a/s0", "span_s": 9.0, "seen_share": 1.0} for one in (STATIC, BOTH)]
    write(corpus, never, tables.STATICS, "statics/d.parquet")
    Ledger(corpus, "dedup").append([ledger_row("x:a", ["duplicates/d.parquet", "statics/d.parquet"])])
    seen = [
        keys | {"detection_id": one, "frame_index": int(one.split("/")[1]), "track_id": "x:a/t0", "track_frames": count}
        for one, count in [*TRACKED.items(), ("x:a/0/9", 80)]
    ]
    write(corpus, seen, tables.TRACKS, "tracks/t.parquet")
    Ledger(corpus, "track").append([ledger_row("x:a", ["tracks/t.parquet"])])


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    corpus = Corpus(str(tmp_path / "c"))
    for name, cosine in {"a": 0.6, "b": 0.8}.items():
        add_video(corpus, name, cosine)
    add_marks(corpus)
    return corpus


def recipe_of(corpus: Corpus, **options: Any) -> Recipe:
    return Recipe.model_validate({
        "corpus": corpus.root, "embed": {"model": MODEL, "pretrained": None}, "caption": {"variant": VARIANT},
        "publish": {"splits": {"train": 1.0}} | options,
    })  # fmt: skip


def published(corpus: Corpus, stage: Stage = PUBLISH, **options: Any) -> set[str]:
    run = RunContext(
        snapshot=Snapshot(corpus), recipe=recipe_of(corpus, **options), run_id="r", console=Console(quiet=True)
    )
    assert run_stage(run, stage).failed == 0
    return {crop_id for (crop_id,) in ask(Path(corpus.root), "SELECT crop_id FROM manifest")}


def test_marked_crops_stay_out_unless_the_recipe_keeps_them(corpus: Corpus) -> None:
    assert published(corpus) == ALL - {DUPLICATE, STATIC, BOTH}
    assert published(corpus, keep_duplicates=True) == ALL - {STATIC, BOTH}
    assert published(corpus, keep_static=True) == ALL - {DUPLICATE, BOTH}
    assert published(corpus, keep_duplicates=True, keep_static=True) == ALL
    long = {crop_id_of(detection) for detection, frames in TRACKED.items() if frames >= 80}
    assert published(corpus, min_track_frames=80, keep_duplicates=True, keep_static=True) == long


def test_crops_that_marks_keep_out_have_no_weight_in_the_splits(corpus: Corpus) -> None:
    """What is left of one video is cut in time; two videos would have got a split each."""
    keys = {"video_id": "x:b", "unit_id": "x:b", "static_id": "x:b/s0", "span_s": 9.0, "seen_share": 1.0}
    rows = [keys | {"crop_id": crop("b", frame, n)} for frame in FRAMES for n in range(PERSONS)]
    write(corpus, rows, tables.STATICS, "statics/b.parquet")
    Ledger(corpus, "dedup").append([ledger_row("x:b", ["statics/b.parquet"])])
    assert published(corpus, splits={"train": 0.5, "val": 0.5}, time_segment_seconds=2, time_guard_seconds=0)
    sql = "SELECT DISTINCT video_id, split FROM manifest ORDER BY ALL"
    assert ask(Path(corpus.root), sql) == [("x:a", "train"), ("x:a", "val")]


def test_a_mark_that_a_new_stage_declares_keeps_crops_out(corpus: Corpus) -> None:
    schema = pa.schema(
        [pa.field("crop_id", pa.string()), pa.field("unit_id", pa.string()), pa.field("by", pa.string())]
    )
    mark = Mark(columns=("by",), reason="poor", keep="keep_static")
    poor = Table(name="poor", folder="poor", schema=schema, row="one row per poor crop", mark=mark)
    stage = publish.make_stage([*STAGES, Writer(name="judge", tables=(poor,))])
    chosen = [crop("b", 200, n) for n in range(PERSONS)]
    write(corpus, [{"crop_id": one, "unit_id": "u", "by": "eye"} for one in chosen], schema, "poor/p.parquet")
    Ledger(corpus, "judge").append([ledger_row("u", ["poor/p.parquet"])])
    assert published(corpus, stage) == ALL - {DUPLICATE, STATIC, BOTH, *chosen}
    assert published(corpus, stage, keep_static=True) == ALL - {DUPLICATE, BOTH}


def manifests(corpus: Corpus) -> list[pa.Table]:
    """The files of the manifest, those of the newest unit."""
    packs = Snapshot(corpus).packs("publish", publish.MANIFEST, VARIANT)
    return [corpus.read_table(path) for path in packs["path"].to_pylist()]


def test_rows_of_a_manifest_come_by_time_and_falling_confidence(corpus: Corpus) -> None:
    published(corpus, keep_duplicates=True, keep_static=True)
    (table,) = manifests(corpus)
    assert table["video_id"].to_pylist() == ["x:a"] * 12 + ["x:b"] * 12
    assert table["frame_index"].to_pylist() == [frame for _ in "ab" for frame in FRAMES for _ in range(PERSONS)]
    assert table["confidence"].to_numpy().tolist() == pytest.approx([0.6, 0.5] * 2 * len(FRAMES))


def test_a_manifest_names_the_files_of_its_crops_and_holds_their_bytes_only_if_asked_to(corpus: Corpus) -> None:
    published(corpus)
    (lean,) = manifests(corpus)
    assert {row["crops_path"] for row in lean.to_pylist() if row["video_id"] == "x:a"} == {"crops/a.parquet"}
    assert lean["jpeg"].null_count == len(lean) > 0
    published(corpus, self_contained=True)
    (whole,) = manifests(corpus)
    crops = [row for name in "ab" for row in corpus.read_table(f"crops/{name}.parquet").to_pylist()]
    jpegs = {row["crop_id"]: row["jpeg"] for row in crops}
    assert [jpegs[crop_id] for crop_id in whole["crop_id"].to_pylist()] == whole["jpeg"].to_pylist()
    assert whole["crops_path"].null_count == len(whole)
    assert whole.drop_columns(["jpeg", "crops_path"]).equals(lean.drop_columns(["jpeg", "crops_path"]))


def test_large_manifests_are_written_as_several_files_of_whole_files_of_crops(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "cde":
        add_video(corpus, name, 0.5)
    together = published(corpus)
    monkeypatch.setattr(publish, "_LEAST_ROWS", 20)
    assert published(corpus, split_seed=1) == together
    parts = manifests(corpus)
    assert sorted(len(part) for part in parts) == [12, 21, 24]
    files = [set(part["crops_path"].to_pylist()) for part in parts]
    assert sum(map(len, files)) == len(set.union(*files)) == 5


def test_two_detections_with_one_crop_id_fail_the_unit(corpus: Corpus) -> None:
    add_video(corpus, "c", 0.5)
    rows = corpus.read_table("crops/c.parquet").to_pylist()
    rows[0]["crop_id"] = crop("a", 0, 1)
    write(corpus, rows, tables.CROPS, "crops/c.parquet")
    run = RunContext(snapshot=Snapshot(corpus), recipe=recipe_of(corpus), run_id="r", console=Console(quiet=True))
    assert [reason[:2] for reason in run_stage(run, PUBLISH).reasons] == [
        (
            "crop_id_collision",
            f"crop_id {crop('a', 0, 1)} belongs to two detections, x:a/0/1 and x:c/0/0; remove one of their videos",
        )
    ]


def test_a_manifest_names_tracklets_and_the_configurations_that_made_it(corpus: Corpus) -> None:
    published(corpus)
    sql = "SELECT crop_id, track_id, detect_fingerprint, caption_fingerprint, source_url FROM manifest"
    rows = {crop_id: others for crop_id, *others in ask(Path(corpus.root), sql)}
    tracked = {crop_id_of(detection) for detection in TRACKED}
    for crop_id, (track_id, detected, captioned, url) in rows.items():
        assert track_id == ("x:a/t0" if crop_id in tracked else None)
        assert (detected, captioned) == ("d", "c")
        assert url in ("https://video.example/a", "https://video.example/b")


def test_a_new_mark_makes_the_manifest_stale_and_a_superseded_one_counts_no_more(corpus: Corpus) -> None:
    published(corpus)
    before = mark_parts(Snapshot(corpus), STAGES)
    more = {"crop_id": crop("b", 100, 0), "video_id": "x:b", "unit_id": "x:b", "static_id": "x:b/s0", "span_s": 9.0,
            "seen_share": 1.0}  # fmt: skip
    write(corpus, [more], tables.STATICS, "statics/e.parquet")
    assert published(corpus) == ALL - {DUPLICATE, STATIC, BOTH}, "no ledger vouches for it yet"
    Ledger(corpus, "dedup").append([ledger_row("x:b", ["statics/e.parquet"])])
    assert mark_parts(Snapshot(corpus), STAGES) != before
    assert published(corpus) == ALL - {DUPLICATE, STATIC, BOTH, more["crop_id"]}
    Ledger(corpus, "dedup").append([ledger_row("x:a", status="retired"), ledger_row("x:b", status="empty")])
    assert published(corpus) == ALL


def test_marks_have_the_keys_and_columns_that_they_declare(corpus: Corpus) -> None:
    found = {
        tuple(reader.schema.names): reader.read_all().to_pylist() for _, reader in read_marks(Snapshot(corpus), STAGES)
    }
    assert {row["crop_id"]: row["duplicate_of"] for row in found["crop_id", "duplicate_of"]} == {
        DUPLICATE: crop("a", 50, 0), BOTH: crop("b", 50, 0),
    }  # fmt: skip
    assert {row["crop_id"] for row in found["crop_id",]} == {STATIC, BOTH}
    tracked = {row["detection_id"]: row["track_frames"] for row in found["detection_id", "track_id", "track_frames"]}
    assert tracked == TRACKED | {"x:a/0/9": 80}
    shown = ask(Path(corpus.root), "SELECT detection_id, crop_id, duplicate_of, static, track_id FROM crops")
    for detection, crop_id, *marks in shown:
        expected = [
            {DUPLICATE: crop("a", 50, 0), BOTH: crop("b", 50, 0)}.get(crop_id),
            crop_id in (STATIC, BOTH),
            "x:a/t0" if detection in TRACKED else None,
        ]
        assert marks == expected


def test_features_are_those_of_the_whole_crops_of_one_video(corpus: Corpus) -> None:
    recipe = recipe_of(corpus)
    snapshot = Snapshot(corpus)
    packs = crop_features.feature_packs(snapshot, recipe, "clip")
    rows_by_video = crop_features.pieces_by_video(snapshot, detect.CROPS, packs).to_pylist()
    pieces = {row["video_id"]: row["pieces"] for row in rows_by_video}
    assert list(pieces) == ["x:a", "x:b"]
    together = [piece for video in pieces.values() for piece in video]
    for name, cosine in {"a": 0.6, "b": 0.8}.items():
        for given in (pieces[f"x:{name}"], together):
            rows, vectors = crop_features.read_features(corpus, given, f"x:{name}")
            assert set(rows) == {crop(name, frame, n) for frame in FRAMES for n in range(PERSONS)}
            assert np.allclose(vectors[:, 0], cosine, atol=1e-3)
    rows, vectors = crop_features.read_features(corpus, together)
    assert set(rows) == ALL
    assert np.allclose([vectors[rows[crop("a", 50, 0)], 0], vectors[rows[crop("b", 50, 0)], 0]], [0.6, 0.8], atol=1e-3)
    crops = crop_features.read_pieces(corpus, detect.CROPS, pieces["x:b"], ["crop_id", "video_id"])
    assert crops.column_names == ["crop_id", "video_id"]
    assert set(crops["video_id"].to_pylist()) == {"x:b"}
