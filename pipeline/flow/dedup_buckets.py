"""Dedup across videos for more crops than one task can hold: steps over parts of the corpus, on Ray.

gather   packs of crops and their features become files of rows
order    all crops get their rank, from the best to the worst
cells    where buckets are cells of the feature space: their centres, from a sample
place    rows are written again, by bucket; most lie in several buckets
search   the crops of a group of buckets are compared, which gives pairs
follow   pairs, from the best crop to the worst, decide who represents whom

Each step but ``order``, ``cells`` and ``follow`` runs as many tasks, whose memory does not grow with the corpus. Files
between the steps lie in a folder of the corpus with a temporary name: they are deleted at the end, or by the next
comparison, or by ``gc``, if the run is killed.
"""

import functools
import io
import itertools
import logging
import math
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from pipeline.corpus.files import TEMPORARY, Corpus
from pipeline.corpus.packs import PACK_STRUCT, read_packs
from pipeline.flow import crop_features
from pipeline.flow.dedup import DUPLICATES
from pipeline.flow.detect import CROPS
from pipeline.run.progress import counted
from pipeline.run.stream import Operator, parts
from pipeline.run.units import Row, Step
from stages.dedup.bucket_rows import (
    ROW_OPTIONS,
    Halves,
    compared_rows,
    features_of,
    grouped,
    pairs_in_group,
    placed_rows,
)
from stages.dedup.buckets import by_hash, cell_centres, cell_count, in_sample, part_count
from stages.dedup.config import DedupConfig
from stages.dedup.duplicate_rows import CROP_COLUMNS, duplicates_of_pairs, rule_across
from stages.dedup.pairs import Pairs, follow_pairs
from stages.dedup.ranking import in_order
from stages.errors import UnitError

log = logging.getLogger("reidforge")

# Units of detect that one task gathers: about 65,000 crops where a chunk has four. With fewer, tasks would read the
# same row groups of compacted files again and again.
_UNITS_PER_PART: Final = 16_384
# Crops of one file of rows: 70 MB of 512 half floats, and as much again for each bucket of a crop while it is placed.
_ROWS_PER_FILE: Final = 65_536
# Entries of one group of buckets. Their features are mapped from a local file; the rest of a row is 40 bytes.
_ENTRIES_PER_GROUP: Final = 262_144
# Pairs that are decided at once, 20 bytes each.
_PAIRS_AT_ONCE: Final = 8_000_000


def _fields(**types: pa.DataType) -> pa.Schema:
    return pa.schema(types)


_FILE = pa.struct([pa.field("path", pa.string()), pa.field("rows", pa.int64())])
_ROW_GROUP = pa.struct([pa.field("path", pa.string()), pa.field("row_group", pa.int64())])
_PATH = _fields(path=pa.string())
_PATHS = _fields(paths=pa.list_(pa.string()))
_VIDEOS = _fields(pieces=pa.list_(crop_features.PIECE), found=pa.list_(PACK_STRUCT))
_GATHERED = _fields(files=pa.list_(_FILE), crops=pa.int64())
_PLACE = _fields(path=pa.string(), first=pa.int64())
_PLACED = _fields(path=pa.string(), groups=pa.list_(pa.int64()))
_GROUP = _fields(row_groups=pa.list_(_ROW_GROUP))
_PAIRS = _fields(path=pa.string(), pairs=pa.int64())


@dataclass(frozen=True)
class Gathered:
    """Rows of all crops.

    Attributes:
        files: Path and number of rows of each file.
        crops: Crops that are compared, those without features included.
    """

    files: list[Row]
    crops: int

    @property
    def paths(self) -> list[str]:
        """The files."""
        return [file["path"] for file in self.files]


@dataclass(frozen=True)
class Found:
    """Files of a comparison.

    Attributes:
        gathered: Rows of all crops.
        order: File of their ranks.
        pairs: Files of pairs, each with its number of pairs.
    """

    gathered: Gathered
    order: str
    pairs: list[Row]


@contextmanager
def scratch(corpus: Corpus) -> Iterator[str]:
    """A folder of the corpus for temporary files; those of killed comparisons are deleted first."""
    selector = pafs.FileSelector(corpus.path(""), allow_not_found=True)
    for info in corpus.fs.get_file_info(selector):
        if info.base_name.startswith(f"{TEMPORARY}across-"):
            corpus.fs.delete_dir(info.path)
    folder = f"{TEMPORARY}across-{uuid.uuid4().hex}"
    try:
        yield folder
    finally:
        if corpus.exists(folder):
            corpus.fs.delete_dir(corpus.path(folder))


def gather(corpus: Corpus, folder: str, pieces: list[Row], found: list[Row]) -> Gathered:
    """Read what the comparison needs of every crop.

    Args:
        corpus: The corpus.
        folder: As ``scratch`` gives it.
        pieces: Rows of ``crop_features.PIECE``, video by video.
        found: Files of duplicates within videos, and the videos whose rows in them count.

    Raises:
        UnitError: A task failed.
    """
    make_gather = functools.partial(_make_gather, corpus, folder)
    done = _run("gather", list(_parts(pieces, found)), _VIDEOS, make_gather, _GATHERED)
    return Gathered([file for row in done for file in row["files"]], sum(row["crops"] for row in done))


def compare(corpus: Corpus, folder: str, gathered: Gathered, config: DedupConfig) -> Found:
    """Find pairs of crops that are alike.

    Raises:
        UnitError: A task failed.
    """
    if not gathered.files:
        return Found(gathered, "", [])
    (order,) = _run_once("order", gathered, functools.partial(_make_order, corpus, folder))
    rows = sum(file["rows"] for file in gathered.files)
    rule = rule_across(config)
    copies = config.probes
    centres = ""
    if by_hash(rule):
        assert rule.cosine_hash_distance is not None
        copies = part_count(rule.cosine_hash_distance)
    else:
        (centres,) = _run_once("cells", gathered, functools.partial(_make_cells, corpus, folder, rows))
    groups = max(1, math.ceil(rows * copies / _ENTRIES_PER_GROUP))
    starts = itertools.accumulate((file["rows"] for file in gathered.files), initial=0)
    make_place = functools.partial(_make_place, corpus, folder, config, order, centres, groups)
    placing = [{"path": path, "first": first} for path, first in zip(gathered.paths, starts, strict=False)]
    placed = _run("place", placing, _PLACE, make_place, _PLACED)
    found = _run(
        "search", _by_group(placed, groups), _GROUP, functools.partial(_make_search, corpus, folder, config), _PAIRS
    )
    return Found(gathered, order, found)


def follow(corpus: Corpus, found: Found, unit_id: str) -> pa.Table:
    """Rows of duplicates that the pairs give; memory grows by 40 bytes with each crop."""
    if not any(row["pairs"] for row in found.pairs):
        return DUPLICATES.schema.empty_table()
    ranks = _column(corpus, [found.order], "rank")
    status = np.zeros(len(ranks), np.uint8)
    # As few ranges of ranks as keep the pairs of one in memory, if each range had its share of them.
    most = sum(row["pairs"] for row in found.pairs)
    span = max(1, math.ceil(len(ranks) / max(1, math.ceil(most / _PAIRS_AT_ONCE))))
    led = []
    for first in range(0, len(ranks), span):
        stop = min(first + span, len(ranks))
        led.append(follow_pairs(_read_pairs(corpus, found.pairs, first, stop), status, first, stop))
    pairs = Pairs.concat(led)
    involved = np.unique(np.concatenate([pairs.better, pairs.worse]))
    crops = _named(corpus, found.gathered, ranks, involved)
    places = Pairs(np.searchsorted(involved, pairs.better), np.searchsorted(involved, pairs.worse), pairs.cosine)
    return duplicates_of_pairs(crops, places, unit_id)


def _parts(pieces: list[Row], found: list[Row]) -> Iterator[Row]:
    """Packs in parts of about ``_UNITS_PER_PART``, each with the files that have duplicates of its videos."""
    packs: dict[str, Row] = {}
    for piece in pieces:
        pack = packs.setdefault(piece["path"], piece | {"live": []})
        pack["live"] = pack["live"] + piece["live"]
    part: list[Row] = []
    for pack in sorted(packs.values(), key=_place):
        part.append(pack)
        if sum(len(pack["live"]) for pack in part) >= _UNITS_PER_PART:
            yield _part(part, found)
            part = []
    if part:
        yield _part(part, found)


def _place(pack: Row) -> tuple[str, int]:
    """Where the features lie, which are most of what is read: one task reads neighbouring rows one after another."""
    place = pack["features"] or pack
    return place["file"], place["first_row"] or 0


def _part(pieces: list[Row], found: list[Row]) -> Row:
    videos = {unit.rpartition("/")[0] for piece in pieces for unit in piece["live"]}
    behind = (row | {"live": [name for name in row["live"] if name in videos]} for row in found)
    return {"pieces": pieces, "found": [row for row in behind if row["live"]]}


def _run(name: str, rows: list[Row], fields: pa.Schema, make_step: Callable[[], Step], returns: pa.Schema) -> list[Row]:
    began = time.monotonic()
    done = parts(rows, fields, Operator(make_step=make_step, fields=returns, cpus=1.0)) if rows else []
    for row in done:
        if row["status"] == "failed":
            text = f"step {name} failed: {row['error_message']}"
            raise UnitError(text, kind=row["error_type"], retryable=row.get("retryable", True))
    log.info("dedup_across: %s, %s, %.0f s", name, counted(len(rows), "task"), time.monotonic() - began)
    return sorted(done, key=lambda row: int(row["unit_id"]))


def _run_once(name: str, gathered: Gathered, make_step: Callable[[], Step]) -> list[str]:
    return [row["path"] for row in _run(name, [{"paths": gathered.paths}], _PATHS, make_step, _PATH)]


def _by_group(placed: list[Row], groups: int) -> list[Row]:
    found: list[list[Row]] = [[] for _ in range(groups)]
    for row in placed:
        for number, group in enumerate(row["groups"]):
            found[group].append({"path": row["path"], "row_group": number})
    return [{"row_groups": row_groups} for row_groups in found if row_groups]


def _make_gather(corpus: Corpus, folder: str) -> Step:
    def gather_part(row: Row) -> Row:
        behind = [rows["crop_id"] for rows in read_packs(corpus, DUPLICATES, row["found"], ["crop_id"])]
        names = pa.chunked_array([chunk for column in behind for chunk in column.chunks], pa.string()).combine_chunks()
        files: list[Row] = []
        waiting: list[pa.Table] = []
        crops = 0
        for pack, known, vectors in _packs(corpus, row["pieces"]):
            table = pack.filter(pc.invert(pc.is_in(pack["crop_id"], value_set=names)))
            crops += len(table)
            if known:
                waiting.append(compared_rows(table, {name: place for place, name in enumerate(known)}, vectors))
            if sum(map(len, waiting)) >= _ROWS_PER_FILE:
                files += _write_rows(corpus, folder, waiting)
                waiting = []
        return {"files": files + _write_rows(corpus, folder, waiting), "crops": crops}

    return gather_part


def _packs(corpus: Corpus, pieces: list[Row]) -> Iterator[tuple[pa.Table, list[str], Halves]]:
    """Crops of each pack, and the crop_ids and vectors of its features."""
    with_features = [piece["features"] for piece in pieces if piece["features"]]
    features = crop_features.pack_features(corpus, with_features)
    crops = read_packs(corpus, CROPS, pieces, CROP_COLUMNS)
    for piece, table in zip(pieces, crops, strict=True):
        known, vectors = next(features) if piece["features"] else ([], crop_features.NO_FEATURES[1])
        yield table, known, vectors


def _write_rows(corpus: Corpus, folder: str, tables: list[pa.Table]) -> list[Row]:
    rows = sum(map(len, tables))
    if not rows:
        return []
    path = f"{folder}/rows-{uuid.uuid4().hex}.parquet"
    corpus.write_table(pa.concat_tables(tables), path, **ROW_OPTIONS)
    return [{"path": path, "rows": rows}]


def _make_order(corpus: Corpus, folder: str) -> Step:
    def order(row: Row) -> Row:
        tables = [corpus.read_table(path, columns=["crop_id", "quality"]) for path in row["paths"]]
        together = pa.concat_tables(tables)
        rows = in_order(together["crop_id"], np.asarray(together["quality"].to_numpy(), np.float64))
        ranks = np.empty(len(rows), np.uint32)
        ranks[rows] = np.arange(len(rows), dtype=np.uint32)
        path = f"{folder}/order-{uuid.uuid4().hex}.parquet"
        corpus.write_table(pa.table({"rank": pa.array(ranks)}), path, **ROW_OPTIONS)
        return {"path": path}

    return order


def _make_cells(corpus: Corpus, folder: str, crops: int) -> Step:
    def cells(row: Row) -> Row:
        _one_thread()
        sample = pa.concat_tables(_sampled(corpus, path, crops) for path in row["paths"]).sort_by("crop_id")
        content = io.BytesIO()
        np.save(content, cell_centres(features_of(sample), cell_count(crops)))
        path = f"{folder}/cells-{uuid.uuid4().hex}.npy"
        corpus.put(path, content.getvalue())
        return {"path": path}

    return cells


def _sampled(corpus: Corpus, path: str, crops: int) -> pa.Table:
    table = corpus.read_table(path, columns=["crop_id", "features"])
    return table.filter(pa.array(in_sample(table["crop_id"], crops)))


def _make_place(corpus: Corpus, folder: str, config: DedupConfig, order: str, centres: str, groups: int) -> Step:
    def place(row: Row) -> Row:
        _one_thread()
        table = corpus.read_table(row["path"], columns=["video_id", "phash", "features"])
        ranks = _column(corpus, [order], "rank")[row["first"] : row["first"] + len(table)]
        cells = np.load(io.BytesIO(corpus.read(centres))) if centres else np.empty((0, 0), np.float32)
        rows, placement = placed_rows(table, ranks, rule_across(config), cells, config.probes)
        path = f"{folder}/placed-{uuid.uuid4().hex}.parquet"
        written = []
        with corpus.fs.open_output_stream(corpus.path(path)) as sink:
            writer: pq.ParquetWriter | None = None
            for number, part in grouped(rows, placement, groups):
                writer = writer or pq.ParquetWriter(sink, part.schema, **ROW_OPTIONS)
                writer.write_table(part, row_group_size=len(part))
                written.append(number)
            if writer:
                writer.close()
        return {"path": path, "groups": written}

    return place


def _make_search(corpus: Corpus, folder: str, config: DedupConfig) -> Step:
    def search(row: Row) -> Row:
        _one_thread()
        with tempfile.TemporaryFile() as file:
            rows, features = _read_group(corpus, row["row_groups"], file)
            pairs = pairs_in_group(rows, features, rule_across(config))
        path = f"{folder}/pairs-{uuid.uuid4().hex}.parquet"
        columns: dict[str, Any] = {
            "better": pairs.better.astype(np.uint32),
            "worse": pairs.worse.astype(np.uint32),
            "cosine": pairs.cosine,
        }
        # Statistics, so that a range of ranks is read without the rest of the file.
        corpus.write_table(pa.table(columns), path, **(ROW_OPTIONS | {"write_statistics": ["worse"]}))
        return {"path": path, "pairs": len(pairs.worse)}

    return search


def _read_group(corpus: Corpus, row_groups: list[Row], file: Any) -> tuple[pa.Table, Halves]:
    """Rows of a group; their features lie in ``file``, which is mapped into memory."""
    tables = []
    for row in row_groups:
        with corpus.open(row["path"]) as source:
            table = pq.ParquetFile(source).read_row_group(row["row_group"])
        vectors = features_of(table)
        vectors.tofile(file)
        tables.append(table.drop_columns(["features"]))
    file.flush()
    rows = pa.concat_tables(tables)
    return rows, np.memmap(file, np.float16, "r", shape=(len(rows), vectors.shape[1]))


def _read_pairs(corpus: Corpus, files: list[Row], first: int, stop: int) -> Pairs:
    """Pairs of a range of worse ranks; two crops that share several cells are a pair once."""
    tables = [_between(corpus, row["path"], first, stop) for row in files if row["pairs"]]
    if not tables:
        return Pairs.concat([])
    table = pa.concat_tables(tables)
    better, worse, cosine = (table[name].to_numpy() for name in ("better", "worse", "cosine"))
    _, once = np.unique(worse.astype(np.uint64) << np.uint64(32) | better, return_index=True)
    return Pairs(better[once].astype(np.int64), worse[once].astype(np.int64), cosine[once])


def _between(corpus: Corpus, path: str, first: int, stop: int) -> pa.Table:
    chosen = (pc.field("worse") >= first) & (pc.field("worse") < stop)
    return pq.read_table(corpus.path(path), filesystem=corpus.fs, filters=chosen)


def _named(
    corpus: Corpus, gathered: Gathered, ranks: npt.NDArray[np.uint32], involved: npt.NDArray[np.int64]
) -> pa.Table:
    """crop_id and video_id of the crops of some ranks, in that order."""
    tables = []
    first = 0
    for file in gathered.files:
        own = ranks[first : first + file["rows"]]
        first += file["rows"]
        chosen = np.flatnonzero(np.isin(own, involved))
        table = corpus.read_table(file["path"], columns=["crop_id", "video_id"]).take(chosen)
        tables.append(table.append_column("rank", pa.array(own[chosen])))
    return pa.concat_tables(tables).sort_by("rank")


def _column(corpus: Corpus, paths: list[str], name: str) -> npt.NDArray[Any]:
    return np.concatenate([corpus.read_table(path, columns=[name])[name].to_numpy() for path in paths])


def _one_thread() -> None:
    # A task has one CPU. More threads than that wait for each other longer than they compute.
    import faiss

    faiss.omp_set_num_threads(1)
