"""Rows that are passed between the steps of a comparison of millions of crops.

Features are stored as bytes: Parquet reads a list of numbers ten times slower.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.alike import Looks, Rows, Rule
from stages.dedup.buckets import Placement, by_hash, cell_buckets, earlier_parts, hash_buckets
from stages.dedup.pairs import Pairs, alike_pairs
from stages.dedup.ranking import quality

Halves = npt.NDArray[np.float16]

# Odd, so that it maps the numbers of buckets one to one: neighbouring buckets are spread over all groups.
_SPREAD: Final = 0x9E37_79B9_7F4A_7C15

ROW_OPTIONS: Final[dict[str, Any]] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
"""Options of Parquet files of these rows: they are written once, read once and deleted."""


def compared_rows(crops: pa.Table, features: Mapping[str, int], vectors: npt.NDArray[np.floating]) -> pa.Table:
    """What a comparison needs of crops.

    Args:
        crops: At least ``stages.dedup.duplicate_rows.CROP_COLUMNS``.
        features: Row of ``vectors`` by crop_id. Crops without features are left out: they are like none.
        vectors: float16 [M, D], rows of unit L2 norm.

    Returns:
        Columns crop_id, video_id, phash, quality (float64) and features (2 * D bytes).
    """
    names: list[Any] = crops["crop_id"].to_pylist()
    rows = np.array([features.get(name, -1) for name in names], np.int64)
    columns: dict[str, Any] = {
        "crop_id": crops["crop_id"],
        "video_id": crops["video_id"],
        "phash": crops["phash"],
        "quality": pa.array(quality(crops)),
    }
    table = pa.table(columns).take(np.flatnonzero(rows >= 0))
    return table.append_column("features", _as_bytes(vectors[rows[rows >= 0]].astype(np.float16)))


def features_of(table: pa.Table) -> Halves:
    """Features of rows: float16 [N, D], read-only."""
    column: Any = table["features"].combine_chunks()
    width = column.type.byte_width
    data = column.buffers()[1][column.offset * width :] if len(column) else b""
    return np.frombuffer(data, np.float16, count=len(column) * width // 2).reshape(len(column), width // 2)


def placed_rows(
    table: pa.Table, ranks: npt.NDArray[np.uint32], rule: Rule, centres: npt.NDArray[np.float32], probes: int
) -> tuple[pa.Table, Placement]:
    """Put crops into buckets.

    Args:
        table: As ``compared_rows`` returns it.
        ranks: uint32 [N], place of each crop in the order from the best to the worst of the corpus.
        rule: When two are alike.
        centres: Cells, where parts of the hash are not enough; otherwise empty.
        probes: Cells per crop.

    Returns:
        Columns rank, video (int64), phash and features; and the buckets of its rows.
    """
    hashes = np.asarray(table["phash"].to_numpy(), np.uint64)
    if by_hash(rule):
        assert rule.cosine_hash_distance is not None
        placement = hash_buckets(hashes, rule.cosine_hash_distance)
    else:
        placement = cell_buckets(features_of(table), centres, probes)
    columns: dict[str, Any] = {
        "rank": pa.array(ranks),
        "video": pa.array(_video_numbers(table["video_id"])),
        "phash": table["phash"],
        "features": table["features"],
    }
    return pa.table(columns), placement


def grouped(rows: pa.Table, placement: Placement, groups: int) -> Iterator[tuple[int, pa.Table]]:
    """Rows of each group of buckets, with the columns bucket and home; groups without rows are left out."""
    group = (placement.bucket.astype(np.uint64) * np.uint64(_SPREAD) >> np.uint64(32)) % np.uint64(groups)
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(groups + 1, dtype=np.uint64))
    for number in range(groups):
        part = placement.take(order[ends[number] : ends[number + 1]])
        if len(part.row):
            taken = rows.take(part.row)
            yield (
                number,
                taken.append_column("bucket", pa.array(part.bucket)).append_column("home", pa.array(part.home)),
            )


def pairs_in_group(rows: pa.Table, features: Halves, rule: Rule) -> Pairs:
    """Pairs of crops of a group that are alike, by rank.

    Args:
        rows: Columns rank, video, phash, bucket and home of all rows of the group.
        features: float16 [N, D]; a memory map keeps a large group out of memory.
        rule: When two are alike.
    """
    ranks = rows["rank"].to_numpy().astype(np.int64)
    buckets, home = rows["bucket"].to_numpy(), rows["home"].to_numpy()
    looks = Looks(rows["phash"].to_numpy().astype(np.uint64), features, rows["video"].to_numpy())
    order = np.lexsort((ranks, buckets))
    found = [
        _of_bucket(looks, members, int(buckets[members[0]]), ranks, home, rule) for members in _runs(order, buckets)
    ]
    pairs = Pairs.concat(found)
    return pairs.take(np.lexsort((pairs.better, pairs.worse)))


def _of_bucket(looks: Looks, members: Rows, bucket: int, ranks: Rows, home: npt.NDArray[np.bool_], rule: Rule) -> Pairs:
    earlier = np.empty(0, np.uint64)
    if by_hash(rule):
        assert rule.cosine_hash_distance is not None
        earlier = earlier_parts(bucket, rule.cosine_hash_distance)
    found = alike_pairs(looks, members, home[members], rule, earlier)
    return Pairs(ranks[members[found.better]], ranks[members[found.worse]], found.cosine)


def _runs(order: Rows, values: npt.NDArray[np.int64]) -> Sequence[Rows]:
    """Rows of each value; single ones have nothing to be compared with."""
    borders = np.flatnonzero(np.diff(values[order])) + 1
    return [run for run in np.split(order, borders) if len(run) > 1]


def _as_bytes(vectors: Halves) -> "pa.Array[Any]":
    # Any: the stubs do not declare that Arrow reads NumPy's buffers.
    data: Any = np.ascontiguousarray(vectors)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2 * vectors.shape[1]), len(vectors), [None, pa.py_buffer(data)]
    )


def _video_numbers(video_ids: "pa.ChunkedArray[Any]") -> npt.NDArray[np.int64]:
    """A number for each video: 64 bits of a digest of its id, so that parts of a corpus agree without a list."""
    if not len(video_ids):
        return np.empty(0, np.int64)
    column: Any = pc.dictionary_encode(video_ids).combine_chunks()
    names: list[Any] = column.dictionary.to_pylist()
    numbers = [
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True) for name in names
    ]
    return np.asarray(np.array(numbers, np.int64)[column.indices.to_numpy()])
