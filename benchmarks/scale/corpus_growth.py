"""Grows a synthetic corpus run by run: which units each stage wants, how they end, and the files that they leave."""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from benchmarks.scale import noise, persons
from benchmarks.scale.looks import Looks, make_looks
from benchmarks.scale.noise import Ints
from benchmarks.scale.settings import ADDRESSES, Run, first_recipe, given_by_address, make_runs, write_recipe
from benchmarks.scale.videos import Videos, chunks, make_videos, text, video_ids
from benchmarks.scale.writing import Outcomes, commit, file_name, path_of, retire, write_file
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.live import stem
from pipeline.flow import caption, crawl, dedup, detect, discover, embed, track
from pipeline.flow.order import STAGES
from pipeline.recipe import Recipe, dump_recipe
from pipeline.run.stage import Stage
from pipeline.run.stream import WAVE
from schemas.declaration import Table

log = logging.getLogger("reidforge")

_LICENCES: Final = np.array(["Creative Commons Attribution license (reuse allowed)", "CC-BY", "YouTube", ""])
_LICENCE_SHARES: Final = np.array([0.10, 0.05, 0.25, 0.60])
_KEY_FRAME_SECONDS: Final = 5.0
_FAILED, _FAILED_AGAIN, _DAMAGED = 0.003, 0.3, 0.0005

_LOST = ("worker_lost", "the worker process died while it worked on this unit (crash or out of memory)")
_BROKEN = ("damaged", "the video cannot be decoded (Invalid data found when processing input)")
_GONE = ("private", "the video is private (Private video. Sign in if you've been granted access)")
_SLOW = ("timeout", "no answer within 3600 s")


class Pack(NamedTuple):
    """Chunks whose rows share a file.

    Attributes:
        name: Name of the file.
        chunks: Numbers of the chunks that have rows in it, in the order of their ids.
        write: Tables that are not written yet.
    """

    name: str
    chunks: Ints
    write: tuple[str, ...]


@dataclass
class Growth:
    """A corpus that grows.

    Attributes:
        corpus: The corpus.
        recipe: Its recipe, after the last change.
        videos: All videos that it will have.
        looks: How persons look.
        workers: Processes that write files.
        there: Files that exist.
        packs: Every pack of detect's that was written, superseded ones too.
        pack_of: int64 [chunks]: position of the pack that holds each chunk's rows; -1 where none does.
        detections: int64 [chunks]: rows of detections.
        crops: int64 [chunks]: crops.
        standing: Ledger rows of the last run that embedded or captioned, by stage.
    """

    corpus: Corpus
    recipe: Recipe
    videos: Videos
    looks: Looks
    workers: ProcessPoolExecutor
    there: set[str]
    packs: list[Pack]
    pack_of: Ints
    detections: Ints
    crops: Ints
    standing: dict[str, pa.Table]


def grow(folder: Path, *, videos: int, embedded: float, seed: int, jpeg_height: int, processes: int) -> Recipe:
    """Make a corpus, or what is missing of it.

    Args:
        folder: The corpus; ``recipe.yaml`` and ``addresses.txt`` are written into it.
        videos: Number of videos; each has 22 chunks of 20 seconds on average.
        embedded: Share of the packs of crops with embeddings and captions.
        seed: Everything in the corpus follows from it.
        jpeg_height: Height of the stored pictures, pixels.
        processes: Processes that write files.

    Returns:
        The recipe that made the corpus.
    """
    recipe = write_recipe(folder, videos)
    corpus = Corpus(str(folder))
    made, looks = make_videos(seed, videos), make_looks(recipe, seed, jpeg_height)
    total = int(made.first_chunk[-1])
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(str(folder), made, looks)) as pool:
        growth = Growth(
            corpus=corpus, recipe=recipe, videos=made, looks=looks, workers=pool,
            there={corpus.relative(info.path) for info in corpus.files()}, packs=[],
            pack_of=np.full(total, -1), detections=np.zeros(total, np.int64), crops=np.zeros(total, np.int64), standing={},
        )  # fmt: skip
        for run in make_runs(recipe, videos, embedded):
            now = first_recipe(recipe) if run.number == 0 else recipe
            for step in (_discover, _crawl, _detect, _embed, _track, _dedup):
                step(growth, run, now)
            corpus.put(f"runs/{run.run_id}/recipe.yaml", dump_recipe(now).encode())
            log.info("run %d: %d videos", run.number + 1, run.stop)
    given = [url for url, is_given in zip(_urls(made.ids), given_by_address(seed, np.arange(videos)), strict=True) if is_given]
    (folder / ADDRESSES).write_text("\n".join(given) + "\n")
    return recipe


# The videos and the looks of this process; sent once, as every task needs them.
_OWN: tuple[Corpus, Videos, Looks]


def _start(corpus: str, videos: Videos, looks: Looks) -> None:
    global _OWN  # noqa: PLW0603 - what an initialiser of a process pool can set
    pa.set_cpu_count(1)
    _OWN = (Corpus(corpus), videos, looks)


def _missing(growth: Growth, tables: Sequence[Table], scope: str, name: str) -> tuple[str, ...]:
    return tuple(table.name for table in tables if path_of(table, scope, name) not in growth.there)


def _waves(count: int, per_file: int) -> Iterator[slice]:
    """The units of each file of a pass: waves do not share files."""
    for wave in range(0, count, WAVE):
        stop = min(wave + WAVE, count)
        for start in range(wave, stop, min(per_file, stop - wave)):
            yield slice(start, min(start + per_file, stop))


def _ok(count: int) -> Any:
    return pa.repeat(pa.scalar("ok"), count)


def _null(count: int) -> Any:
    return pa.nulls(count, pa.string())


def _seconds(seed: int, name: str, positions: Ints, mean: float) -> Any:
    return mean * (0.5 + noise.uniform(seed, f"seconds of {name}", positions))


def _discover(growth: Growth, run: Run, recipe: Recipe) -> None:
    """List the run's videos by its queries, and one in a hundred of them once more."""
    seed, queries = growth.videos.seed, run.queries
    positions = np.concatenate([np.arange(run.first, run.stop), np.array(run.failing, np.int64)])
    positions = positions[~np.array(_given(growth, positions))]
    again = positions[noise.uniform(seed, "listed again", positions) < 0.01]
    listed = np.concatenate([positions, again])
    query = noise.below(seed, "query", np.arange(len(listed)) + (run.number << 32), len(queries))
    order = np.argsort(query, kind="stable")
    listed, query = listed[order], query[order]
    ids = video_ids(seed, listed)
    counts = np.bincount(query, minlength=len(queries))
    names: Any = pa.array(queries, pa.string())
    per_row = names.take(pa.array(query))
    table = pa.table(
        {
            "unit_id": per_row,
            "position": pa.array((np.arange(len(listed)) - np.repeat(np.cumsum(counts) - counts, counts)).astype(np.int32)),
            "url": pa.array(_urls(ids)),
            "video_id": ids,
            "title": _titles(growth, listed),
            "query": per_row,
        },
        schema=schemas.tables.LISTINGS,
    )
    fingerprint = discover.STAGE.fingerprint(recipe)
    paths, file = [], np.zeros(len(queries), np.int64)
    for number, part in enumerate(_waves(len(queries), 64)):
        name = file_name(fingerprint, queries[part], [""] * len(queries[part]))
        path = path_of(discover.LISTINGS, "", name)
        file[part] = number
        paths.append(path)
        if path not in growth.there:
            write_file(growth.corpus, discover.LISTINGS, table.filter(pc.is_in(per_row, names[part])), path)
    outcomes = Outcomes(
        unit_id=names, inputs=pa.repeat(pa.scalar(""), len(queries)), status=_ok(len(queries)),
        attempts=np.ones(len(queries), np.int64), error_type=_null(len(queries)), error_message=_null(len(queries)),
        paths=[paths], file=file, rows=[counts], seconds=_seconds(seed, "discover", np.arange(len(queries)), 20.0),
    )  # fmt: skip
    commit(growth.corpus, discover.STAGE.name, [outcomes.table(fingerprint, run.run_id)])


def _given(growth: Growth, positions: Ints) -> Sequence[bool]:
    given = np.array(given_by_address(growth.videos.seed, positions))
    return list(given & (positions < growth.videos.count))


def _urls(ids: "pa.StringArray") -> list[Any]:
    found: list[Any] = pc.replace_substring(ids, "youtube:", "https://www.youtube.com/watch?v=").to_pylist()
    return found


def _titles(growth: Growth, positions: Ints) -> Any:
    return pc.binary_join_element_wise("Walk ", text(positions), f" of seed {growth.videos.seed}", "")


def _crawl(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Download the run's videos; those that fail are tried three times, or given up at once."""
    seed, fingerprint = growth.videos.seed, crawl.STAGE.fingerprint(recipe)
    todo = np.concatenate([np.arange(run.first, run.stop), np.array(run.failing, np.int64)])
    todo = todo[np.argsort(noise.bits(seed, "crawl order", todo), kind="stable")]
    fails = todo >= growth.videos.count
    private = fails & (noise.uniform(seed, "private", todo) < 0.6)
    ids = video_ids(seed, todo)
    names: list[Any] = ids.to_pylist()
    paths, file = [], np.zeros(len(todo), np.int64)
    for number, part in enumerate(_waves(len(todo), 16)):
        file[part] = number
        name = file_name(fingerprint, names[part], [""] * len(names[part]))
        paths.append(path_of(crawl.VIDEOS, "", name))
        good = todo[part][~fails[part]]
        if len(good) and paths[-1] not in growth.there:
            table = _videos_table(growth, run, good).sort_by("unit_id")
            write_file(growth.corpus, crawl.VIDEOS, table, paths[-1])
    tables = []
    for attempt, bad in ((1, fails), (2, fails & ~private), (3, fails & ~private)):
        rows = np.flatnonzero(np.ones_like(bad) if attempt == 1 else bad)
        lost, gone = bad[rows], private[rows]
        settled = gone | (lost & (attempt == 3))
        tables.append(
            Outcomes(
                unit_id=ids.take(pa.array(rows)), inputs=pa.repeat(pa.scalar(""), len(rows)),
                status=_choose([~lost, settled, lost], ["ok", "quarantined", "failed"]),
                attempts=np.full(len(rows), attempt), error_type=_choose([gone, lost], [_GONE[0], _SLOW[0]]),
                error_message=_choose([gone, lost], [_GONE[1], _SLOW[1]]), paths=[paths], file=file[rows],
                rows=[(~lost).astype(np.int64)], seconds=_seconds(seed, "crawl", todo[rows], 90.0),
            ).table(fingerprint, run.run_id)
        )  # fmt: skip
    commit(growth.corpus, crawl.STAGE.name, tables)


def _choose(conditions: Sequence[Any], values: Sequence[str]) -> Any:
    """The value of the first condition that holds, row by row; null where none does."""
    chosen = np.select(conditions, list(range(len(values))), -1)
    known: Any = pa.array(values, pa.string())
    return known.take(pa.array(chosen, mask=chosen < 0))


def _videos_table(growth: Growth, run: Run, positions: Ints) -> pa.Table:
    videos, seed, count = growth.videos, growth.videos.seed, len(positions)
    ids, fps, frames = videos.ids.take(pa.array(positions)), videos.fps[positions], videos.frames[positions]
    licence = _LICENCES[np.searchsorted(np.cumsum(_LICENCE_SHARES), noise.uniform(seed, "licence", positions) * 0.999)]
    given = np.array(_given(growth, positions))
    query = np.array(run.queries)[noise.below(seed, "query", positions, len(run.queries))]
    gop = np.round(fps * _KEY_FRAME_SECONDS).astype(np.int64)
    keys = -(-frames // gop)
    place = np.arange(int(keys.sum())) - np.repeat(np.cumsum(keys) - keys, keys)
    index = place * np.repeat(gop, keys)
    pts = np.round(index / np.repeat(fps, keys) * 90_000).astype(np.int64)
    points = pa.StructArray.from_arrays([pa.array(index), pa.array(pts)], fields=list(schemas.tables.KEY_FRAME))
    offsets = np.concatenate([[0], np.cumsum(keys)]).astype(np.int32)
    day = np.datetime64("2026-01-05") + 7 * run.number
    uploaded = np.datetime64("2015-01-01") + noise.below(seed, "uploaded", positions, 3900)
    columns: dict[str, Any] = {
        "video_id": ids,
        "unit_id": ids,
        "extractor": pa.repeat(pa.scalar("youtube"), count),
        "source_url": pa.array(_urls(ids)),
        "query": pa.array(query, pa.string(), mask=given),
        "title": _titles(growth, positions),
        "uploader": pc.binary_join_element_wise("channel ", text(noise.below(seed, "uploader", positions, 4000)), ""),
        "upload_date": pa.array(uploaded),
        "license": pa.array(licence, pa.string(), mask=licence == ""),
        "media_path": pa.array([f"{crawl.MEDIA}/{digest(str(name))}.mp4" for name in ids.to_pylist()]),
        "media_bytes": pa.array((frames / fps * 280_000).astype(np.int64)),
        "media_sha256": pa.array(_sha256(seed, positions)),
        "container": pa.repeat(pa.scalar("mov,mp4,m4a,3gp,3g2,mj2"), count),
        "codec": pa.repeat(pa.scalar("h264"), count),
        "width": pa.repeat(pa.scalar(1280, pa.int32()), count),
        "height": pa.repeat(pa.scalar(720, pa.int32()), count),
        "rotation": pa.repeat(pa.scalar(0, pa.int32()), count),
        "fps": pa.array(fps),
        "duration_s": pa.array(frames / fps),
        "frames": pa.array(frames),
        "time_base_num": pa.repeat(pa.scalar(1, pa.int64()), count),
        "time_base_den": pa.repeat(pa.scalar(90_000, pa.int64()), count),
        "key_frames": pa.ListArray.from_arrays(pa.array(offsets), points),
        "crawled_at": pa.repeat(pa.scalar(day.astype("datetime64[us]").item(), pa.timestamp("us", tz="UTC")), count),
    }
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in schemas.tables.VIDEOS], schema=schemas.tables.VIDEOS)


def _sha256(seed: int, positions: Ints) -> list[str]:
    parts = [noise.bits(seed, f"sha256 {place}", positions).tolist() for place in range(4)]
    return ["".join(f"{part:016x}" for part in each) for each in zip(*parts, strict=True)]


def _detect(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Detect the chunks of the run's videos; the second run, with the changed recipe, those of the first one's again."""
    videos, seed = growth.videos, growth.videos.seed
    fingerprint = detect.STAGE.fingerprint(recipe)
    new = np.arange(0 if run.number == 1 else run.first, run.stop)
    # A run wants videos in the order of their files, and those are named by digests.
    todo = videos.chunks_of(new[np.argsort(noise.bits(seed, "file order", new // 16), kind="stable")])
    growth.pack_of[todo] = -1
    damaged = noise.uniform(seed, "damaged", todo) < _DAMAGED
    tables = []
    for attempt in (1, 2, 3):
        chance = _FAILED if attempt == 1 else _FAILED_AGAIN
        fails = ~damaged & (noise.uniform(seed, f"fails in {run.number}, {attempt}", todo) < chance)
        tables.append(_detect_pass(growth, run, fingerprint, todo, fails, damaged, attempt))
        todo, damaged = todo[fails], damaged[fails]
    commit(growth.corpus, detect.STAGE.name, tables)


def _detect_pass(
    growth: Growth, run: Run, fingerprint: str, todo: Ints, fails: Any, damaged: Any, attempt: int
) -> pa.Table:
    videos, seed = growth.videos, growth.videos.seed
    own = chunks(videos, todo)
    # The digest of a chunk's inputs: the first digits of its media file's.
    inputs = pc.utf8_slice_codeunits(pa.array(_sha256(seed, np.arange(videos.count))), 0, 16).take(pa.array(own.video))
    units: list[Any] = own.unit_id.to_pylist()
    given: list[Any] = inputs.to_pylist()
    good = ~fails & ~damaged
    file, first = np.zeros(len(todo), np.int64), len(growth.packs)
    for part in _waves(len(todo), recipe_units_per_file(growth)):
        name = file_name(fingerprint, units[part], given[part])
        file[part] = len(growth.packs) - first
        inside = np.arange(part.start, part.stop)[good[part]]
        inside = inside[np.argsort(np.array([units[row] for row in inside], dtype=object), kind="stable")]
        growth.packs.append(Pack(name, todo[inside], _missing(growth, detect.STAGE.tables, "", name)))
    added = growth.packs[first:]
    for pack, (found, kept) in zip(added, growth.workers.map(_write_pack, added, chunksize=16), strict=True):
        growth.detections[pack.chunks], growth.crops[pack.chunks] = found, kept
    growth.pack_of[todo[good]] = first + file[good]
    found, kept = growth.detections[todo] * good, growth.crops[todo] * good
    settled = damaged | (fails & (attempt == 3))
    return Outcomes(
        unit_id=own.unit_id, inputs=inputs, attempts=np.full(len(todo), attempt),
        status=_choose([settled, fails, kept > 0, good], ["quarantined", "failed", "ok", "empty"]),
        error_type=_choose([damaged, fails, kept > 0, good], [_BROKEN[0], _LOST[0], None, "empty"]),
        error_message=_choose(
            [damaged, fails, kept > 0, found > 0, good],
            [_BROKEN[1], _LOST[1], None, "no person passed the rules", "no person was found"],
        ),
        paths=[[path_of(table, "", pack.name) for pack in added] for table in detect.STAGE.tables], file=file,
        rows=[found, kept], seconds=_seconds(seed, "detect", todo, 2.5), frames=30 * good, counts_crops=1,
    ).table(fingerprint, run.run_id)  # fmt: skip


def recipe_units_per_file(growth: Growth) -> int:
    """Chunks whose rows share a file."""
    return growth.recipe.detect.units_per_file


def _write_pack(pack: Pack) -> tuple[Ints, Ints]:
    """Write the tables of a pack; returns the detections and the crops of each of its chunks."""
    corpus, videos, looks = _OWN
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


class Embedding(NamedTuple):
    """A pack to embed and to caption.

    Attributes:
        chunks: Chunks with crops in the pack.
        unit: Unit of embed.
        embeddings: Name of its files of embeddings and evidence.
        captions: Name of its file of captions.
        caption_unit: Unit of caption.
        write: Tables that are not written yet.
    """

    chunks: Ints
    unit: str
    embeddings: str
    caption_unit: str
    captions: str
    write: tuple[str, ...]


def _embed(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Embed and caption a share of the packs, in the order of their names, and retire those of packs that are gone."""
    if not run.embeds:
        return
    seed, slug, variant = growth.videos.seed, recipe.embed.slug, recipe.caption.variant
    prints = {stage.name: stage.fingerprint(recipe) for stage in (embed.STAGE, caption.STAGE)}
    live = sorted((path, pack) for path, pack in _live_packs(growth))
    todo, embed_inputs, caption_inputs = [], [], []
    for path, number in live[: round(run.embeds * len(live))]:
        pack = growth.packs[number]
        inside = pack.chunks[(growth.pack_of[pack.chunks] == number) & (growth.crops[pack.chunks] > 0)]
        units: list[Any] = chunks(growth.videos, inside).unit_id.to_pylist()
        unit, inputs = f"{slug}/{stem(path)}", digest(*sorted(units))
        embeddings = file_name(prints["embed"], [unit], [inputs])
        caption_unit, of_embedding = f"{variant}/{embeddings}", digest(unit)
        captions = file_name(prints["caption"], [caption_unit], [of_embedding])
        missing = (
            *_missing(growth, embed.STAGE.tables, slug, embeddings),
            *_missing(growth, caption.STAGE.tables, variant, captions),
        )
        todo.append(Embedding(inside, unit, embeddings, caption_unit, captions, missing))
        embed_inputs.append(inputs)
        caption_inputs.append(of_embedding)
    counts = np.array(list(growth.workers.map(_write_embedding, todo, chunksize=16)), np.int64)
    shapes: Sequence[tuple[Stage, str, list[str], list[str], list[str], list[Ints]]] = (
        (embed.STAGE, slug, [one.unit for one in todo], embed_inputs, [one.embeddings for one in todo], [counts] * 2),
        (caption.STAGE, variant, [one.caption_unit for one in todo], caption_inputs, [one.captions for one in todo], [counts]),
    )
    for stage, scope, units, inputs, names, rows in shapes:
        outcomes = Outcomes(
            unit_id=pa.array(units), inputs=pa.array(inputs), status=_ok(len(units)),
            attempts=np.ones(len(units), np.int64), error_type=_null(len(units)), error_message=_null(len(units)),
            paths=[[path_of(table, scope, name) for name in names] for table in reversed(stage.tables)],
            file=np.arange(len(units)), rows=rows, seconds=_seconds(seed, stage.name, np.arange(len(units)), 3.0),
            scope=scope,
        ).table(prints[stage.name], run.run_id)  # fmt: skip
        commit(growth.corpus, stage.name, [outcomes, *_retired(growth, stage, outcomes, run)])


def _live_packs(growth: Growth) -> Iterator[tuple[str, int]]:
    """Paths of the packs with crops that count, with their numbers."""
    for number in np.unique(growth.pack_of[(growth.pack_of >= 0) & (growth.crops > 0)]).tolist():
        yield path_of(detect.CROPS, "", growth.packs[number].name), number


def _retired(growth: Growth, stage: Stage, wanted: pa.Table, run: Run) -> Iterator[pa.Table]:
    """Rows that retire what an earlier run left and this one does not want."""
    before = growth.standing.get(stage.name)
    growth.standing[stage.name] = wanted
    if before is not None:
        unwanted = pc.invert(pc.is_in(before["unit_id"], wanted["unit_id"].combine_chunks()))
        yield retire(before.filter(unwanted), run.run_id)


def _write_embedding(one: Embedding) -> int:
    corpus, videos, looks = _OWN
    crops = persons.find_persons(videos, chunks(videos, one.chunks)).crops()
    make: dict[str, Callable[[], pa.Table]] = {
        embed.EMBEDDINGS.name: lambda: persons.embeddings_table(crops, looks, one.unit),
        embed.EVIDENCE.name: lambda: persons.evidence_table(crops, looks, one.unit),
        caption.CAPTIONS.name: lambda: persons.captions_table(crops, looks, one.caption_unit, _CAPTION_SEED),
    }
    slug, variant = one.unit.rpartition("/")[0], one.caption_unit.rpartition("/")[0]
    files = ((embed.EMBEDDINGS, slug, one.embeddings), (embed.EVIDENCE, slug, one.embeddings), (caption.CAPTIONS, variant, one.captions))
    for table, scope, name in files:
        if table.name in one.write:
            write_file(corpus, table, make[table.name](), path_of(table, scope, name))
    return len(crops.key)


_CAPTION_SEED: Final = 1


class VideoFile(NamedTuple):
    """Videos whose rows of dedup or of track share a file.

    Attributes:
        name: Name of the file.
        chunks: Numbers of their chunks that have rows.
        tables: Tables of the file.
        write: Those that are not written yet.
    """

    name: str
    chunks: Ints
    tables: tuple[str, ...]
    write: tuple[str, ...]


def _track(growth: Growth, run: Run, recipe: Recipe) -> None:
    _by_video(growth, run, recipe, track.STAGE, growth.detections, detect.DETECTIONS, "no person was seen in two frames")


def _dedup(growth: Growth, run: Run, recipe: Recipe) -> None:
    _by_video(growth, run, recipe, dedup.STAGE, growth.crops, detect.CROPS, "no two crops of the video are alike")


def _by_video(growth: Growth, run: Run, recipe: Recipe, stage: Stage, rows: Ints, source: Table, reason: str) -> None:
    """A stage whose units are videos, over those that the run has detected."""
    videos, fingerprint = growth.videos, stage.fingerprint(recipe)
    new = np.arange(0 if run.number == 1 else run.first, run.stop)
    there = videos.chunks_of(new)
    there = there[(growth.pack_of[there] >= 0) & (rows[there] > 0)]
    units, inputs, parts = _video_units(growth, there, source, stage)
    planned, file = [], np.zeros(len(units), np.int64)
    for number, part in enumerate(_waves(len(units), 64)):
        name = file_name(fingerprint, units[part], inputs[part])
        file[part] = number
        tables = tuple(table.name for table in stage.tables)
        planned.append(VideoFile(name, np.concatenate(parts[part]), tables, _missing(growth, stage.tables, "", name)))
    counts: list[list[Ints]] = [[] for _ in stage.tables]
    for one in growth.workers.map(_write_videos, planned, chunksize=2):
        for into, found in zip(counts, one, strict=True):
            into.append(found)
    columns = [np.concatenate(found) for found in counts]
    has = columns[-1] > 0
    commit(
        growth.corpus,
        stage.name,
        [
            Outcomes(
                unit_id=pa.array(units), inputs=pa.array(inputs), status=_choose([has, ~has], ["ok", "empty"]),
                attempts=np.ones(len(units), np.int64), error_type=_choose([~has], ["empty"]),
                error_message=_choose([~has], [reason]),
                paths=[[path_of(table, "", one.name) for one in planned] for table in stage.tables], file=file,
                rows=columns, seconds=_seconds(videos.seed, stage.name, np.arange(len(units)), 0.1),
            ).table(fingerprint, run.run_id)
        ],
    )  # fmt: skip


def _video_units(growth: Growth, there: Ints, source: Table, stage: Stage) -> tuple[list[str], list[str], list[Ints]]:
    """Units, digests of inputs and chunks of the videos of some chunks, in the order of their ids."""
    videos = growth.videos
    own = chunks(videos, there)
    paths = np.array([path_of(source, "", pack.name) for pack in growth.packs], dtype=object)
    ids = np.array(own.video_id.to_pylist(), dtype=object)
    pack = growth.pack_of[there]
    places, ranks = np.unique(paths[np.unique(pack)], return_inverse=True)
    rank = ranks[np.searchsorted(np.unique(pack), pack)]
    names, video = np.unique(ids, return_inverse=True)
    order = np.lexsort((there, rank, video))
    unit_ids: list[Any] = own.unit_id.take(pa.array(order)).to_pylist()
    rows = zip(video[order].tolist(), rank[order].tolist(), unit_ids, strict=True)
    inputs = []
    for number, of_video in itertools.groupby(rows, key=lambda row: row[0]):
        pieces = [
            f"{places[place]}:{','.join(unit for _, _, unit in group)}:"
            for place, group in itertools.groupby(of_video, key=lambda row: row[1])
        ]
        first = videos.fps[own.video[order[len(inputs)]]] if not inputs else None
        inputs.append((number, pieces, first))
    bounds = np.searchsorted(video[order], np.arange(len(names) + 1))
    parts = [there[order[start:stop]] for start, stop in itertools.pairwise(bounds.tolist())]
    rates = videos.fps[own.video[order[bounds[:-1]]]].tolist()
    heads = [[str(rate)] if stage.name == track.STAGE.name else [] for rate in rates]
    digests = [digest(*head, *pieces) for head, (_, pieces, _) in zip(heads, inputs, strict=True)]
    return names.tolist(), digests, parts


def _write_videos(one: VideoFile) -> list[Ints]:
    """Write the tables of some videos; returns the rows of each video, table by table."""
    corpus, videos, _ = _OWN
    own = chunks(videos, np.sort(one.chunks))
    found = persons.find_persons(videos, own)
    if track.TRACKS.name not in one.tables:
        found = found.crops()
    ids = own.video_id.take(pa.array(found.chunk))
    make: dict[str, Callable[[], pa.Table]] = {
        track.TRACKS.name: lambda: persons.tracks_table(found, ids),
        dedup.STATICS.name: lambda: persons.statics_table(found, ids),
        dedup.DUPLICATES.name: lambda: persons.duplicates_table(found, ids),
    }
    names = np.unique(np.array(own.video_id.to_pylist(), dtype=object))
    counts = []
    declared = {table.name: table for stage in STAGES for table in stage.tables}
    for name in one.tables:
        rows = make[name]().sort_by("unit_id")
        if name in one.write:
            write_file(corpus, declared[name], rows, path_of(declared[name], "", one.name))
        seen = np.searchsorted(names, np.array(rows["unit_id"].to_pylist(), dtype=object))
        counts.append(np.bincount(seen.astype(np.int64), minlength=len(names)))
    return counts
