"""How tables are laid out in Parquet files."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

# Row groups under 5,000 rows scan five to ten times slower in DuckDB than those above 100,000.
TABLE_OPTIONS: Final[dict[str, Any]] = {
    "compression": "zstd",
    "row_group_size": 131_072,
    "write_page_index": True,
    "store_schema": True,
}
"""Options of ``pyarrow.parquet.write_table`` for every table."""

BLOB_ROW_GROUP_BYTES: Final = 64 << 20
"""Size of the row groups of tables with a blob column, about: readers hold a row group in memory."""


def blob_options(table: pa.Table, blob: str = "jpeg") -> dict[str, Any]:
    """Options for a table with a blob column: smaller row groups, and the blob stored as it is."""
    per_row = max(1, table.nbytes // max(1, table.num_rows))
    return {"row_group_size": max(64, BLOB_ROW_GROUP_BYTES // per_row), **blob_columns(table.schema, blob)}


def blob_columns(schema: pa.Schema, blob: str = "jpeg") -> dict[str, Any]:
    """Options for the columns of such a table: a blob gains nothing from a dictionary, compression or statistics."""
    others = [name for name in schema.names if name != blob]
    return {
        "use_dictionary": others,
        "compression": {name: "none" if name == blob else "zstd" for name in _leaves(schema)},
        "write_statistics": others,
    }


def _leaves(schema: pa.Schema) -> list[str]:
    """Leaf columns by the names that Parquet gives them."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(position).path for position in range(len(columns.names))]
