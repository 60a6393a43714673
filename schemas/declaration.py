"""What a stage declares about a table that it writes; files, SQL, garbage collection and reports follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

Scope = Literal["model", "variant"]
"""What the ledger's scope of a table's units is called in SQL."""

SCOPES: Final[Mapping[Scope, str]] = {"model": "embedding model", "variant": "caption variant"}
"""Documentation of those columns."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What the rows of a table say about crops: SQL and ``publish`` join it to them.

    Args:
        key: Column by which rows and crops are joined.
        columns: Columns of the table that crops get in SQL and in ``publish``; null where a crop has no row.
        selectors: Further columns that only ``publish`` reads.
        flag: Documented boolean column of crops that says whether a crop has a row; None = no such column.
        chained: Whether the first of the columns names another crop, which may have a row itself: its row counts then.
        reason: Why ``publish`` leaves marked crops out, in a word; None = it does not.
        keep: Key of the recipe's ``publish`` block under which marked crops are published all the same.
    """

    key: Literal["crop_id", "detection_id"] = "crop_id"
    columns: tuple[str, ...] = ()
    selectors: tuple[str, ...] = ()
    flag: "pa.Field[Any] | None" = None
    chained: bool = False
    reason: str | None = None
    keep: str | None = None


@dataclass(frozen=True, kw_only=True)
class Unnested:
    """A list of structs that SQL shows as a table of its own, one row per element.

    Args:
        name: Name of that table.
        column: The list.
        row: What one row is, in words.
        docs: Documentation of the struct's fields and of the rank, by name.
        beside: Columns that each row repeats, the keys first.
        rank: Column that gets the place of the element in its list, from 0; None = no such column.
    """

    name: str
    column: str
    row: str
    docs: tuple[tuple[str, str], ...]
    beside: tuple[str, ...] = ("crop_id", "video_id", "unit_id")
    rank: str | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a corpus. Two stages that write the same table declare the same object.

    Args:
        name: Name in SQL, and the key under which a step returns its rows (``pipeline.run.units.result``).
        folder: Folder of its files, directly below the corpus.
        schema: Columns with their documentation. Columns may be added later: in files of an older version a missing
            nullable column reads as null.
        row: What one row is, in words; the comment on the SQL view.
        scope: Column that the ledger's scope becomes in SQL; the files of each scope lie in a subfolder of their own.
            None = the units have no scope.
        counts_crops: Whether each row is a crop that was cut, and counts as one in the ledger and in progress reports.
        mark: What the rows say about crops; None where they say nothing about single crops.
        marked: Whether the SQL view shows the marks of its rows.
        compacted: Whether its files are merged to larger ones: not those that a unit writes at their final size.
        unnested: Tables that SQL shows instead of this one.
        repeats: Columns that repeat another table for training's sake; SQL does not show them again.
    """

    name: str
    folder: str
    schema: pa.Schema
    row: str
    scope: Scope | None = None
    counts_crops: bool = False
    mark: Mark | None = None
    marked: bool = False
    compacted: bool = True
    unnested: tuple[Unnested, ...] = ()
    repeats: tuple[str, ...] = ()

    def under(self, scope: str) -> str:
        """Folder of the files of one scope."""
        return f"{self.folder}/{scope}" if self.scope else self.folder

    @property
    def blob(self) -> str | None:
        """The column that holds files, such as JPEGs; None where no column does."""
        return next((field.name for field in self.schema if field.type == pa.binary()), None)
