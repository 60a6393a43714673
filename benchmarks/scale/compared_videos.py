"""Track and dedup in a synthetic corpus: units are videos, over their chunks that count."""

import itertools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.scale import persons
from benchmarks.scale.columns import choose, objects, pick
from benchmarks.scale.growth import Growth, as_list, file_numbers, files_of, new_videos, own
from benchmarks.scale.noise import Ints
from benchmarks.scale.settings import Run
from benchmarks.scale.videos import chunks
from benchmarks.scale.writing import Outcomes, commit, file_name, path_of, write_file
from pipeline.corpus.files import digest
from pipeline.flow import dedup, detect, track
from pipeline.recipe import Recipe
from pipeline.run.stage import Stage
from schemas.declaration import Table

_VIDEOS_PER_FILE: Final = 64
_TABLES: Final = {table.name: table for table in (*track.STAGE.tables, *dedup.STAGE.tables)}


class VideoFile(NamedTuple):
    """Videos whose rows share a file.

    Attributes:
        name: Name of the file.
        chunks: Numbers of their chunks that have rows.
        tables: Tables of the stage.
        write: Those that are not written yet.
    """

    name: str
    chunks: Ints
    tables: tuple[str, ...]
    write: tuple[str, ...]


class Video(NamedTuple):
    """A unit of track or of dedup.

    Attributes:
        unit_id: The video.
        inputs: Digest of its inputs.
        chunks: Numbers of its chunks that have rows.
    """

    unit_id: str
    inputs: str
    chunks: Ints


def track_videos(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Tracklets of the run's videos, over their detections."""
    stage = track.STAGE
    units = _video_units(growth, run, growth.detections, detect.DETECTIONS, with_rate=True)
    _compare(growth, run, stage, units, stage.fingerprint(recipe), "no person was seen in two frames")


def dedup_videos(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Statics and duplicates of the run's videos, over their crops."""
    stage = dedup.STAGE
    units = _video_units(growth, run, growth.crops, detect.CROPS, with_rate=False)
    _compare(growth, run, stage, units, stage.fingerprint(recipe), "no two crops of the video are alike")


def _video_units(growth: Growth, run: Run, rows: Ints, source: Table, *, with_rate: bool) -> list[Video]:
    """Units in the order of their ids; the digest of their inputs names the files and the chunks with rows in them."""
    videos = growth.videos
    there = videos.chunks_of(new_videos(run))
    there = there[(growth.pack_of[there] >= 0) & (rows[there] > 0)]
    cut, packs = chunks(videos, there), growth.pack_of[there]
    paths = np.array([path_of(source, "", pack.name) for pack in growth.packs], dtype=object)
    _, path = np.unique(paths[packs], return_inverse=True)
    _, video = np.unique(objects(cut.video_id), return_inverse=True)
    order = np.lexsort((there, path, video))
    columns = (video[order].tolist(), paths[packs[order]].tolist(), as_list(pick(cut.unit_id, order)))
    units, at = [], 0
    for _, group in itertools.groupby(zip(*columns, strict=True), key=lambda row: row[0]):
        own_rows = list(group)
        own_chunks = there[order[at : at + len(own_rows)]]
        position = cut.video[order[at]]
        pieces = [
            f"{place}:{','.join(unit for _, _, unit in piece)}:"
            for place, piece in itertools.groupby(own_rows, key=lambda row: row[1])
        ]
        rate = [str(float(videos.fps[position]))] if with_rate else []
        units.append(Video(own_rows[0][2].rpartition("/")[0], digest(*rate, *pieces), own_chunks))
        at += len(own_rows)
    return units


def _compare(growth: Growth, run: Run, stage: Stage, units: list[Video], fingerprint: str, reason: str) -> None:
    tables = tuple(table.name for table in stage.tables)
    files = []
    for part in files_of(len(units), _VIDEOS_PER_FILE):
        inside = units[part]
        name = file_name(fingerprint, [unit.unit_id for unit in inside], [unit.inputs for unit in inside])
        write = growth.missing(stage.tables, "", name)
        files.append(VideoFile(name, np.concatenate([unit.chunks for unit in inside]), tables, write))
    counts = list(growth.run_all(_write_videos, files))
    rows = [np.concatenate(column) for column in zip(*counts, strict=True)]
    has = rows[-1] > 0
    outcomes = Outcomes(
        unit_id=pa.array([unit.unit_id for unit in units]), inputs=pa.array([unit.inputs for unit in units]),
        status=choose([has, ~has], ["ok", "empty"]), attempts=np.ones(len(units), np.int64),
        error_type=choose([~has], ["empty"]), error_message=choose([~has], [reason]),
        paths=[[path_of(table, "", one.name) for one in files] for table in stage.tables],
        file=file_numbers(len(units), _VIDEOS_PER_FILE), rows=rows,
        seconds=growth.work_time(stage.name, np.arange(len(units))),
    )  # fmt: skip
    commit(growth.corpus, stage.name, [outcomes.table(fingerprint, run.run_id)])


def _write_videos(one: VideoFile) -> list[Ints]:
    """Write the tables of some videos; returns the rows of each video, table by table."""
    corpus, videos, _ = own()
    cut = chunks(videos, np.sort(one.chunks))
    found = persons.find_persons(videos, cut)
    if track.TRACKS.name not in one.tables:
        found = found.crops()
    ids = pick(cut.video_id, found.chunk)
    make: dict[str, Callable[[], pa.Table]] = {
        track.TRACKS.name: lambda: persons.tracks_table(found, ids),
        dedup.STATICS.name: lambda: persons.statics_table(found, ids),
        dedup.DUPLICATES.name: lambda: persons.duplicates_table(found, ids),
    }
    names: Any = np.unique(objects(cut.video_id))
    counts = []
    for name in one.tables:
        rows = make[name]().sort_by("unit_id")
        if name in one.write:
            write_file(corpus, _TABLES[name], rows, path_of(_TABLES[name], "", one.name))
        seen = np.searchsorted(names, objects(rows["unit_id"])).astype(np.int64)
        counts.append(np.bincount(seen, minlength=len(names)))
    return counts
