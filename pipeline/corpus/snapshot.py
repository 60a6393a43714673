"""What counts in a corpus, as one command sees it: files of the ledger are read once, and no unit becomes an object."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import flattened, grouped, joined, lists_of, whole
from pipeline.corpus.layout import Layout
from pipeline.corpus.ledger import absorb, newest, stage_of
from pipeline.corpus.packs import PACK, Pack, read_packs
from pipeline.errors import MissingFileError
from schemas.declaration import Table
from schemas.tables import LEDGER
from stages.arrays import Column

# Beside it, the packs of a corpus are small. Packs of one file follow each other, and are read at once.
_PACKS_AT_ONCE: Final = 256

# A run merges the files of its ledgers while others read them.
_READS: Final = 5


_SETTLED: Final = pa.array(["ok", "empty", "retired"])
"""Statuses that decide which rows of a unit count."""

LIVE: Final = pa.schema([(name, pa.string()) for name in ("scope", "unit_id", "fingerprint", "path")])
"""Columns of ``Snapshot.live``."""


class Snapshot:
    """The ledgers and the layout of a corpus at one moment.

    Args:
        corpus: The corpus; a folder that does not exist has no rows.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._layout = Layout(corpus)
        self._files: dict[str, list[str]] = {}
        self._absorbed: dict[str, set[str]] = {}
        self._latest: dict[str, pa.Table] = {}
        # Rows of units that were done once and whose last attempt failed.
        self._earlier: dict[str, pa.Table] = {}
        self._sizes: dict[str, pa.Table] = {}
        self._live: dict[str, pa.Table] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what was committed since; only files that are new are read, and only when they are asked for."""
        self._sizes = {}
        self._list()
        self._layout.refresh()

    def _list(self) -> None:
        found: dict[str, list[str]] = {}
        for path in sorted(self.corpus.relative(info.path) for info in self.corpus.files("ledger")):
            stage = stage_of(path)
            if stage is not None:
                found.setdefault(stage, []).append(path)
        self._files = found

    def stages(self) -> list[str]:
        """Names of the stages and imports that have a ledger, sorted."""
        return sorted(self._files)

    def history(self, stage: str) -> pa.Table:
        """Every row of ``schemas.tables.LEDGER``, superseded ones included, each once or more often; read anew."""
        return pa.concat_tables([LEDGER.empty_table(), *self._absorb(stage, set())])

    def latest(self, stage: str) -> pa.Table:
        """The newest row of each unit, as rows of ``schemas.tables.LEDGER``."""
        known, absorbed = self._latest.get(stage, LEDGER.empty_table()), self._absorbed.setdefault(stage, set())
        if not {path.rpartition("/")[2] for path in self._files.get(stage, [])} <= absorbed:
            history = pa.concat_tables([known, *self._absorb(stage, absorbed)])
            self._latest[stage] = newest(history)
            earlier = self._earlier.get(stage, LEDGER.empty_table())
            self._earlier[stage] = _earlier(self._latest[stage], pa.concat_tables([history, earlier]))
            self._live.pop(stage, None)
        return self._latest.get(stage, known)

    def _absorb(self, stage: str, absorbed: set[str]) -> list[pa.Table]:
        """Rows of the files of a ledger that are not among the absorbed ones."""
        tables: list[pa.Table] = []
        for read in range(1, _READS + 1):
            try:
                for table in absorb(self.corpus, self._files.get(stage, []), absorbed):
                    tables.append(table)  # noqa: PERF402 - what was read before an error counts
            except MissingFileError:
                if read == _READS:
                    raise
                # A run has merged files since they were listed.
                self._list()
            else:
                break
        return tables

    def settled(self, stage: str) -> pa.Table:
        """The newest row of each unit that was done or retired, as rows of ``schemas.tables.LEDGER``.

        ``latest`` says how the last attempt at a unit ended, and decides what is to do. If that attempt failed, the
        rows of an earlier one, made from other inputs or under another recipe, go on counting until new ones replace
        them: this row names their files and their fingerprint. A unit that never succeeded has no row here.
        """
        latest = self.latest(stage)
        earlier = self._earlier.get(stage, LEDGER.empty_table())
        if pc.all(_is_settled(latest)).as_py() in (True, None):
            return latest
        return pa.concat_tables([latest.filter(_is_settled(latest)), earlier])

    def live(self, stage: str) -> pa.Table:
        """Which rows of which packs count, as rows of ``LIVE``; see ``settled`` for those of units that failed."""
        settled = self.settled(stage)
        if stage not in self._live:
            self._live[stage] = _live(settled)
        return self._live[stage]

    def packs(self, stage: str, table: Table, scope: str = "") -> pa.Table:
        """Packs of one table that have rows that count.

        Args:
            stage: Stage that wrote the rows; another stage's rows of the same table are not listed.
            table: The table.
            scope: Model or variant; empty for tables without a scope.

        Returns:
            Rows of ``pipeline.corpus.packs.PACK``, sorted by path.
        """
        found = self.live_of(stage, table, scope)
        packs = grouped(found, ["path"], "unit_id").rename_columns(["path", "live"])
        return self._layout.locate(packs).select(PACK.names).cast(PACK)

    def live_of(self, stage: str, table: Table, scope: str = "") -> pa.Table:
        """Rows of ``live`` that concern one table: columns unit_id and path."""
        live = self.live(stage)
        ours = pc.and_(
            pc.equal(live["scope"], pa.scalar(scope)), pc.starts_with(live["path"], f"{table.under(scope)}/")
        )
        # A run also keeps its models in the folder of its metrics.
        ours = pc.and_(ours, pc.ends_with(live["path"], ".parquet"))
        return live.filter(ours).select(["unit_id", "path"])

    def scan(self, stage: str, table: Table, columns: Sequence[str], scope: str = "") -> Iterator[pa.Table]:
        """Live rows of a whole table, pack by pack."""
        packs = self.packs(stage, table, scope).sort_by([("file", "ascending"), ("first_row", "ascending")])
        for start in range(0, len(packs), _PACKS_AT_ONCE):
            rows: list[Pack] = packs.slice(start, _PACKS_AT_ONCE).to_pylist()
            yield from read_packs(self.corpus, table, rows, columns)

    def read(self, stage: str, table: Table, columns: Sequence[str], scope: str = "") -> pa.Table:
        """Live rows of a whole table, at once: for columns without bytes and vectors."""
        empty = table.schema.empty_table().select(list(columns))
        return pa.concat_tables([empty, *self.scan(stage, table, columns, scope)])

    def locations(self) -> pa.Table:
        """Where packs lie that were compacted: rows of ``schemas.tables.LAYOUT``, one per pack."""
        return self._layout.rows()

    def files_in_use(self) -> "pa.Array[Any]":
        """Every file that holds what counts, of all stages and kinds, each once."""
        paths = [self.live(stage).select(["path"]) for stage in self.stages()]
        located = self.locate(pa.concat_tables([LIVE.empty_table().select(["path"]), *paths]))
        return whole(located["file"].unique())

    def left_since(self, moment: dt.datetime) -> "pa.Array[Any]":
        """Files that packs left at that moment or later: a reader may still read them."""
        left = self._layout.left()
        return whole(left["file"].filter(pc.greater_equal(left["left_at"], pa.scalar(moment, left["left_at"].type))))

    def sizes(self, folders: Iterable[str]) -> pa.Table:
        """Columns file and bytes of the files below data folders; each folder is listed once until ``refresh``."""
        tables = [pa.table({"file": pa.array([], pa.string()), "bytes": pa.array([], pa.int64())})]
        for folder in folders:
            if folder not in self._sizes:
                found = list(self.corpus.files(folder))
                paths = pa.array([self.corpus.relative(info.path) for info in found], pa.string())
                sizes = pa.array([info.size for info in found], pa.int64())
                self._sizes[folder] = pa.table([paths, sizes], names=["file", "bytes"])
            tables.append(self._sizes[folder])
        return pa.concat_tables(tables)

    def locate(self, packs: pa.Table) -> pa.Table:
        """Add file, first_row and num_rows to a table with the column path."""
        return self._layout.locate(packs)


def _is_settled(rows: pa.Table) -> "pa.BooleanArray | pa.ChunkedArray[Any]":
    return pc.is_in(rows["status"], _SETTLED)


def _earlier(latest: pa.Table, history: pa.Table) -> pa.Table:
    """The newest settled rows of units whose newest row is not settled."""
    failed = latest.filter(pc.invert(_is_settled(latest)))
    if not len(failed):
        return LEDGER.empty_table()
    history = history.filter(pc.is_in(history["unit_id"], value_set=whole(failed["unit_id"])))
    rows = newest(history.filter(_is_settled(history)))
    # A unit of the same name may have failed under another model or variant only.
    keys = [joined("/", table["scope"], table["unit_id"]) for table in (rows, failed)]
    return rows.filter(pc.is_in(keys[0], value_set=keys[1]))


def _live(latest: pa.Table) -> pa.Table:
    counting = latest.filter(pc.is_in(latest["status"], pa.array(["ok", "empty"])))
    paths, parents = flattened(counting["outputs"])
    return counting.select(LIVE.names[:-1]).take(parents).append_column("path", paths).cast(LIVE)


def derived(packs: pa.Table) -> pa.Table:
    """Packs of a stage that has one unit per source pack, by the stem of the source.

    Args:
        packs: Rows of ``PACK``.

    Returns:
        The same columns, one row per unit that counts, with ``live`` reduced to it, and the column stem.
    """
    names, parents = flattened(packs["live"])
    rows = packs.take(parents)
    rows = rows.set_column(rows.schema.get_field_index("live"), "live", lists_of(names, np.arange(len(names))))
    return rows.append_column("stem", stems(names))


def first_parts(names: Column) -> "pa.Array[Any]":
    """What precedes the last slash of each string."""
    parts: Any = pc.split_pattern(whole(names), "/", max_splits=1, reverse=True)
    heads: pa.Array[Any] = pc.list_element(parts, 0)
    return heads


def stems(paths: Column) -> "pa.Array[Any]":
    """Names of files or units, without the folders before them and the extension ``.parquet``."""
    found: Any = pc.extract_regex(whole(paths), r"(?P<stem>[^/]*?)(?P<kind>\.parquet)?$")
    names: pa.Array[Any] = found.field("stem")
    return names
