"""Where packs lie: compaction moves them to larger files and records it here, beside the ledger."""

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import places_of, whole
from pipeline.errors import MissingFileError
from schemas.tables import LAYOUT
from stages.arrays import Column, arrow, table_of

FOLDER: Final = "layout"

# A merge of the records, during a listing, removes files that were listed.
_READS: Final = 5


class Layout:
    """The records of a corpus's compactions.

    Args:
        corpus: The corpus.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._tables: dict[str, pa.Table] = {}
        self._rows: pa.Table | None = None

    def refresh(self) -> None:
        """List the records; only those that are new are read."""
        for read in range(1, _READS + 1):
            paths = (self.corpus.relative(info.path) for info in self.corpus.files(FOLDER))
            found = sorted(path for path in paths if path.endswith(".parquet") and "/." not in path)
            if found == sorted(self._tables):
                return
            try:
                self._tables = {path: self._tables.get(path) or self._read(path) for path in found}
            except MissingFileError:
                if read == _READS:
                    raise
                continue
            self._rows = None
            return

    def _read(self, path: str) -> pa.Table:
        return self.corpus.read_table(path).cast(LAYOUT)

    def records(self) -> list[str]:
        """Files that the rows were read from."""
        return sorted(self._tables)

    def history(self) -> pa.Table:
        """Rows of ``schemas.tables.LAYOUT``, those of earlier places included, by path and then by time."""
        return self._all().sort_by([("path", "ascending"), ("placed_at", "ascending")])

    def _all(self) -> pa.Table:
        return pa.concat_tables([LAYOUT.empty_table(), *self._tables.values()])

    def rows(self) -> pa.Table:
        """The newest row of each pack that was ever moved."""
        if self._rows is None:
            history = self.history()
            self._rows = history.filter(_last_of_each(history["path"]))
        return self._rows

    def locate(self, packs: pa.Table) -> pa.Table:
        """Add file, first_row and num_rows to packs.

        Args:
            packs: Any columns, ``path`` among them.

        Returns:
            The rows in the same order. A pack that was not compacted is a file of its own, read whole.
        """
        rows = self.rows()
        places = places_of(packs["path"], rows, "path")
        # Any: the stubs admit no mixture of arrays and chunked arrays.
        coalesce: Any = pc.coalesce
        packs = packs.append_column("file", coalesce(rows["file"].take(places), packs["path"]))
        for name in ("first_row", "num_rows"):
            packs = packs.append_column(name, rows[name].take(places))
        return packs

    def left(self) -> pa.Table:
        """Files that packs have left: columns file, and left_at, the last time that one did."""
        history = self.history()
        moved = _last_of_each(history["path"])
        # A pack leaves its own file when it is moved first, and an earlier place when it is moved again.
        following = arrow(np.flatnonzero(~moved.to_numpy(zero_copy_only=False)) + 1)
        earlier = pa.Table.from_arrays(
            [history["file"].filter(pc.invert(moved)), history["placed_at"].take(following)], names=["file", "left_at"]
        )
        own = pa.Table.from_arrays([history["path"], history["placed_at"]], names=["file", "left_at"])
        found = pa.concat_tables([own, earlier]).group_by("file").aggregate([("left_at", "max")])
        return found.rename_columns(["file", "left_at"])

    def append(self, rows: pa.Table) -> str:
        """Record where packs lie from now on. Returns the path of the new file.

        Args:
            rows: Columns path, file, first_row and num_rows.
        """
        last = pc.max(self._all()["placed_at"]).as_py()
        # Another machine's clock may be ahead, and the newest row counts.
        now = max(dt.datetime.now(dt.UTC), last + dt.timedelta(microseconds=1)) if last else dt.datetime.now(dt.UTC)
        placed = pa.repeat(pa.scalar(now, LAYOUT.field("placed_at").type), len(rows))
        return self._write(rows.append_column("placed_at", placed))

    def bring_home(self, paths: Iterable[str]) -> None:
        """Record that packs lie in files of their own again, those of them that compaction had moved.

        Units that are worked on again under the same recipe, from the same inputs, write the pack that they had written
        before. Where that was moved, perhaps without the rows of units that did not count then, the new file counts.

        Args:
            paths: Packs whose own files were written.
        """
        rows = self.rows()
        moved = rows.filter(pc.not_equal(rows["file"], rows["path"]))
        home = whole(moved["path"].filter(pc.is_in(moved["path"], value_set=pa.array(list(paths), pa.string()))))
        if not len(home):
            return
        counts = pa.array([self._rows_of(str(path)) for path in home.to_pylist()], pa.int64())
        start = pa.repeat(pa.scalar(0, pa.int64()), len(home))
        self.append(table_of({"path": home, "file": home, "first_row": start, "num_rows": counts}))

    def _rows_of(self, path: str) -> int:
        with self.corpus.reading(path), self.corpus.open(path) as file:
            return int(pq.read_metadata(file).num_rows)

    def merge(self, gone: "pa.Array[Any]") -> None:
        """Merge the records into one file.

        Args:
            gone: Files that do not exist any more; what says that a pack once lay there is dropped.
        """
        records = self.records()
        if len(records) < 2:
            return
        history = self.history()
        kept = pc.or_(_last_of_each(history["path"]), pc.invert(pc.is_in(history["file"], value_set=gone)))
        self._write(history.filter(kept))
        self.corpus.delete(*records)
        for record in records:
            del self._tables[record]

    def _write(self, rows: pa.Table) -> str:
        path = f"{FOLDER}/{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        table = rows.select(LAYOUT.names).cast(LAYOUT)
        self.corpus.write_table(table, path)
        self._tables[path], self._rows = table, None
        return path


def _last_of_each(paths: Column) -> "pa.BooleanArray":
    """Whether each of some sorted strings is the last of its equals."""
    column = whole(paths)
    last = np.ones(len(column), bool)
    if len(column) > 1:
        last[:-1] = pc.not_equal(column[:-1], column[1:]).to_numpy(zero_copy_only=False)
    return pa.array(last)
