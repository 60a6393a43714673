"""The detect stage as ``reidforge run`` runs it, on a local cluster, into a new corpus."""

import contextlib
import logging
import os
import tempfile
from pathlib import Path

from rich.console import Console

import schemas.tables
from benchmarks.detect.measure import FLOOR, MAX_ASPECT, MIN_ASPECT, MIN_CONFIDENCE, MIN_WIDTH, Task, report
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.detect import CROPS, STAGE
from pipeline.flow.videos import VIDEOS
from pipeline.recipe import Recipe
from pipeline.run import cluster
from pipeline.run.runner import RunContext, StageSummary, run_stage
from schemas.declaration import Table
from stages.crawl.download import Fetched
from stages.crawl.video_rows import video_row
from stages.video.limits import VideoLimits
from stages.video.probe import probe


def street(folder: Path, task: Task, **detect: object) -> tuple[Corpus, Recipe]:
    """A corpus with the task's number of copies of the video, already crawled; and the task's recipe."""
    rules = {
        "min_confidence": MIN_CONFIDENCE, "min_width": MIN_WIDTH, "min_aspect": MIN_ASPECT, "max_aspect": MAX_ASPECT,
    }  # fmt: skip
    wanted = {
        "model": task.weights, "confidence_floor": FLOOR, "sampling": {"every_frames": task.every}, "rules": rules,
    } | detect  # fmt: skip
    recipe = Recipe.model_validate({"corpus": str(folder), "detect": wanted, "run": {"cpus": task.cores}})
    corpus = Corpus(str(folder))
    _crawl(corpus, task)
    return corpus, recipe


def _crawl(corpus: Corpus, task: Task) -> None:
    import datetime as dt

    import pyarrow as pa

    corpus.upload(Path(task.video), "media/street.mp4")
    with Path(task.video).open("rb") as file:
        facts = probe(file, VideoLimits())
    rows, outcomes = [], []
    for copy in range(task.copies):
        video = f"bench:{copy:04d}"
        fetched = Fetched(
            path=Path(task.video),
            video_id=video,
            url=f"http://localhost/{copy}",
            info={},
            fetched_at=dt.datetime.now(dt.UTC),
        )
        rows.append(video_row(fetched, facts, media_path="media/street.mp4", query=None, unit_id=video))
        outcomes.append(_outcome(video))
    corpus.write_table(pa.concat_tables(rows).cast(schemas.tables.VIDEOS), f"{VIDEOS.folder}/bench.parquet")
    Ledger(corpus, "crawl").append(outcomes)


def _outcome(unit: str) -> dict[str, object]:
    return {
        "unit_id": unit, "scope": "", "inputs": "", "fingerprint": "bench", "status": "ok", "attempts": 1,
        "outputs": [f"{VIDEOS.folder}/bench.parquet"], "rows_out": 1, "seconds": 0.0, "run_id": "bench",
    }  # fmt: skip


def detect(corpus: Corpus, recipe: Recipe) -> StageSummary:
    """Run the detect stage on the running cluster."""
    with Path(os.devnull).open("w") as nowhere:
        run = RunContext(snapshot=Snapshot(corpus), recipe=recipe, run_id="bench", console=Console(file=nowhere))
        return run_stage(run, STAGE)


def count(corpus: Corpus, table: Table) -> int:
    """Number of valid rows of a table."""
    return Snapshot(corpus).read(STAGE.name, table, ["unit_id"]).num_rows


def main() -> None:
    """Run the task, and report."""
    task = Task.given()
    logging.getLogger("reidforge").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="reidforge-bench-") as folder, contextlib.ExitStack() as stack:
        corpus, recipe = street(Path(folder) / "corpus", task)
        cluster.connect(None, recipe.run)
        stack.callback(cluster.disconnect)
        summary = detect(corpus, recipe)
        if summary.failed:
            raise SystemExit(f"{summary.failed} chunks failed: {summary.reasons}")
        report(task.copies * -(-_frames(corpus) // task.every), count(corpus, CROPS))


def _frames(corpus: Corpus) -> int:
    return int(corpus.read_table(f"{VIDEOS.folder}/bench.parquet")["frames"][0].as_py())


if __name__ == "__main__":
    main()
