"""Where packs lie: compaction moves them to larger files and records it here, beside the ledger."""

import datetime as dt
import uuid
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from schemas.tables import LAYOUT

FOLDER: Final = "layout"


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
        paths = (self.corpus.relative(info.path) for info in self.corpus.files(FOLDER))
        found = sorted(path for path in paths if path.endswith(".parquet"))
        if found == sorted(self._tables):
            return
        self._tables = {path: self._tables.get(path) or self.corpus.read_table(path) for path in found}
        self._rows = None

    def rows(self) -> pa.Table:
        """The newest row of ``schemas.tables.LAYOUT`` of each pack."""
        if self._rows is None:
            rows = pa.concat_tables([LAYOUT.empty_table(), *self._tables.values()])
            order = pc.sort_indices(rows, sort_keys=[("path", "ascending"), ("placed_at", "ascending")])
            rows = rows.take(order)
            paths = rows["path"].combine_chunks()
            last = np.ones(len(rows), bool)
            if len(rows) > 1:
                last[:-1] = pc.not_equal(paths[:-1], paths[1:]).to_numpy(zero_copy_only=False)
            self._rows = rows.filter(pa.array(last))
        return self._rows

    def locate(self, packs: pa.Table) -> pa.Table:
        """Add file, first_row and num_rows to packs.

        Args:
            packs: Any columns, ``path`` among them.

        Returns:
            The rows in the same order. A pack that was not compacted is a file of its own, read whole.
        """
        rows = self.rows()
        places = pc.index_in(packs["path"], value_set=rows["path"].combine_chunks())
        file = pc.coalesce(rows["file"].take(places), packs["path"])
        packs = packs.append_column("file", file)
        for name in ("first_row", "num_rows"):
            packs = packs.append_column(name, rows[name].take(places))
        return packs

    def append(self, rows: pa.Table) -> str:
        """Record where packs lie from now on. Returns the path of the new file.

        Args:
            rows: Columns path, file, first_row and num_rows.
        """
        now = dt.datetime.now(dt.UTC)
        placed = rows.append_column("placed_at", pa.repeat(pa.scalar(now, LAYOUT.field("placed_at").type), len(rows)))
        path = f"{FOLDER}/{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        self.corpus.write_table(placed.select(LAYOUT.names).cast(LAYOUT), path)
        return path
