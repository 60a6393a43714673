"""Discover and crawl in a synthetic corpus: listings, videos, and downloads that fail."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from benchmarks.scale import noise
from benchmarks.scale.columns import Column, choose, joined, lists, pick, ranks, same, table, text
from benchmarks.scale.growth import Growth, as_list, file_numbers, files_of
from benchmarks.scale.noise import Ints
from benchmarks.scale.settings import Run, given_by_address
from benchmarks.scale.videos import video_ids
from benchmarks.scale.writing import Outcomes, commit, file_name, path_of, write_file
from pipeline.corpus.files import digest
from pipeline.flow import crawl, discover
from pipeline.flow.videos import MEDIA, VIDEOS
from pipeline.recipe import Recipe

_QUERIES_PER_FILE: Final = 64
_VIDEOS_PER_FILE: Final = 16

_LICENCES: Final = np.array(["Creative Commons Attribution license (reuse allowed)", "CC-BY", "YouTube", ""])
_LICENCE_SHARES: Final = np.array([0.10, 0.05, 0.25, 0.60])
_KEY_FRAME_SECONDS: Final = 5.0
_TICKS: Final = 90_000
_BYTES_PER_SECOND: Final = 280_000
_MONDAY: Final = np.datetime64("2026-01-05")

_GONE: Final = ("private", "the video is private (Private video. Sign in if you've been granted access)")
_SLOW: Final = ("timeout", "no answer within 3600 s")


def list_videos(growth: Growth, run: Run, recipe: Recipe) -> None:
    """List the run's videos by its queries, and one in a hundred of them once more."""
    queries, count = run.queries, len(run.queries)
    names: Column = pa.array(queries, pa.string())
    listed, query = _listed(growth, run)
    counts = np.bincount(query, minlength=count)
    rows = _listings_table(growth, listed, pick(names, query), counts)
    fingerprint = discover.STAGE.fingerprint(recipe)
    paths = []
    for part in files_of(count, _QUERIES_PER_FILE):
        paths.append(path_of(discover.LISTINGS, "", file_name(fingerprint, queries[part], [""] * len(queries[part]))))
        if paths[-1] not in growth.there:
            own = rows.filter(pc.is_in(rows["unit_id"], names[part]))
            write_file(growth.corpus, discover.LISTINGS, own, paths[-1])
    outcomes = Outcomes(
        unit_id=names, inputs=same("", count), status=same("ok", count), attempts=np.ones(count, np.int64),
        error_type=pa.nulls(count, pa.string()), error_message=pa.nulls(count, pa.string()), paths=[paths],
        file=file_numbers(count, _QUERIES_PER_FILE), rows=[counts],
        seconds=growth.work_time("discover", np.arange(count)),
    )  # fmt: skip
    commit(growth.corpus, discover.STAGE.name, [outcomes.table(fingerprint, run.run_id)])


def crawl_videos(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Download the run's videos; those that fail are tried three times, or given up at once."""
    seed, fingerprint = growth.seed, crawl.STAGE.fingerprint(recipe)
    todo = np.concatenate([np.arange(run.first, run.stop), np.array(run.failing, np.int64)])
    todo = todo[np.argsort(noise.bits(seed, "crawl order", todo), kind="stable")]
    fails = todo >= growth.videos.count
    private = fails & (noise.uniform(seed, "private", todo) < 0.6)
    ids = video_ids(seed, todo)
    names = as_list(ids)
    paths = []
    for part in files_of(len(todo), _VIDEOS_PER_FILE):
        paths.append(path_of(VIDEOS, "", file_name(fingerprint, names[part], [""] * len(names[part]))))
        good = todo[part][~fails[part]]
        if len(good) and paths[-1] not in growth.there:
            write_file(growth.corpus, VIDEOS, _videos_table(growth, run, good).sort_by("unit_id"), paths[-1])
    file, tables = file_numbers(len(todo), _VIDEOS_PER_FILE), []
    for attempt, bad in ((1, fails), (2, fails & ~private), (3, fails & ~private)):
        rows = np.flatnonzero(np.ones_like(bad) if attempt == 1 else bad)
        lost, gone = bad[rows], private[rows]
        settled = gone | (lost & (attempt == 3))
        tables.append(
            Outcomes(
                unit_id=pick(ids, rows), inputs=same("", len(rows)), attempts=np.full(len(rows), attempt),
                status=choose([~lost, settled, lost], ["ok", "quarantined", "failed"]),
                error_type=choose([gone, lost], [_GONE[0], _SLOW[0]]),
                error_message=choose([gone, lost], [_GONE[1], _SLOW[1]]), paths=[paths], file=file[rows],
                rows=[(~lost).astype(np.int64)], seconds=growth.work_time("crawl", todo[rows]),
            ).table(fingerprint, run.run_id)
        )  # fmt: skip
    commit(growth.corpus, crawl.STAGE.name, tables)


def given_addresses(growth: Growth) -> list[str]:
    """Addresses of the videos that are given by them."""
    positions = np.flatnonzero(_given(growth, np.arange(growth.videos.count)))
    return as_list(_urls(pick(growth.videos.ids, positions)))


def media_digests(seed: int, positions: Ints) -> list[str]:
    """SHA-256 of the media of videos."""
    parts = [noise.bits(seed, f"sha256 {place}", positions).tolist() for place in range(4)]
    return ["".join(f"{part:016x}" for part in each) for each in zip(*parts, strict=True)]


def _listed(growth: Growth, run: Run) -> tuple[Ints, Ints]:
    """Videos that the run's queries list, in the order of the queries, and the query of each."""
    positions = np.concatenate([np.arange(run.first, run.stop), np.array(run.failing, np.int64)])
    positions = positions[~_given(growth, positions)]
    again = positions[noise.uniform(growth.seed, "listed again", positions) < 0.01]
    listed = np.concatenate([positions, again])
    rows = np.arange(len(listed)) + (run.number << 32)
    query = noise.below(growth.seed, "query", rows, len(run.queries))
    order = np.argsort(query, kind="stable")
    return listed[order], query[order]


def _listings_table(growth: Growth, listed: Ints, query: Column, counts: Ints) -> pa.Table:
    ids = video_ids(growth.seed, listed)
    columns = {
        "unit_id": query,
        "position": pa.array(ranks(counts)),
        "url": _urls(ids),
        "video_id": ids,
        "title": _titles(growth, listed),
        "query": query,
    }
    return table(columns, schemas.tables.LISTINGS)


def _given(growth: Growth, positions: Ints) -> Any:
    return given_by_address(growth.seed, positions) & (positions < growth.videos.count)


def _urls(ids: Column) -> Column:
    return pc.replace_substring(ids, "youtube:", "https://www.youtube.com/watch?v=")


def _titles(growth: Growth, positions: Ints) -> Column:
    return joined("", "Walk ", text(positions), f" of seed {growth.seed}")


def _videos_table(growth: Growth, run: Run, positions: Ints) -> pa.Table:
    videos, seed, count = growth.videos, growth.seed, len(positions)
    ids, fps, frames = pick(videos.ids, positions), videos.fps[positions], videos.frames[positions]
    licence = _LICENCES[np.searchsorted(np.cumsum(_LICENCE_SHARES), noise.uniform(seed, "licence", positions) * 0.999)]
    query = np.array(run.queries)[noise.below(seed, "query", positions, len(run.queries))]
    uploaded = np.datetime64("2015-01-01") + noise.below(seed, "uploaded", positions, 3900)
    crawled = (_MONDAY + 7 * run.number).astype("datetime64[us]").item()
    columns: dict[str, Column] = {
        "video_id": ids,
        "unit_id": ids,
        "extractor": same("youtube", count),
        "source_url": _urls(ids),
        "query": pa.array(query, pa.string(), mask=_given(growth, positions)),
        "title": _titles(growth, positions),
        "uploader": joined("", "channel ", text(noise.below(seed, "uploader", positions, 4000))),
        "upload_date": pa.array(uploaded),
        "license": pa.array(licence, pa.string(), mask=licence == ""),
        "media_path": pa.array([f"{MEDIA}/{digest(name)}.mp4" for name in as_list(ids)]),
        "media_bytes": pa.array((frames / fps * _BYTES_PER_SECOND).astype(np.int64)),
        "media_sha256": pa.array(media_digests(seed, positions)),
        "container": same("mov,mp4,m4a,3gp,3g2,mj2", count),
        "codec": same("h264", count),
        "width": same(1280, count),
        "height": same(720, count),
        "rotation": same(0, count),
        "fps": pa.array(fps),
        "duration_s": pa.array(frames / fps),
        "frames": pa.array(frames),
        "time_base_num": same(1, count),
        "time_base_den": same(_TICKS, count),
        "key_frames": _key_frames(fps, frames),
        "crawled_at": same(crawled, count, pa.timestamp("us", tz="UTC")),
    }
    return table(columns, schemas.tables.VIDEOS)


def _key_frames(fps: Any, frames: Ints) -> Column:
    """One key frame in five seconds."""
    distance = np.round(fps * _KEY_FRAME_SECONDS).astype(np.int64)
    counts = -(-frames // distance)
    index = ranks(counts) * np.repeat(distance, counts)
    pts = np.round(index / np.repeat(fps, counts) * _TICKS).astype(np.int64)
    points = pa.StructArray.from_arrays([pa.array(index), pa.array(pts)], fields=list(schemas.tables.KEY_FRAME))
    return lists(counts, points)
