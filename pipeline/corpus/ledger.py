"""The ledger: one Parquet row per unit of work, written last. A unit is finished only if its row says so.

Rows are only ever added; the newest row of a unit counts. The driver is the only writer, so its clock orders the rows;
workers send it their outcomes. The clock of the next driver may be behind: rows are stamped later than all that are
there.
"""

import datetime as dt
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.files import Corpus
from pipeline.corpus.layout import Layout
from schemas.tables import LEDGER
from stages.arrays import arrow

log = logging.getLogger("reidforge")

# Outcomes that are not flushed yet are lost if the driver is killed; each flush writes a file.
FLUSH_SECONDS = 2.0
FLUSH_ROWS = 4096

# With more files than this, listing them takes longer than merging them.
COMPACT_ABOVE = 64

# A difference of clocks that deserves a warning.
_CLOCKS_DIFFER = dt.timedelta(minutes=1)

_LATEST = """
SELECT arg_max(position, (finished_at, attempts, position)) AS position FROM keys GROUP BY stage, scope, unit_id
"""

_FIRST = "SELECT min(position) AS position FROM keys GROUP BY scope, unit_id, finished_at, attempts"

_REPEATED = "SELECT 1 FROM keys GROUP BY stage, scope, unit_id HAVING count(*) > 1 LIMIT 1"

MERGED = b"merged"
"""Metadata of a merged file: the names of the files whose rows it holds."""


def stage_of(path: str) -> str | None:
    """Stage of a file of the ledger; None if the file is not one, such as a file that a file manager left."""
    folder, *names = path.split("/")
    is_ours = folder == "ledger" and len(names) == 2 and names[1].endswith(".parquet") and names[1][0] != "."
    return names[0] if is_ours else None


def ledger_stages(corpus: Corpus) -> list[str]:
    """Names of the stages and imports that have a ledger in a corpus, sorted."""
    found = (stage_of(corpus.relative(info.path)) for info in corpus.files("ledger"))
    return sorted({stage for stage in found if stage is not None})


def absorb(corpus: Corpus, paths: Iterable[str], absorbed: set[str]) -> Iterator[pa.Table]:
    """Read ledger files that are new.

    A merged file repeats the rows of the files that it replaced; if all of them were read, only its footer is.

    Args:
        corpus: The corpus.
        paths: Files of one ledger.
        absorbed: Names of files whose rows were read; extended by this function.

    Yields:
        Rows of ``schemas.tables.LEDGER``.

    Raises:
        DamagedFileError: A file is not a whole Parquet file of the ledger.
    """
    for path in paths:
        name = path.rpartition("/")[2]
        if name in absorbed:
            continue
        with corpus.reading(path):
            file = pq.ParquetFile(pa.BufferReader(corpus.read(path)))
            merged = set(json.loads((file.schema_arrow.metadata or {}).get(MERGED, b"[]")))
            rows = None if merged and merged <= absorbed else current(file.read())
        if rows is not None:
            yield rows
        absorbed |= {name, *merged}


def newest(history: pa.Table) -> pa.Table:
    """The newest row of each unit; of rows of the same moment, the one with more attempts."""
    with duckdb.connect() as connection:
        connection.register("keys", _keys(history))
        # Mostly each unit has one row, and comparing times would take three times as long.
        if not connection.sql(_REPEATED).fetchall():
            return history
        positions = connection.sql(_LATEST).to_arrow_table()["position"].combine_chunks()
    return history.take(positions.sort())


def newest_moment(rows: pa.Table) -> dt.datetime | None:
    """When the newest of the rows was committed; None without rows."""
    moment: dt.datetime | None = pc.max(rows["finished_at"]).as_py()
    return moment


def _distinct(history: pa.Table) -> pa.Table:
    """The rows without those that a merge, killed before it removed its sources, left twice."""
    kept = query(_FIRST, keys=_keys(history))["position"].combine_chunks()
    return history.take(kept.sort())


def _keys(history: pa.Table) -> pa.Table:
    """What tells rows apart, and the position of each: few columns, as DuckDB would carry all of them along."""
    keys = history.select(["stage", "scope", "unit_id", "finished_at", "attempts"])
    return keys.append_column("position", arrow(np.arange(len(history))))


class Ledger:
    """Ledger of one stage of one corpus.

    Args:
        corpus: The corpus.
        stage: The stage.
        newest_row: When the newest row that is there was committed; None = read it before the first ``append``.
    """

    def __init__(self, corpus: Corpus, stage: str, newest_row: dt.datetime | None = None) -> None:
        self.corpus = corpus
        self.stage = stage
        self.folder = f"ledger/{stage}"
        self._newest = newest_row
        self._is_stamped = False

    def paths(self) -> list[str]:
        """Files of the ledger, oldest name first."""
        found = (self.corpus.relative(info.path) for info in self.corpus.files(self.folder))
        # Temporary files have no suffix.
        return sorted(path for path in found if stage_of(path))

    def history(self) -> pa.Table:
        """All rows, old ones included."""
        return pa.concat_tables([LEDGER.empty_table(), *absorb(self.corpus, self.paths(), set())])

    def latest(self) -> pa.Table:
        """The newest row of each unit."""
        return newest(self.history())

    def append(self, rows: Iterable[Mapping[str, Any]]) -> str:
        """Commit outcomes and set their time of commit. Returns the path of the new file.

        The time is later than that of every row that is there: were the clock of this machine behind that of an earlier
        run, the rows would never count. Only one process at a time appends, see ``pipeline.corpus.lease``.
        """
        now = self._next_moment()
        stamped = [{**row, "stage": self.stage, "finished_at": now} for row in rows]
        return self._write(pa.Table.from_pylist(stamped, schema=LEDGER))

    def _next_moment(self) -> dt.datetime:
        now = dt.datetime.now(dt.UTC)
        newest_there = (newest_moment(self.history()) or now) if self._newest is None else self._newest
        if not self._is_stamped and newest_there - now > _CLOCKS_DIFFER:
            log.warning(
                "%s: its newest row is of %s, %s ahead of this machine's clock; new rows are stamped after it",
                self.folder, newest_there, newest_there - now,
            )  # fmt: skip
        self._newest, self._is_stamped = max(now, newest_there + dt.timedelta(microseconds=1)), True
        return self._newest

    def compact(self, paths: Sequence[str] | None = None) -> None:
        """Merge files into one. A crash in between leaves duplicate rows, which ``latest`` ignores.

        Args:
            paths: Files to merge; None = all of the stage.
        """
        paths = self.paths() if paths is None else paths
        if len(paths) < 2:
            return
        rows = _distinct(pa.concat_tables(absorb(self.corpus, paths, set())))
        names = json.dumps(sorted(path.rpartition("/")[2] for path in paths))
        self._write(rows.replace_schema_metadata({MERGED: names}))
        self.corpus.delete(*paths)

    def _write(self, table: pa.Table) -> str:
        # Names sort as the newest rows of the files do.
        moment = newest_moment(table) or dt.datetime.now(dt.UTC)
        path = f"{self.folder}/{moment:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        self.corpus.write_table(table, path)
        return path


class LedgerWriter:
    """Collects outcomes and commits them in batches, so that a week of units does not leave a million files.

    A context manager; leaving it commits the collected outcomes, after an exception, too.

    Args:
        ledger: Where they go.
        check: Called before each commit; raises if this process may not write any more.
    """

    def __init__(self, ledger: Ledger, check: Callable[[], None] = lambda: None) -> None:
        self.ledger = ledger
        self.check = check
        self.layout = Layout(ledger.corpus)
        self.layout.refresh()
        self.pending: list[Mapping[str, Any]] = []
        self.recent: list[str] = []
        self.flushed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add outcomes; they are committed with the next call after ``FLUSH_SECONDS``, or by ``flush``."""
        self.pending.extend(rows)
        if time.monotonic() - self.flushed_at > FLUSH_SECONDS or len(self.pending) > FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Commit the collected outcomes."""
        if self.pending:
            self.check()
            # Before the rows: they count on what the units have written now, not on what lay there before.
            self.layout.bring_home({path for row in self.pending for path in row["outputs"]})
            self.recent.append(self.ledger.append(self.pending))
        self.pending = []
        self.flushed_at = time.monotonic()
        if len(self.recent) >= COMPACT_ABOVE:
            self.ledger.compact(self.recent)
            self.recent = []


def retired(row: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """Ledger row that retires a unit: its files no longer count, and ``gc`` may remove them.

    Args:
        row: The unit's latest ledger row.
        run_id: The run that retires it.
    """
    return {**row, "status": "retired", "outputs": [], "rows_out": 0, "run_id": run_id}


def current(table: pa.Table) -> pa.Table:
    """The rows with the current columns; columns that an earlier version did not write are null."""
    if "unit_id" not in table.column_names:
        raise pa.ArrowInvalid(f"it has no column unit_id, but {', '.join(table.column_names) or 'no column'}")
    missing = [field for field in LEDGER if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(LEDGER.names).cast(LEDGER)


def query(sql: str, parameters: Mapping[str, Any] | None = None, **tables: pa.Table) -> pa.Table:
    """Run SQL over Arrow tables, each named by its keyword; ``$name`` refers to a parameter."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        rows: pa.Table = connection.sql(sql, params=parameters).to_arrow_table()
        return rows
