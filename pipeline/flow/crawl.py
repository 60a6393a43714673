"""Crawl on Ray: one unit = one video, downloaded to a scratch folder, probed and copied into the corpus."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow.detect_imported import IMPORT
from pipeline.flow.discover import LISTINGS
from pipeline.flow.discover import STAGE as DISCOVER
from pipeline.flow.videos import MEDIA, VIDEOS, first_of_each
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, unit_columns
from pipeline.run.stream import Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from stages.arrays import table_of
from stages.crawl.config import CrawlConfig
from stages.crawl.sources.known_sources import name_video
from stages.crawl.targets import given_urls
from stages.video.facts import VideoFacts
from stages.video.limits import VideoLimits

# Few, so that a crawl of weeks commits often; rows are small, and the table is read whole anyway.
_UNITS_PER_FILE = 16

_WANTED = pa.schema([pa.field("url", pa.string()), pa.field("query", pa.string())])


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    given = list(given_urls(recipe.crawl))
    columns = ["video_id", "url", "query"]
    names = pa.array([name_video(url) for url in given], pa.string())
    tables = [
        table_of({"video_id": names, "url": pa.array(given, pa.string()), "query": pa.nulls(len(given), pa.string())})
    ]
    tables += [snapshot.read(writer, LISTINGS, columns) for writer in (DISCOVER.name, IMPORT.name)]
    rows = first_of_each(pa.concat_tables(table.cast(tables[0].schema) for table in tables), "video_id")
    chosen = {"unit_id": rows["video_id"], "inputs": pa.repeat("", len(rows))}
    return unit_columns(chosen | {name: rows[name] for name in _WANTED.names}, _WANTED)


def _execute(job: Job) -> Iterator[pa.Table]:
    recipe = job.recipe
    make_fetch = functools.partial(_make_fetch, job.corpus, recipe.crawl, recipe.detect.limits)
    operators = [Operator(make_step=make_fetch, fields=RESULT, cpus=0.25, tasks=recipe.crawl.concurrency)]
    return stream(job, operators, min(_UNITS_PER_FILE, recipe.crawl.concurrency))


def _make_fetch(corpus: Corpus, config: CrawlConfig, limits: VideoLimits) -> Step:
    from stages.crawl.download import fetch
    from stages.crawl.video_rows import video_row
    from stages.video.watch import within

    def crawl(row: Row) -> Row:
        with tempfile.TemporaryDirectory(prefix="reidforge-") as scratch:
            fetched = fetch(row["url"], Path(scratch), config)
            facts = within(limits.max_seconds, functools.partial(_probe, fetched.path, limits))
            media = f"{MEDIA}/{digest(row['unit_id'])}{fetched.path.suffix}"
            video = video_row(fetched, facts, media_path=media, query=row["query"], unit_id=row["unit_id"])
            corpus.upload(fetched.path, media)
        return result({VIDEOS.name: video}, "")

    return crawl


def _probe(path: Path, limits: VideoLimits) -> VideoFacts:
    from stages.video.probe import probe

    with path.open("rb") as file:
        return probe(file, limits)


def _identity(recipe: Recipe) -> dict[str, Any]:
    return recipe.crawl.identity()


def _check(recipe: Recipe) -> None:
    try:
        list(given_urls(recipe.crawl))
    except ValueError as error:
        raise UserError(str(error)) from error


STAGE = Stage(
    name="crawl",
    tables=(VIDEOS,),
    unit="video",
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
    # crawl.cookies_file is a secret, and stays out of the record.
    files=lambda recipe: {f"crawl.url_files.{n}": name for n, name in enumerate(recipe.crawl.url_files)},
    # Users remove old lines from a list that grows every week; the videos crawled from them stay.
    retires=False,
)
