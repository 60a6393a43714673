"""Discover on Ray: one unit = one search query or playlist, listed without downloading videos."""

import functools
from collections.abc import Iterator

import pyarrow as pa

import schemas.tables
from pipeline.corpus.snapshot import Snapshot
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, units
from pipeline.run.stream import Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from schemas.declaration import Table
from stages.crawl.config import CrawlConfig
from stages.crawl.targets import listing_queries

LISTINGS = Table(
    name="listings",
    folder="listings",
    schema=schemas.tables.LISTINGS,
    row="one row per video named by a search, a playlist or an imported list",
)


def _wanted(_: Snapshot, recipe: Recipe) -> pa.Table:
    return units([{"unit_id": query, "inputs": ""} for query in listing_queries(recipe.crawl)], pa.schema([]))


def _execute(job: Job) -> Iterator[pa.Table]:
    make_list = functools.partial(_make_list, job.recipe.crawl)
    return stream(job, [Operator(make_step=make_list, fields=RESULT, tasks=job.recipe.crawl.concurrency)], 64)


def _make_list(config: CrawlConfig) -> Step:
    from stages.crawl.listing import list_entries

    def list_query(row: Row) -> Row:
        entries = [entry | {"unit_id": row["unit_id"]} for entry in list_entries(row["unit_id"], config)]
        listed = pa.Table.from_pylist(entries, schema=schemas.tables.LISTINGS)
        return result({LISTINGS.name: listed}, "the site lists no video for it")

    return list_query


STAGE = Stage(
    name="discover",
    tables=(LISTINGS,),
    unit="query",
    version=1,
    identity=lambda _: {},
    wanted=_wanted,
    execute=_execute,
)
