"""Detect as a user runs it: what it writes does not depend on how the work was cut or spread."""

from pathlib import Path

import pyarrow as pa
import pytest

import schemas.tables as tables
from pipeline.catalog import connect
from pipeline.corpus import Corpus
from pipeline.flow import detect
from pipeline.ledger import Ledger
from pipeline.recipe import Recipe
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.corpora import ledger_row, video_row
from tests.local import run_here
from tests.runs import CLIP, reidforge, serve, tiny_clip, write_recipe

pytestmark = pytest.mark.timeout(1200)


def crops(corpus: Path, view: str) -> list[tuple[object, ...]]:
    with connect(Corpus(str(corpus))) as connection:
        return connection.sql(f"SELECT * EXCLUDE (unit_id) FROM {view} ORDER BY ALL").fetchall()


@pytest.mark.slow
def test_neither_chunks_nor_workers_change_what_detect_writes(tmp_path: Path) -> None:
    clip = tiny_clip(tmp_path / "clip")
    cuts = {"few": {"chunk_seconds": 30, "actors": 1}, "many": {"chunk_seconds": 7, "actors": 2}}
    changes = {"sampling": {"every_frames": 10, "adaptive": 16}, "pose": {"source": "second_pass"}, "faces": "blur",
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


def crawled(folder: Path) -> Corpus:
    """A corpus that has the street video."""
    corpus = Corpus(str(folder))
    with CLIP.open("rb") as file:
        facts = probe(file, VideoLimits())
    row = video_row("x:a") | facts.to_row() | {"media_path": "media/a.mp4"}
    corpus.upload(CLIP, "media/a.mp4")
    corpus.write_table(pa.Table.from_pylist([row], tables.VIDEOS), "videos/a.parquet")
    Ledger(corpus, "crawl").append([ledger_row("url-a", ["videos/a.parquet", "media/a.mp4"])])
    return corpus


def test_tasks_that_cut_beside_models_on_gpus_write_what_models_on_cpus_cut_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"sampling": {"every_frames": 100}, "image_size": 320, "device": "cpu", "faces": "blur",
              "pose": {"source": "second_pass"}, "rules": {"min_width": 20, "min_confidence": 0.4}}  # fmt: skip
    written = {}
    for gpus in (0.0, 1.0):
        corpus = crawled(tmp_path / f"{gpus:g}")
        recipe = Recipe.model_validate({"corpus": corpus.root, "detect": chosen})
        run_here(monkeypatch, corpus, recipe, detect, gpus=gpus)
        written[gpus] = {view: crops(Path(corpus.root), view) for view in ("detections", "crops")}
    assert len(written[0.0]["crops"]) > 5
    assert written[0.0] == written[1.0]
