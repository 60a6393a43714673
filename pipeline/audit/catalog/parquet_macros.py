"""Pictures and vectors in SQL: table macros that read them from the corpus's Parquet files.

The catalog's own macros work in any DuckDB client. A macro cannot know its files when DuckDB plans it, and DuckDB opens
every file of a pattern unless its name is compared with one value. So each row that is asked for gets a scan of its
own, which opens one file. ``reidforge`` replaces the macros by functions in Python that read any number of rows.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import sqltype
from duckdb.func import FunctionNullHandling, PythonUDFType
from duckdb.sqltypes import BIGINT, VARCHAR

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import whole
from stages.arrays import Column

SCANS: Final = 32
"""Rows that a macro reads at most in a plain DuckDB client."""

# Files and row groups kept for the next rows; a file holds its footer, a row group of pictures some 64 MB.
_OPEN: Final = 16
_HELD: Final = 2


@dataclass(frozen=True, kw_only=True)
class _Macro:
    """A macro that returns one column of the rows of some crops.

    Args:
        name: Its name; its parameter is ``id``, or ``ids`` where ``several``.
        table: Table of the catalog, and folder of its files.
        keys: Columns that tell the rows of a pack apart.
        beside: Further columns of the catalog that it returns.
        column: The column in Parquet.
        kind: DuckDB's type of it.
        comment: What it returns.
        scans: Rows that a plain client gets at most.
        several: Whether it takes a list of crops.
    """

    name: str
    table: str
    keys: tuple[str, ...] = ("crop_id",)
    beside: tuple[str, ...] = ()
    column: str
    kind: str
    comment: str
    scans: int = 1
    several: bool = False


_MACROS: Final = (
    _Macro(
        name="jpeg_of",
        table="crops",
        column="jpeg",
        kind="BLOB",
        comment="the picture of one crop, JPEG-encoded",
    ),
    _Macro(
        name="jpegs_of",
        table="crops",
        column="jpeg",
        kind="BLOB",
        comment=f"pictures of a list of crops; outside reidforge at most {SCANS}",
        scans=SCANS,
        several=True,
    ),
    _Macro(
        name="keypoints_of",
        table="crops",
        column="keypoints",
        kind="FLOAT[]",
        comment="17 COCO keypoints of one crop, each x and y in pixels of the crop and confidence; null without pose",
    ),
    _Macro(
        name="embedding_of",
        table="embeddings",
        keys=("crop_id", "region"),
        beside=("model", "video_id"),
        column="embedding",
        kind="FLOAT[]",
        comment="image features of one crop, in every model and region",
        scans=SCANS,
    ),
)

# The corpus is the current folder unless the variable says otherwise, so a catalog holds no absolute path.
_ROOT: Final = "coalesce(getvariable('corpus')::VARCHAR || '/', '')"
_PATTERN: Final = f"regexp_replace({_ROOT}, '([*?\\[])', '[\\1]', 'g')"

_VECTORS: Final = """
CREATE {temp} MACRO embedding_vectors() AS TABLE
    SELECT e.model, e.crop_id, e.video_id, e.region, {value} AS embedding
    FROM source.embeddings AS e JOIN source.packs AS k USING (pack){join};
"""


def parquet_macros() -> str:
    """SQL of the macros for any DuckDB client."""
    join = f"""
        JOIN {_scan(_MACROS[-1])} AS p
            ON p.filename = {_ROOT} || k.file AND p.crop_id = e.crop_id AND p.region = e.region
            AND p.file_row_number >= k.first_row
            AND (k.num_rows IS NULL OR p.file_row_number < k.first_row + k.num_rows)"""
    parts = [_plain(macro) for macro in _MACROS]
    parts += [_VECTORS.format(temp="", value="p.embedding", join=join)]
    parts += [f"COMMENT ON MACRO TABLE {macro.name} IS '{macro.comment}';" for macro in _MACROS]
    parts += ["COMMENT ON MACRO TABLE embedding_vectors IS 'image features of all crops; reads all their files';"]
    return "\n".join(parts)


def write_examples(folder: Path) -> None:
    """Write a file without rows for each folder that the macros read: DuckDB looks for one when it creates them."""
    for macro in _MACROS:
        path = folder / macro.table / "none.parquet"
        path.parent.mkdir(exist_ok=True)
        columns = [(name, pa.string()) for name in macro.keys]
        pq.write_table(pa.schema([*columns, (macro.column, _ARROW[macro.column])]).empty_table(), path)


def read_by_functions(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> None:
    """Replace the macros, for this connection, by ones that read the needed row groups of the needed files only."""
    known = {file for (file,) in connection.execute("SELECT DISTINCT file FROM source.packs").fetchall()}
    files = _Files(corpus, known)
    for macro in {macro.column: macro for macro in _MACROS}.values():
        connection.create_function(
            f"parquet_{macro.column}",
            _reader(files, macro),
            [VARCHAR, BIGINT, BIGINT, VARCHAR],
            sqltype(macro.kind),
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )
    for macro in _MACROS:
        connection.execute(_by_function(macro))
    value = "parquet_embedding(k.file, k.first_row, k.first_row + k.num_rows, concat_ws('/', e.crop_id, e.region))"
    connection.execute(_VECTORS.format(temp="TEMP", value=value, join=""))


def _scan(macro: _Macro) -> str:
    kinds = {**dict.fromkeys(macro.keys, "VARCHAR"), macro.column: macro.kind}
    fields = (f"'{name}': {{name: '{name}', type: '{kind}', default_value: NULL}}" for name, kind in kinds.items())
    folder = f"{_PATTERN} || '{macro.table}/**/*.parquet'"
    return (
        f"read_parquet({folder}, schema = MAP {{{', '.join(fields)}}}, filename = true, "
        "file_row_number = true, hive_partitioning = false)"
    )


def _places(macro: _Macro) -> str:
    chosen = "own.crop_id IN (SELECT unnest(ids))" if macro.several else "own.crop_id = id"
    return f"""
        SELECT {", ".join(f"own.{name}" for name in (*macro.beside, *macro.keys))}, file, first_row,
            first_row + num_rows AS end_row
        FROM source.{macro.table} AS own JOIN source.packs USING (pack) WHERE {chosen}"""  # noqa: S608 - constants


def _plain(macro: _Macro) -> str:
    shown = ", ".join(f"place.{name}" for name in (*macro.beside, *macro.keys))
    # Values that no file and no row has, where fewer rows are asked for: without them, DuckDB would open all files.
    chosen = {"filename": f"{_ROOT} || file", **{name: name for name in macro.keys}}
    branches = " UNION ALL ".join(
        f"""(SELECT {shown}, p.{macro.column}
        FROM (FROM places WHERE number = {number}) AS place, {_scan(macro)} AS p
        WHERE {
            " AND ".join(
                f"p.{name} = coalesce((SELECT {value} FROM places WHERE number = {number}), '')"
                for name, value in chosen.items()
            )
        } AND p.file_row_number >= place.first_row
            AND (place.end_row IS NULL OR p.file_row_number < place.end_row))"""  # noqa: S608 - constants
        for number in range(1, macro.scans + 1)
    )
    return f"""CREATE MACRO {macro.name}({"ids" if macro.several else "id"}) AS TABLE
    WITH places AS MATERIALIZED (
        SELECT *, row_number() OVER (ORDER BY file, crop_id) AS number FROM ({_places(macro)})
    )
    {branches};"""  # noqa: S608 - constants


def _by_function(macro: _Macro) -> str:
    shown = ", ".join((*macro.beside, *macro.keys))
    value = f"parquet_{macro.column}(file, first_row, end_row, concat_ws('/', {', '.join(macro.keys)}))"
    return f"""CREATE TEMP MACRO {macro.name}({"ids" if macro.several else "id"}) AS TABLE
    SELECT {shown}, {value} AS {macro.column} FROM ({_places(macro)} ORDER BY file, first_row)"""  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class _Group:
    """One column of a row group.

    Args:
        first: Number of its first row in the file.
        values: The column.
        places: Number of a row in the group by its keys.
        others: Numbers of further rows with the same keys: a file may hold two packs that a crop is in.
    """

    first: int
    values: Column
    places: dict[str, int]
    others: dict[str, list[int]]

    def find(self, key: str, first: int, end: int | None) -> int | None:
        """Number of the row with these keys between two rows of the file."""
        if key not in self.places:
            return None
        rows = (self.places[key], *self.others.get(key, ()))
        return next(
            (row for row in rows if first <= row + self.first and (end is None or row + self.first < end)), None
        )


def _reader(files: "_Files", macro: _Macro) -> Any:
    # DuckDB evaluates annotations, and Arrow's types in them cannot be.
    def read(paths: Any, firsts: Any, ends: Any, keys: Any) -> Any:
        columns = (column.to_pylist() for column in (paths, firsts, ends, keys))
        return files.read(macro.column, macro.keys, list(zip(*columns, strict=True)))

    return read


class _Files:
    """Parquet files of a corpus, opened as they are needed."""

    def __init__(self, corpus: Corpus, known: set[str]) -> None:
        self._corpus = corpus
        self._known = known
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int, str], _Group] = OrderedDict()

    def read(self, column: str, keys: tuple[str, ...], asked: list[tuple[str, int, int | None, str]]) -> Column:
        """Values of a column.

        Args:
            column: The column.
            keys: Columns that tell the rows of a pack apart.
            asked: N times the file, first row and end of the pack in it (None: to the end), and the keys, with slashes.

        Returns:
            N values; null where a pack has no such row.
        """
        by_pack: dict[tuple[str, int, int | None], list[int]] = {}
        for at, row in enumerate(asked):
            by_pack.setdefault(row[:3], []).append(at)
        # The first value, null, stands for rows that no pack has.
        parts: list[Any] = [pa.array([None], _ARROW[column])]
        places, taken = [0] * len(asked), 1
        # In the order of the files, whatever order the query has.
        for pack in sorted(by_pack, key=lambda pack: pack[:2]):
            for group in self._groups_of(pack, column, keys):
                found = [(at, group.find(asked[at][3], *pack[1:])) for at in by_pack[pack]]
                rows = [(at, row) for at, row in found if row is not None]
                for number, (at, _) in enumerate(rows, taken):
                    places[at] = number
                taken += len(rows)
                parts.append(whole(group.values.take(pa.array([row for _, row in rows], pa.int64()))))
        values: Column = pa.concat_arrays(parts).take(pa.array(places, pa.int64()))
        return values

    def _groups_of(self, pack: tuple[str, int, int | None], column: str, keys: tuple[str, ...]) -> Iterator[_Group]:
        """Row groups that hold rows of a pack."""
        path, first, end = pack
        if path not in self._known:
            raise ValueError(f"{path}: no such file in the catalog")
        with self._corpus.reading(path):
            file = self._file(path)
            start = 0
            for number in range(file.num_row_groups):
                stop = start + file.metadata.row_group(number).num_rows
                if start < (stop if end is None else end) and stop > first and column in file.schema_arrow.names:
                    yield self._group(path, number, start, column, keys)
                start = stop

    def _group(self, path: str, number: int, first: int, column: str, keys: tuple[str, ...]) -> _Group:
        name = (path, number, column)
        if name not in self._groups:
            rows = self._file(path).read_row_group(number, columns=[*keys, column])
            places: dict[str, int] = {}
            others: dict[str, list[int]] = {}
            for row, key in enumerate(map("/".join, zip(*(rows[key].to_pylist() for key in keys), strict=True))):
                if places.setdefault(key, row) != row:
                    others.setdefault(key, []).append(row)
            values = rows[column].cast(_ARROW[column])
            self._groups[name] = _Group(first=first, values=values, places=places, others=others)
            if len(self._groups) > _HELD:
                self._groups.popitem(last=False)
        return self._groups[name]

    def _file(self, path: str) -> pq.ParquetFile:
        if path not in self._open:
            self._open[path] = pq.ParquetFile(self._corpus.open(path))
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return self._open[path]


_ARROW: Final = {
    "jpeg": pa.binary(),
    "keypoints": pa.list_(pa.float32()),
    "embedding": pa.list_(pa.float32()),
}
