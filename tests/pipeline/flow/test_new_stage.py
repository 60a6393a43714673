"""A stage that nothing knows but its own module and the order: everything else follows from its declaration.

The product is copied, a module is put into ``pipeline/flow`` and into ``pipeline/flow/order.py``, and the commands run
from the copy.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.corpus.files import Corpus
from tests.corpora import VIDEOS, small_corpus
from tests.runs import ROOT

TOY = '''
"""A toy stage: counts the letters of each video's id, for a caption variant."""

from collections.abc import Iterator

import pyarrow as pa

from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.videos import live_videos
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, units
from pipeline.run.units import RESULT, Row, result, run_step, start, write_units
from schemas.declaration import Table

LETTERS = Table(
    name="letters",
    folder="letter_counts",
    schema=pa.schema([
        pa.field("video_id", pa.string(), nullable=False, metadata={"doc": "the video"}),
        pa.field("unit_id", pa.string(), nullable=False, metadata={"doc": "the unit"}),
        pa.field("letters", pa.int64(), metadata={"doc": "characters of its id"}),
    ]),
    row="one row per variant and video",
    scope="variant",
)


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    videos = [] if recipe.publish.split_seed else live_videos(snapshot, [])["video_id"].to_pylist()
    return units([{"unit_id": video, "inputs": ""} for video in videos], pa.schema([]))


def _count(row: Row) -> Row:
    columns = {"video_id": [row["unit_id"]], "unit_id": [row["unit_id"]], "letters": [len(row["unit_id"])]}
    return result({LETTERS.name: pa.table(columns, schema=LETTERS.schema)}, "")


def _execute(job: Job) -> Iterator[pa.Table]:
    for block in start(job.todo, job.scope):
        yield write_units(run_step(block, _count, RESULT), job.corpus, job.fingerprint, job.tables)


STAGE = Stage(
    name="toy",
    tables=(LETTERS,),
    unit="video",
    version=1,
    identity=lambda _: {},
    wanted=_wanted,
    execute=_execute,
    scope=lambda recipe: recipe.caption.variant,
)
'''

RUN = """
import sys

from rich.console import Console

from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.order import select_stages
from pipeline.recipe import Recipe
from pipeline.run.runner import RunContext, run_stage

root, variant, seed = sys.argv[1:]
blocks = {"caption": {"variant": variant}, "publish": {"split_seed": int(seed)}}
recipe = Recipe.model_validate({"corpus": root} | blocks)
(stage,) = select_stages("toy", "toy")
run = RunContext(snapshot=Snapshot(Corpus(root)), recipe=recipe, run_id="r", console=Console(quiet=True))
summary = run_stage(run, stage)
assert not summary.failed, summary
"""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A copy of the product with the toy in its order."""
    copy = tmp_path / "product"
    for package in ("pipeline", "schemas", "stages"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pipeline/flow/toy.py").write_text(TOY)
    order = copy / "pipeline/flow/order.py"
    text = order.read_text()
    for line, more in (("    track,\n", "    toy,\n"), ("    pretrain.STAGE,\n", "    toy.STAGE,\n")):
        assert text.count(line) == 1
        text = text.replace(line, line + more)
    order.write_text(text)
    return copy


def python(product: Path, *arguments: str, code: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": str(product), "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=product,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_sql_gc_variant_drop_status_and_report_know_a_stage_that_only_its_module_declares(
    product: Path, tmp_path: Path
) -> None:
    corpus = small_corpus(str(tmp_path / "corpus"), variants=("base", "other"))

    def say(*arguments: str, code: int = 0) -> str:
        return python(product, "-m", "pipeline", *arguments, code=code)

    def sql(query: str) -> list[str]:
        return say("sql", corpus.root, query, "--format", "csv").splitlines()[1:]

    for variant in ("base", "other"):
        python(product, "-c", RUN, corpus.root, variant, "0")
    assert sql("SELECT variant, count(*), sum(letters) FROM letters GROUP BY 1 ORDER BY 1") == [
        "base,3,33",
        "other,3,33",
    ]
    assert sql("SELECT comment FROM duckdb_views() WHERE view_name = 'letters' AND schema_name = 'main'") == [
        "one row per variant and video"
    ]
    columns = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'letters' AND schema_name = 'main'"
    assert sql(f"{columns} ORDER BY 1") == [
        "letters,characters of its id",
        "unit_id,the unit",
        "variant,caption variant",
        "video_id,the video",
    ]

    status = [line.split() for line in say("status", corpus.root).splitlines()]
    stages = [words[0] for words in status if words and words[-1].isdigit()]
    assert stages[-3:] == ["publish", "pretrain", "toy"], "as in the order"
    assert ["toy", "6", "0", "0", "0", "6", "0"] in status
    toys = [line.split() for line in say("report", corpus.root, "--variant", "other").splitlines() if "toy" in line]
    assert [words[:4] for words in toys] == [["toy", "3", "0", "0"]], "the other variant's units are not its own"

    python(product, "-c", RUN, corpus.root, "base", "1")
    assert say("gc", corpus.root, "--min-age", "0").count("letter_counts/base/") == len(VIDEOS)
    assert sql("SELECT DISTINCT variant FROM letters") == ["other"]
    assert "3 toy units" in say("variant", "drop", corpus.root, "other", "--yes", code=2), "it is in use"
    assert "3 toy units" in say("variant", "drop", corpus.root, "other", "--yes", "--cascade")
    assert "letter_counts/other/" in say("gc", corpus.root, "--min-age", "0")
    assert list(Corpus(corpus.root).files("letter_counts")) == []
    assert sql("SELECT count(*) FROM letters") == ["0"]
