"""Detect in a synthetic corpus: packs of detections and crops, chunks that fail, and their retries."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.scale import noise, persons
from benchmarks.scale.columns import Column, choose, objects, pick
from benchmarks.scale.crawled_videos import media_digests
from benchmarks.scale.growth import Growth, Pack, as_list, file_numbers, files_of, new_videos, own
from benchmarks.scale.noise import Ints
from benchmarks.scale.settings import Run
from benchmarks.scale.videos import chunks
from benchmarks.scale.writing import Outcomes, commit, file_name, path_of, write_file
from pipeline.flow import detect
from pipeline.recipe import Recipe

Mask = npt.NDArray[np.bool_]

# Shares of the chunks that fail: at their first attempt, at each further one, and for good.
_FAILED, _FAILED_AGAIN, _DAMAGED = 0.003, 0.3, 0.0005
_ATTEMPTS: Final = (1, 2, 3)

_LOST: Final = ("worker_lost", "the worker process died while it worked on this unit (crash or out of memory)")
_BROKEN: Final = ("damaged", "the video cannot be decoded (Invalid data found when processing input)")


def detect_chunks(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Detect the chunks of the run's videos, and those that fail again."""
    fingerprint, new = detect.STAGE.fingerprint(recipe), new_videos(run)
    # A run takes videos in the order of their files, whose names are digests.
    todo = growth.videos.chunks_of(new[np.argsort(noise.bits(growth.seed, "file order", new // 16), kind="stable")])
    growth.pack_of[todo] = -1
    damaged = noise.uniform(growth.seed, "damaged", todo) < _DAMAGED
    tables = []
    for attempt in _ATTEMPTS:
        chance = _FAILED if attempt == 1 else _FAILED_AGAIN
        fails = ~damaged & (noise.uniform(growth.seed, f"fails in {run.number}, {attempt}", todo) < chance)
        tables.append(_detect_pass(growth, todo, fails, damaged, attempt, fingerprint).table(fingerprint, run.run_id))
        todo, damaged = todo[fails], damaged[fails]
    commit(growth.corpus, detect.STAGE.name, tables)


def _detect_pass(growth: Growth, todo: Ints, fails: Mask, damaged: Mask, attempt: int, fingerprint: str) -> Outcomes:
    cut, good, per_file = chunks(growth.videos, todo), ~fails & ~damaged, growth.recipe.detect.units_per_file
    inputs = _inputs(growth, cut.video)
    first = len(growth.packs)
    growth.packs += _packs(growth, todo, as_list(cut.unit_id), as_list(inputs), good, fingerprint)
    added, file = growth.packs[first:], file_numbers(len(todo), per_file)
    for pack, (found, kept) in zip(added, growth.run_all(_write_pack, added), strict=True):
        growth.detections[pack.chunks], growth.crops[pack.chunks] = found, kept
    growth.pack_of[todo[good]] = first + file[good]
    found, kept = growth.detections[todo] * good, growth.crops[todo] * good
    settled = damaged | (fails & (attempt == _ATTEMPTS[-1]))
    empty = ("no person passed the rules", "no person was found")
    return Outcomes(
        unit_id=cut.unit_id, inputs=inputs, attempts=np.full(len(todo), attempt),
        status=choose([settled, fails, kept > 0, good], ["quarantined", "failed", "ok", "empty"]),
        error_type=choose([damaged, fails, kept > 0, good], [_BROKEN[0], _LOST[0], None, "empty"]),
        error_message=choose([damaged, fails, kept > 0, found > 0, good], [_BROKEN[1], _LOST[1], None, *empty]),
        paths=[[path_of(table, "", pack.name) for pack in added] for table in detect.STAGE.tables], file=file,
        rows=[found, kept], seconds=growth.work_time("detect", todo), frames=30 * good, crops=kept,
    )  # fmt: skip


def _inputs(growth: Growth, video: Ints) -> Column:
    """Digest of the inputs of chunks: the first digits of that of their video's media."""
    every: Any = pa.array(media_digests(growth.seed, np.arange(growth.videos.count)))
    return pick(pc.utf8_slice_codeunits(every, 0, 16), video)


def _packs(growth: Growth, todo: Ints, units: list[str], inputs: list[str], good: Mask, fingerprint: str) -> list[Pack]:
    packs = []
    for part in files_of(len(todo), growth.recipe.detect.units_per_file):
        name = file_name(fingerprint, units[part], inputs[part])
        rows = np.arange(part.start, part.stop)[good[part]]
        rows = rows[np.argsort(objects(pa.array([units[row] for row in rows], pa.string())), kind="stable")]
        packs.append(Pack(name, todo[rows], growth.missing(detect.STAGE.tables, "", name)))
    return packs


def _write_pack(pack: Pack) -> tuple[Ints, Ints]:
    """Write the tables of a pack; returns the detections and the crops of each of its chunks."""
    corpus, videos, looks = own()
    found = persons.find_persons(videos, chunks(videos, pack.chunks))
    crops = found.crops()
    make: dict[str, Callable[[], pa.Table]] = {
        detect.DETECTIONS.name: lambda: persons.detections_table(found),
        detect.CROPS.name: lambda: persons.crops_table(crops, looks),
    }
    for table in detect.STAGE.tables:
        if table.name in pack.write:
            write_file(corpus, table, make[table.name](), path_of(table, "", pack.name))
    count = len(pack.chunks)
    return np.bincount(found.chunk, minlength=count), np.bincount(crops.chunk, minlength=count)
