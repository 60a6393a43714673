"""Detect as a user runs it: what it writes does not depend on how the work was cut or spread."""

from pathlib import Path

import pytest

from pipeline.catalog import connect
from pipeline.corpus import Corpus
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
