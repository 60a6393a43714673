"""The ledger: one Parquet row per unit of work, written last. A unit is finished only if its row says so.

Rows are only ever added; the newest row of a unit counts. The driver is the only writer, so its clock orders the rows;
workers send it their outcomes.
"""

import datetime as dt
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import duckdb
import pyarrow as pa

from pipeline.corpus.files import Corpus
from schemas.tables import LEDGER

# Outcomes that are not flushed yet are lost if the driver is killed; each flush writes a file.
FLUSH_SECONDS = 2.0
FLUSH_ROWS = 4096

# With more files than this, listing them takes longer than merging them.
COMPACT_ABOVE = 64

_LATEST = """
SELECT * FROM history
QUALIFY row_number() OVER (PARTITION BY stage, scope, unit_id ORDER BY finished_at DESC, attempts DESC) = 1
"""

_LIVE = """
SELECT scope, unit_id, fingerprint, unnest(outputs) AS path
FROM latest WHERE status IN ('ok', 'empty')
"""


def ledger_stages(corpus: Corpus) -> list[str]:
    """Names of the stages and imports that have a ledger in a corpus, sorted."""
    return sorted({corpus.relative(info.path).split("/")[1] for info in corpus.files("ledger")})


class Ledger:
    """Ledger of one stage of one corpus."""

    def __init__(self, corpus: Corpus, stage: str) -> None:
        self.corpus = corpus
        self.stage = stage
        self.folder = f"ledger/{stage}"

    def paths(self) -> list[str]:
        """Files of the ledger, oldest name first."""
        found = (self.corpus.relative(info.path) for info in self.corpus.files(self.folder))
        # Temporary files have no suffix.
        return sorted(path for path in found if path.endswith(".parquet"))

    def history(self) -> pa.Table:
        """All rows, old ones included."""
        tables = [_current(self.corpus.read_table(path)) for path in self.paths()]
        return pa.concat_tables(tables) if tables else LEDGER.empty_table()

    def latest(self) -> pa.Table:
        """The newest row of each unit."""
        return query(_LATEST, history=self.history()).cast(LEDGER)

    def live(self) -> pa.Table:
        """Which rows of which files count, as rows of scope, unit_id, fingerprint and path."""
        return query(_LIVE, latest=self.latest())

    def append(self, rows: Iterable[Mapping[str, Any]]) -> str:
        """Commit outcomes and set their time of commit. Returns the path of the new file."""
        now = dt.datetime.now(dt.UTC)
        stamped = [{**row, "stage": self.stage, "finished_at": now} for row in rows]
        return self._write(pa.Table.from_pylist(stamped, schema=LEDGER))

    def compact(self, paths: Sequence[str] | None = None) -> None:
        """Merge files into one. A crash in between leaves duplicate rows, which ``latest`` ignores.

        Args:
            paths: Files to merge; None = all of the stage.
        """
        paths = self.paths() if paths is None else paths
        if len(paths) < 2:
            return
        history = pa.concat_tables(_current(self.corpus.read_table(path)) for path in paths)
        self._write(query("SELECT DISTINCT * FROM history ORDER BY finished_at, unit_id", history=history).cast(LEDGER))
        for path in paths:
            self.corpus.delete(path)

    def _write(self, table: pa.Table) -> str:
        path = f"{self.folder}/{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        self.corpus.write_table(table, path)
        return path


class LedgerWriter:
    """Collects outcomes and commits them in batches, so that a week of units does not leave a million files.

    A context manager; leaving it commits the collected outcomes, after an exception, too.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
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


def _current(table: pa.Table) -> pa.Table:
    """The rows with the current columns; columns that an earlier version did not write are null."""
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
