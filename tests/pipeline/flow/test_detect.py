"""Detect as a user runs it: what it writes does not depend on how the work was cut or spread."""

from pathlib import Path

import pytest

from pipeline.audit.catalog import connect
from pipeline.corpus.files import Corpus
from pipeline.flow import detect
from pipeline.recipe import Recipe
from tests.corpora import add_media
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
