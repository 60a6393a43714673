"""What counts in a corpus, as one command sees it: files of the ledger are read once, and no unit becomes an object."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import flattened, grouped, lists_of, whole
from pipeline.corpus.layout import Layout
from pipeline.corpus.ledger import absorb, newest, stage_of
from pipeline.corpus.packs import PACK, Pack, read_packs
from schemas.declaration import Table
from schemas.tables import LEDGER
from stages.arrays import Column

# Beside it, the packs of a corpus are small. Packs of one file follow each other, and are read at once.
_PACKS_AT_ONCE: Final = 256


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
        self._history: dict[str, pa.Table] = {}
        self._latest: dict[str, pa.Table] = {}
        self._settled: dict[str, pa.Table] = {}
        self._live: dict[str, pa.Table] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what was committed since; only files that are new are read, and only when they are asked for."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.corpus.relative(info.path) for info in self.corpus.files("ledger")):
            stage = stage_of(path)
            if stage is not None:
                found.setdefault(stage, []).append(path)
        for stage in {*found, *self._files}:
            if found.get(stage) != self._files.get(stage):
                self._latest.pop(stage, None)
                self._settled.pop(stage, None)
                self._live.pop(stage, None)
        self._files = found
        self._layout.refresh()

    def stages(self) -> list[str]:
        """Names of the stages and imports that have a ledger, sorted."""
        return sorted(self._files)

    def history(self, stage: str) -> pa.Table:
        """Every row of ``schemas.tables.LEDGER``, superseded ones included, each once or more often."""
        known, absorbed = self._history.get(stage, LEDGER.empty_table()), self._absorbed.setdefault(stage, set())
        tables = list(absorb(self.corpus, self._files.get(stage, []), absorbed))
        if tables:
            self._history[stage] = pa.concat_tables([known, *tables])
        return self._history.get(stage, known)

    def latest(self, stage: str) -> pa.Table:
        """The newest row of each unit, as rows of ``schemas.tables.LEDGER``."""
        if stage not in self._latest:
            self._latest[stage] = newest(self.history(stage))
        return self._latest[stage]

    def settled(self, stage: str) -> pa.Table:
        """The newest row of each unit that was done or retired, as rows of ``schemas.tables.LEDGER``.

        ``latest`` says how the last attempt at a unit ended, and decides what is to do. If that attempt failed, the
        rows of an earlier one, made from other inputs or under another recipe, go on counting until new ones replace
        them: this row names their files and their fingerprint. A unit that never succeeded has no row here.
        """
        latest = self.latest(stage)
        if pc.all(pc.is_in(latest["status"], _SETTLED)).as_py() in (True, None):
            return latest
        if stage not in self._settled:
            history = self.history(stage)
            self._settled[stage] = newest(history.filter(pc.is_in(history["status"], _SETTLED)))
        return self._settled[stage]

    def live(self, stage: str) -> pa.Table:
        """Which rows of which packs count, as rows of ``LIVE``; see ``settled`` for those of units that failed."""
        if stage not in self._live:
            self._live[stage] = _live(self.settled(stage))
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

    def locate(self, packs: pa.Table) -> pa.Table:
        """Add file, first_row and num_rows to a table with the column path."""
        return self._layout.locate(packs)


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
