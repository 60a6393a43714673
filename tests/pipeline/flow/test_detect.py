"""Detect as a user runs it: what it writes does not depend on how the work was cut or spread."""

from pathlib import Path

import pyarrow as pa
import pytest

import schemas.tables
from pipeline.audit.catalog import connect
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import detect
from pipeline.recipe import Recipe
from tests.corpora import add_media, ledger_row, video_row
from tests.local import run_here
from tests.runs import CLIP, WHOLE, ask, empty_street, reidforge, serve, tiny_clip, write_recipe

pytestmark = pytest.mark.timeout(1200)


def crops(corpus: Path, view: str) -> list[tuple[object, ...]]:
    with connect(Corpus(str(corpus))) as connection:
        return connection.sql(f"SELECT * EXCLUDE (unit_id) FROM {WHOLE.get(view, view)} ORDER BY ALL").fetchall()


@pytest.mark.slow
def test_neither_chunks_nor_workers_change_what_detect_writes(tmp_path: Path) -> None:
    clip = tiny_clip(tmp_path / "clip")
    cuts = {"few": {"chunk_seconds": 30, "actors": 1}, "many": {"chunk_seconds": 7, "actors": 2}}
    changes = {"sampling": {"every_frames": 20, "adaptive": 16}, "pose": {"source": "second_pass"}, "faces": "blur",
               "threads": 1}  # fmt: skip
    with serve(CLIP.parent) as address:
        for name, cut in cuts.items():
            recipe = write_recipe(
                tmp_path / f"{name}.yaml", tmp_path / name, [f"{address}/street.mp4"], clip, detect=changes | cut
            )
            done = reidforge("run", str(recipe), "--until", "detect")
            assert done.returncode == 0, done.stderr
    few, many = ({view: crops(tmp_path / name, view) for view in ("detections", "crops")} for name in cuts)
    assert len(few["crops"]) > 50
    assert few == many


def test_tasks_that_cut_beside_models_on_gpus_write_what_models_on_cpus_cut_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"sampling": {"every_frames": 100}, "image_size": 320, "device": "cpu", "faces": "blur",
              "pose": {"source": "second_pass"}, "rules": {"min_width": 20, "min_confidence": 0.4}}  # fmt: skip
    written = {}
    for gpus in (0.0, 1.0):
        corpus = Corpus(str(tmp_path / f"{gpus:g}"))
        add_media(corpus, "media/a.mp4", CLIP.read_bytes())
        recipe = Recipe.model_validate({"corpus": corpus.root, "detect": chosen})
        run_here(monkeypatch, corpus, recipe, detect, gpus=gpus)
        written[gpus] = {view: crops(Path(corpus.root), view) for view in ("detections", "crops")}
    assert len(written[0.0]["crops"]) > 5
    assert written[0.0] == written[1.0]


# Status of the two chunks of each video, None where there is no row of it yet; what may go is "done" and "bare".
CHUNKS = {
    "done": ("ok", "ok"),
    "bare": ("empty", "ok"),
    "half": ("ok", None),
    "new": (None, None),
    "failed": ("ok", "failed"),
    "quarantined": ("quarantined", "ok"),
    "hopeless": ("quarantined", "quarantined"),
    "retired": ("ok", "retired"),
    "older_recipe": ("ok", "older"),
    "other_media": ("ok", "changed"),
}


def corpus_of_chunks(corpus: Corpus, recipe: Recipe) -> None:
    """A corpus with a media file and two chunks for each video of ``CHUNKS``."""
    videos = [video_row(f"x:{name}", media_path=f"media/{name}.mp4", frames=1000, fps=25.0) for name in CHUNKS]
    corpus.write_table(pa.Table.from_pylist(videos, schemas.tables.VIDEOS), "videos/v.parquet")
    Ledger(corpus, "crawl").append(
        [ledger_row(video["unit_id"], ["videos/v.parquet", video["media_path"]]) for video in videos]
    )
    rows = []
    for name, statuses in CHUNKS.items():
        corpus.put(f"media/{name}.mp4", b"video")
        wanted = [
            row for row in detect.STAGE.wanted(Snapshot(corpus), recipe).to_pylist() if row["video_id"] == f"x:{name}"
        ]
        for unit, status in zip(wanted, statuses, strict=True):
            row = ledger_row(unit["unit_id"], inputs=unit["inputs"], fingerprint=detect.STAGE.fingerprint(recipe))
            changes = {"older": {"fingerprint": "f"}, "changed": {"inputs": "i"}}.get(status or "", {"status": status})
            rows += [row | changes] if status else []
    Ledger(corpus, "detect").append(rows)


@pytest.mark.parametrize("keep", [True, False])
def test_only_the_media_of_videos_that_are_done_is_removed(tmp_path: Path, keep: bool) -> None:
    recipe = Recipe.model_validate(
        {"corpus": str(tmp_path), "crawl": {"keep_media": keep}, "detect": {"chunk_seconds": 20}}
    )
    corpus = Corpus(str(tmp_path))
    corpus_of_chunks(corpus, recipe)
    corpus.put("media/unknown.mp4", b"of no row")
    detect.STAGE.finish(Snapshot(corpus), recipe)
    left = {path.stem for path in (tmp_path / "media").iterdir()}
    assert {*CHUNKS, "unknown"} - left == (set() if keep else {"done", "bare"})


def test_media_with_a_damaged_chunk_stays_until_a_retry_has_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus(str(tmp_path / "corpus"))
    whole = empty_street(tmp_path / "a.mkv").read_bytes()
    add_media(corpus, "media/a.mkv", whole)
    corpus.put("media/a.mkv", whole[: len(whole) // 2])
    recipe = Recipe.model_validate({
        "corpus": corpus.root, "crawl": {"keep_media": False}, "run": {"max_attempts": 1},
        "detect": {"chunk_seconds": 2, "image_size": 320, "device": "cpu", "sampling": {"every_frames": 5}},
    })  # fmt: skip
    assert run_here(monkeypatch, corpus, recipe, detect).failed > 0
    assert corpus.exists("media/a.mkv")
    corpus.put("media/a.mkv", whole)
    assert run_here(monkeypatch, corpus, recipe, detect, retry=True).failed == 0
    assert not corpus.exists("media/a.mkv")
    assert {status for (status,) in ask(Path(corpus.root), "SELECT status FROM ledger WHERE stage = 'detect'")} <= {
        "ok", "empty",
    }  # fmt: skip
