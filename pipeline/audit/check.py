"""Checks a corpus against its ledger: whether files are there and readable, and hold the rows that they should."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import places_of, whole
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.lost import files_of, lost
from pipeline.corpus.packs import read_pack
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import DamagedFileError, StorageError
from pipeline.flow.crawl import STAGE as CRAWL_STAGE
from pipeline.flow.order import TABLES
from pipeline.flow.videos import MEDIA, VIDEOS

CRAWL: Final = CRAWL_STAGE.name

_THREADS: Final = max(4, os.cpu_count() or 1)

Kind = Literal["lost", "damaged", "rows", "media lost", "media damaged"]

# Kinds of problems for which ``repair`` removes the file.
_REMOVED: Final[tuple[Kind, ...]] = ("damaged", "rows", "media damaged")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is not as the ledger says.

    Args:
        kind: What it is.
        file: The file, relative to the corpus.
        what: In words.
        stage: Whose units are concerned.
        units: How many.
        example: One of them.
    """

    kind: Kind
    file: str
    what: str
    stage: str
    units: int
    example: str

    @property
    def is_damaged(self) -> bool:
        """Whether only ``repair`` makes work of it; lost files are noticed by every plan."""
        return self.kind != "lost"

    def __str__(self) -> str:
        more = "" if self.units == 1 else f" and {self.units - 1} more"
        return f"{self.file}: {self.what} ({self.stage}: {self.example}{more})"


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What was found in one file."""

    file: str
    damage: str | None = None
    # Columns path, unit_id (null: the table has no such column) and rows.
    counts: pa.Table | None = None


def check(snapshot: Snapshot, *, quick: bool) -> Iterator[Problem]:
    """Compare files with the ledger.

    Args:
        snapshot: What counts.
        quick: Only whether files are there, by one listing per folder. Otherwise each table's footer and unit_ids are
            read, and each media file whole.
    """
    for stage in snapshot.stages():
        yield from _check_stage(snapshot, stage, quick=quick)
    yield from _check_media(snapshot, quick=quick)


def repair(snapshot: Snapshot, problems: Iterable[Problem], run_id: str) -> None:
    """Make work of the units whose files are damaged: remove the files, and mark the videos whose media is gone.

    Args:
        snapshot: What counts.
        problems: From ``check``.
        run_id: For the ledger.
    """
    found = list(problems)
    videos = {problem.example for problem in found if problem.kind.startswith("media")}
    rows = [row for row in snapshot.latest(CRAWL).to_pylist() if row["unit_id"] in videos] if videos else []
    lost_media = {"status": "failed", "error_type": "media_lost", "error_message": "its media file is gone or damaged"}
    if rows:
        Ledger(snapshot.corpus, CRAWL).append(
            row | lost_media | {"outputs": [], "attempts": 0, "run_id": run_id} for row in rows
        )
    snapshot.corpus.delete(*sorted({problem.file for problem in found if problem.kind in _REMOVED}))
    snapshot.refresh()


def _check_stage(snapshot: Snapshot, stage: str, *, quick: bool) -> Iterator[Problem]:
    files, live = files_of(snapshot, stage), snapshot.live(stage)
    gone = lost(files)
    # Checkpoints and models, too: they are missed, though no unit is repeated for them.
    is_other = pc.invert(pc.or_(pc.ends_with(files["path"], ".parquet"), pc.starts_with(files["path"], f"{MEDIA}/")))
    others = files.filter(pc.and_(pc.is_null(files["bytes"]), is_other))
    for name, packs in _by_file(pa.concat_tables([gone, others])).items():
        what = "it does not exist" if packs[0]["bytes"] is None else f"it has {packs[0]['bytes']} bytes"
        yield _problem("lost", name, what, stage, live, packs)
    if quick:
        return
    tables = files.filter(pc.and_(pc.ends_with(files["path"], ".parquet"), pc.is_valid(files["bytes"])))
    tables = tables.filter(pc.invert(pc.is_in(tables["path"], value_set=whole(gone["path"]))))
    by_file, counts = _by_file(tables), []
    with ThreadPoolExecutor(_THREADS) as pool:
        for read in pool.map(lambda item: _read(snapshot.corpus, *item), by_file.items()):
            if read.damage is not None:
                yield _problem("damaged", read.file, read.damage, stage, live, by_file[read.file])
            elif read.counts is not None:
                counts.append(read.counts)
    places = {pack["path"]: name for name, packs in by_file.items() for pack in packs}
    for row in _wrong_counts(snapshot, stage, live, counts):
        what = f"{row['rows_sum'] or 0} rows of a unit that wrote {row['rows_out']}"
        file = places[row["path_min"]]
        yield Problem(kind="rows", file=file, what=what, stage=stage, units=1, example=row["unit_id"])


def _read(corpus: Corpus, name: str, packs: list[dict[str, Any]]) -> _Read:
    try:
        with corpus.reading(name), corpus.open(name) as source:
            file = pq.ParquetFile(source)
            lacking = [column for column in _required(name) if column not in file.schema_arrow.names]
            if lacking:
                return _Read(file=name, damage=f"it has no column {lacking[0]}")
            there = "unit_id" in file.schema_arrow.names
            rows = file.read(columns=["unit_id"])["unit_id"] if there else pa.nulls(file.metadata.num_rows, pa.string())
    except DamagedFileError as error:
        return _Read(file=name, damage=str(error.__cause__ or error).splitlines()[0])
    except StorageError as error:
        return _Read(file=name, damage=str(error))
    tables = []
    for pack in packs:
        first, count = pack["first_row"], pack["num_rows"]
        if first is not None and first + count > len(rows):
            return _Read(file=name, damage=f"it has {len(rows)} rows, and {pack['path']} lies in rows {first} and on")
        own = rows if first is None else rows.slice(first, count)
        values, numbers = pc.value_counts(own).flatten()
        paths = pa.repeat(pack["path"], len(values))
        tables.append(pa.table([paths, values, numbers], names=["path", "unit_id", "rows"]))
    return _Read(file=name, counts=pa.concat_tables(tables))


def _required(file: str) -> list[str]:
    """Columns that every file of the table has whose folder this is."""
    tables = [table for table in TABLES if file.startswith(f"{table.folder}/")]
    return [field.name for table in tables[:1] for field in table.schema if not field.nullable]


def _wrong_counts(snapshot: Snapshot, stage: str, live: pa.Table, counts: list[pa.Table]) -> list[dict[str, Any]]:
    """Units with another number of rows than the ledger says: unit_id, path_min, rows_sum, rows_out."""
    if not counts:
        return []
    found = pa.concat_tables(counts)
    checked = live.filter(pc.is_in(live["path"], value_set=whole(found["path"].unique())))
    named = found.filter(pc.is_valid(found["unit_id"]))
    # A table without unit_id, such as a manifest, belongs to one unit.
    unnamed = found.filter(pc.is_null(found["unit_id"])).drop_columns(["unit_id"])
    pairs = [
        checked.join(named, ["path", "unit_id"], join_type="left outer"),
        checked.join(unnamed, "path", join_type="inner"),
    ]
    rows = pa.concat_tables([each.select(["scope", "unit_id", "path", "rows"]) for each in pairs])
    sums = rows.group_by(["scope", "unit_id"]).aggregate([("rows", "sum"), ("path", "min")])
    settled = snapshot.settled(stage).select(["scope", "unit_id", "outputs", "rows_out"])
    complete = _complete(settled, found)
    both = complete.join(sums, ["scope", "unit_id"], join_type="inner")
    wrong = both.filter(pc.not_equal(pc.coalesce(both["rows_sum"], pa.scalar(0)), both["rows_out"]))
    found_wrong: list[dict[str, Any]] = wrong.select(["unit_id", "path_min", "rows_sum", "rows_out"]).to_pylist()
    return found_wrong


def _complete(settled: pa.Table, found: pa.Table) -> pa.Table:
    """Units all of whose tables were read; of others a part is missing, which is a problem of its own."""
    outputs: Any = settled["outputs"].combine_chunks()
    paths, parents = pc.list_flatten(outputs), pc.list_parent_indices(outputs)
    unread = pc.and_(
        pc.ends_with(paths, ".parquet"), pc.invert(pc.is_in(paths, value_set=whole(found["path"].unique())))
    )
    bad = whole(parents.filter(unread).unique())
    numbers = pa.array(range(len(settled)), parents.type)
    kept = settled.filter(pc.invert(pc.is_in(numbers, value_set=bad))).drop_columns(["outputs"])
    return kept.filter(pc.is_valid(kept["rows_out"]))


def _by_file(files: pa.Table) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in files.to_pylist():
        found.setdefault(str(row["file"]), []).append(row)
    return dict(sorted(found.items()))


def _problem(kind: Kind, file: str, what: str, stage: str, live: pa.Table, packs: list[dict[str, Any]]) -> Problem:
    paths = pa.array([pack["path"] for pack in packs], pa.string())
    units: list[Any] = sorted(live["unit_id"].filter(pc.is_in(live["path"], value_set=paths)).unique().to_pylist())
    return Problem(kind=kind, file=file, what=what, stage=stage, units=len(units), example=str(units[0]))


def _check_media(snapshot: Snapshot, *, quick: bool) -> Iterator[Problem]:
    columns = ["unit_id", "media_path", "media_bytes", "media_sha256"]
    videos = pa.concat_tables([VIDEOS.schema.empty_table().select(columns), *_readable(snapshot, columns)])
    videos = videos.filter(pc.is_valid(videos["media_path"]))
    sizes = snapshot.sizes([MEDIA])
    videos = videos.append_column("size", sizes["bytes"].take(places_of(videos["media_path"], sizes, "file")))
    missing = videos.filter(pc.is_null(videos["size"]))
    if len(missing) and _keeps_media(snapshot.corpus):
        yield from (_media_problem("media lost", row, "it does not exist") for row in missing.to_pylist())
    there = videos.filter(pc.is_valid(videos["size"]))
    rows: list[dict[str, Any]] = there.to_pylist()
    with ThreadPoolExecutor(_THREADS) as pool:
        for row, what in zip(rows, pool.map(lambda row: _damage(snapshot.corpus, row, quick=quick), rows), strict=True):
            if what is not None:
                yield _media_problem("media damaged", row, what)


def _readable(snapshot: Snapshot, columns: list[str]) -> Iterator[pa.Table]:
    """Rows of videos; files that cannot be read are problems of their own."""
    for pack in snapshot.packs(CRAWL, VIDEOS).to_pylist():
        try:
            with snapshot.corpus.reading(pack["file"]):
                yield read_pack(snapshot.corpus, VIDEOS, pack, columns)
        except StorageError:
            continue


def _damage(corpus: Corpus, row: dict[str, Any], *, quick: bool) -> str | None:
    if row["media_bytes"] is not None and row["size"] != row["media_bytes"]:
        return f"it has {row['size']} bytes instead of {row['media_bytes']}"
    if quick or row["media_sha256"] is None:
        return None
    with corpus.reading(row["media_path"]), corpus.open(row["media_path"]) as file:
        found = hashlib.sha256()
        while block := file.read(8 << 20):
            found.update(block)
    return None if found.hexdigest() == row["media_sha256"] else "its content has changed: the digest differs"


def _media_problem(kind: Kind, row: dict[str, Any], what: str) -> Problem:
    return Problem(kind=kind, file=row["media_path"], what=what, stage=CRAWL, units=1, example=row["unit_id"])


def _keeps_media(corpus: Corpus) -> bool:
    """Whether no run was allowed to remove the media of videos that are done."""
    recipes = [path for info in corpus.files("runs") if (path := corpus.relative(info.path)).endswith("/recipe.yaml")]
    with ThreadPoolExecutor(_THREADS) as pool:
        read = pool.map(lambda path: yaml.safe_load(corpus.read(path)) or {}, recipes)
        return all((recipe.get("crawl") or {}).get("keep_media", True) for recipe in read)
