"""Crops from published lists: made here in the published form, from our own detector at another resolution."""

import datetime as dt
import functools
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

import schemas.tables
from pipeline.audit.garbage import find
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import detect_imported
from pipeline.flow.chunk_units import add_facts
from pipeline.flow.crawl import STAGE as CRAWL
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from stages.crawl.sources.known_sources import name_video
from stages.detect.config import DetectConfig
from stages.detect.detection_rows import detect_chunk
from stages.detect.families.ultralytics.yolo_detector import YoloDetector
from stages.errors import UnitError
from stages.video.frames import read_frames
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.runs import CLIP, ask, reidforge, serve, tiny_clip, write_recipe

NAME = "germany+tuebingen+street_demo"
FRAMES = (20, 60, 100)
DETECT_CONFIG = {
    "source": "imported", "image_size": 320, "chunk_seconds": 4, "rules": {"min_confidence": 0.2, "min_width": 16},
}  # fmt: skip


@pytest.fixture(scope="module")
def detected() -> tuple[Any, Any, dict[int, Any]]:
    """Detections and crops of some frames by our detector, and its boxes."""
    config = DetectConfig.model_validate(DETECT_CONFIG | {"source": "detector", "confidence_floor": 0.2})
    with CLIP.open("rb") as file:
        frames = list(read_frames(file, probe(file, VideoLimits()), 0, 120, FRAMES))
    boxes = [found.persons for found in YoloDetector(config)([image for *_, image in frames])]
    return *detect_chunk(frames, boxes, video_id="v", unit_id="u", config=config), dict(zip(FRAMES, boxes, strict=True))


def publish(boxes: dict[int, Any], scale: float, first_frame: int) -> dict[int, Any]:
    """Boxes in the published form, in pixels of a frame of another size."""
    return {
        index + first_frame: [
            (n, {"bbox": (row[:4] * scale).astype(np.float32), "conf": np.float32(row[4])})
            for n, row in enumerate(found)
        ]
        for index, found in boxes.items()
    }


def crawled(root: Path, url: str, height: int = 576) -> Corpus:
    """A corpus that has crawled the demo clip from an address."""
    corpus = Corpus(str(root))
    video_id = name_video(url)
    with CLIP.open("rb") as file:
        facts = probe(file, VideoLimits())
    row = facts.to_row() | {
        "video_id": video_id,
        "unit_id": video_id,
        "media_path": "media/a.mp4",
        "media_sha256": "0" * 64,
    }
    corpus.write_table(pa.Table.from_pylist([row], schema=schemas.tables.VIDEOS), "videos/a.parquet")
    corpus.upload(CLIP, "media/a.mp4")
    Ledger(corpus, "crawl").append([outcome(video_id, ["videos/a.parquet"])])
    return corpus


def outcome(unit: str, outputs: list[str]) -> dict[str, Any]:
    return {
        "scope": "", "unit_id": unit, "fingerprint": "f", "inputs": "", "status": "ok", "attempts": 1,
        "outputs": outputs, "rows_out": 1, "seconds": 1.0, "run_id": "r",
    }  # fmt: skip


def run_import(corpus: Corpus, lists: Path, boxes: Any, *options: str, url: str = "http://127.0.0.1:1/{id}.mp4") -> int:
    lists.mkdir(exist_ok=True)
    (lists / "vnames.txt").write_text(f"{NAME}\n")
    (lists / "dets.pkl").write_bytes(pickle.dumps(boxes))
    files = ["--videos", str(lists / "vnames.txt"), "--detections", str(lists / "dets.pkl")]
    return execute(["import", "luperson", corpus.uri, *files, "--url", url, *options])


def chunks(corpus: Corpus, recipe: Recipe) -> list[dict[str, Any]]:
    """Units of detect, as its first step gets them."""
    snapshot = Snapshot(corpus)
    return add_facts(snapshot)(DETECT.wanted(snapshot, recipe)).to_pylist()


def cut(corpus: Corpus, **changes: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Detections and crops of the stage's units, each run here."""
    recipe = Recipe.model_validate({"corpus": corpus.uri, "detect": DETECT_CONFIG | changes})
    step = detect_imported._make_cut(corpus, recipe.detect)
    tables: dict[str, list[dict[str, Any]]] = {"detections": [], "crops": []}
    for unit in chunks(corpus, recipe):
        row = step(unit)
        for name, rows in tables.items():
            (packed,) = (part["ipc"] for part in row["tables"] if part["table"] == name)
            rows += pa.ipc.open_stream(packed).read_all().to_pylist()
    return tables["detections"], tables["crops"]


@pytest.mark.parametrize(("release", "first", "scale"), [("luperson", 1, 1.25), ("luperson-nl", 0, 0.625)])
def test_crops_of_a_published_list_are_those_of_the_detector(
    release: str, first: int, scale: float, detected: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detections, crops, boxes = detected
    corpus = crawled(tmp_path / "corpus", "http://127.0.0.1:1/street_demo.mp4")
    assert run_import(corpus, tmp_path / "lists", {NAME: publish(boxes, scale, first)}, "--release", release) == 0
    said = capsys.readouterr().out
    assert (
        f"1 videos with {detections.num_rows} boxes on 3 frames; {detections.num_rows} boxes have a confidence" in said
    )
    width, height = round(768 * scale), round(576 * scale)
    # The rules hold in published pixels, so the same persons pass them at another resolution.
    rules = {"min_confidence": 0.2, "min_width": 16 * scale}
    found, cut_out = cut(corpus, reference=f"{width}x{height}", rules=rules)
    assert {row["reference"] for row in found} == {"given"}
    assert [row["detection_id"].split("/")[-2:] for row in found] == [
        row["detection_id"].split("/")[-2:] for row in detections.to_pylist()
    ]
    assert len(cut_out) > 5
    by_place = {(row["frame_index"], row["detection_id"].rpartition("/")[2]): row for row in crops.to_pylist()}
    same = 0
    for row in cut_out:
        twin = by_place[row["frame_index"], row["detection_id"].rpartition("/")[2]]
        assert [row[side] for side in ("x1", "y1", "x2", "y2")] == pytest.approx(
            [twin[side] for side in ("x1", "y1", "x2", "y2")], abs=1e-3
        )
        same += row["jpeg"] == twin["jpeg"]
        assert cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), 1).shape == (row["height"], row["width"], 3)
    assert len(by_place) == len(cut_out)
    assert same >= len(cut_out) - 1


def test_the_size_that_boxes_refer_to_is_found_by_a_box_at_the_border(detected: Any, tmp_path: Path) -> None:
    *_, boxes = detected
    corpus = crawled(tmp_path / "corpus", "http://127.0.0.1:1/street_demo.mp4")
    published = publish(boxes, 480 / 576, 1)
    published[21].append((99, {"bbox": np.array([600.0, 300.0, 640.0, 400.0], np.float32), "conf": 0.9}))
    assert run_import(corpus, tmp_path / "lists", {NAME: published}) == 0
    found, _ = cut(corpus)
    assert {(row["reference_width"], row["reference_height"], row["reference"]) for row in found} == {
        (640, 480, "border")
    }
    assert {(row["frame_width"], row["frame_height"]) for row in found} == {(768, 576)}


def test_boxes_beyond_the_end_of_the_video_are_a_unit_that_fails_with_its_reason(detected: Any, tmp_path: Path) -> None:
    *_, boxes = detected
    corpus = crawled(tmp_path / "corpus", "http://127.0.0.1:1/street_demo.mp4")
    far = {1001: publish(boxes, 1, 1)[21]}
    assert run_import(corpus, tmp_path / "lists", {NAME: publish(boxes, 1, 1) | far}) == 0
    recipe = Recipe.model_validate({"corpus": corpus.uri, "detect": DETECT_CONFIG})
    *inside, beyond = chunks(corpus, recipe)
    assert [unit["start"] for unit in inside] == [0, 40, 80]
    assert beyond["unit_id"].endswith("/00000795-00001001")
    with pytest.raises(UnitError, match=r"up to frame 1,000, and the video has 795 frames at 10.00 a second") as caught:
        detect_imported._make_cut(corpus, recipe.detect)(beyond)
    assert caught.value.kind == "beyond_video"


def test_the_lists_are_tables_of_the_corpus(detected: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *_, boxes = detected
    corpus = Corpus(str(tmp_path / "corpus"))
    published = publish(boxes, 1, 0)
    for found in published.values():
        for n, box in found:
            box["pid"] = 100 + n
            del box["conf"]
    videos = {
        NAME: published,
        "germany+berlin+street_demo": published,
        "germany+berlin+not_in_list": published,
        "peru+lima+ABCDEFGHIJK": {3: "nonsense"},
    }
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "vnames.txt").write_text(
        f"{NAME}\ngermany+berlin+street_demo\npasto+pasto+no_boxes_00\nperu+lima+ABCDEFGHIJK\n"
    )
    (lists / "dets.pkl").write_bytes(pickle.dumps(videos))
    files = ["--videos", str(lists / "vnames.txt"), "--detections", str(lists / "dets.pkl"), "--release", "luperson-nl"]
    for _ in range(2):
        assert execute(["import", "luperson", corpus.uri, *files]) == 0
    said = capsys.readouterr().out
    for part in (
        "left out, names with boxes that are not in the list of videos: 1", "left out, listed names without boxes: 1",
        "left out, names of a video that an earlier name refers to: 1",
        "videos that could not be read; see stage import",
        "peru+lima+ABCDEFGHIJK: frame 3", "100% of the boxes' frames are 0 modulo 20",
    ):  # fmt: skip
        assert part in said
    root = tmp_path / "corpus"
    assert ask(root, "SELECT url, video_id, query FROM listings") == [
        ("https://www.youtube.com/watch?v=street_demo", "youtube:street_demo", "germany+tuebingen")
    ]
    total = sum(len(found) for found in boxes.values())
    assert ask(root, "SELECT count(*), count(person), count(confidence) FROM imported") == [(total, total, 0)]
    failed = ask(root, "SELECT unit_id, status, error_type FROM ledger WHERE stage = 'import' AND status <> 'ok'")
    assert failed == [("youtube:ABCDEFGHIJK", "quarantined", "malformed")]
    assert [corpus.relative(info.path) for info in find(corpus, dt.datetime.now(dt.UTC) + dt.timedelta(1))] == []
    wanted = CRAWL.wanted(Snapshot(corpus), Recipe(corpus=corpus.uri)).to_pylist()
    assert [row["unit_id"] for row in wanted] == ["youtube:street_demo"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"dets": b"cposix\nsystem\n(Vtouch /tmp/x\ntR."}, "dets.pkl: refused: it names posix.system"),
        ({"names": "not a name\n"}, "vnames.txt, line 1: 'not a name' is not a country+city+videoId"),
        ({"options": ["--url", "http://x/"]}, "--url 'http://x/': expected a URL with {id} in it"),
        ({"options": ["--url", "file:///{id}"]}, "is not an http:// or https:// URL"),
        ({"dets": pickle.dumps({"peru+lima+ABCDEFGHIJK": {}})}, "no video was imported: none of its names is in"),
        ({"options": ["--detections", "/nowhere.pkl"]}, "/nowhere.pkl: no such file or folder"),
        ({"options": ["--release", "market"]}, "market"),
    ],
)
def test_bad_input_to_import_is_one_line(
    change: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vnames.txt").write_text(change.get("names", f"{NAME}\n"))
    (tmp_path / "dets.pkl").write_bytes(change.get("dets", pickle.dumps({NAME: {}})))
    files = ["--videos", str(tmp_path / "vnames.txt"), "--detections", str(tmp_path / "dets.pkl")]
    assert execute(["import", "luperson", str(tmp_path / "c"), *files, *change.get("options", [])]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_what_concerns_the_model_is_no_part_of_an_imported_fingerprint(tmp_path: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        detect = {"source": "imported"} | changes
        return DETECT.fingerprint(Recipe.model_validate({"corpus": str(tmp_path), "detect": detect}))

    assert fingerprint(model="other.pt", image_size=320, sampling={"every_frames": 3}) == fingerprint()
    assert len({fingerprint(), fingerprint(reference="640x360"), fingerprint(rules={"min_width": 3})}) == 3
    assert fingerprint(source="detector") != fingerprint()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_published_lists_to_crops(detected: Any, tmp_path: Path) -> None:
    detections, crops, boxes = detected
    web = tmp_path / "web"
    web.mkdir()
    shutil.copy(CLIP, web / "street_demo.mp4")
    (tmp_path / "vnames.txt").write_text(f"{NAME}\n")
    dets = tmp_path / "dets"
    dets.mkdir()
    (dets / f"{NAME}.pkl").write_bytes(pickle.dumps(publish(boxes, 1.25, 1)))
    corpus = tmp_path / "corpus"
    files = ["--videos", str(tmp_path / "vnames.txt"), "--detections", str(dets)]
    with serve(web) as address:
        done = reidforge("import", "luperson", str(corpus), *files, "--url", f"{address}/{{id}}.mp4")
        assert done.returncode == 0, done.stderr
        recipe = write_recipe(tmp_path / "r.yaml", corpus, [], tiny_clip(tmp_path / "clip"))
        choice = [
            "--set",
            "detect.source=imported",
            "--set",
            "detect.reference=960x720",
            "--set",
            "detect.rules.min_width=20",  # of the published pixels
            "--set",
            "detect.model=/none.pt",
        ]
        run = functools.partial(reidforge, "run", str(recipe), *choice, "--until", "detect")
        first = run()
        assert first.returncode == 0, first.stderr
        assert "imported boxes of 1 video; the frame size that they refer to: 1 given" in first.stderr
        assert "Nothing to do" in run().stdout
    assert ask(corpus, "SELECT count(*) FROM detections") == [(detections.num_rows,)]
    assert ask(corpus, "SELECT count(*), count(DISTINCT crop_id) FROM crops JOIN imported USING (detection_id)") == [
        (crops.num_rows, crops.num_rows)
    ]
    assert ask(corpus, "SELECT DISTINCT query FROM videos") == [("germany+tuebingen",)]
