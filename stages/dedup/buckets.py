"""Buckets of crops: two crops are compared if they share one, so that millions can be compared part by part.

Where the hashes of duplicates may differ in few bits only, buckets are parts of the hash, and every pair that the rule
accepts shares one (Norouzi et al., "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012). Where the
cosine alone decides, they are cells of the feature space (an inverted file, Sivic and Zisserman, ICCV 2003), which
miss some pairs; ``docs/dedup.md`` has the share.

All arithmetic here is exact, so buckets follow from the crops alone: not from the processor, the library or the number
of threads.
"""

import itertools
import math
import zlib
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.dedup.alike import Rows, Rule

Floats = npt.NDArray[np.floating]

# With more differing bits, the parts of a hash have fewer than 8 bits, and a bucket has more than 1/256 of all crops.
_MOST_BITS: Final = 7

# Features are rounded to integers on this scale. Sums of products of two unit vectors then stay below 2**23, where
# float32 counts integers exactly, in whatever order a library or a processor adds them up.
_SCALE: Final = 2048

_CELL_SAMPLE: Final = 64
_CELL_ROUNDS: Final = 8
# Points of which integers of 64 bits are held at once.
_BLOCK: Final = 8192
# Cells that are searched beyond those asked for, since faiss returns equally near ones in no certain order.
_SPARE: Final = 4


@dataclass(frozen=True)
class Placement:
    """Which crops lie in which buckets.

    Attributes:
        row: int64 [P], position of the crop.
        bucket: int64 [P].
        home: bool [P]. Two crops of a bucket are compared if it is the home of one of them.
    """

    row: Rows
    bucket: npt.NDArray[np.int64]
    home: npt.NDArray[np.bool_]

    def take(self, rows: Rows) -> Self:
        """Some of the entries."""
        return type(self)(self.row[rows], self.bucket[rows], self.home[rows])


def by_hash(rule: Rule) -> bool:
    """Whether parts of the hash find every pair that the rule accepts."""
    return rule.cosine_hash_distance is not None and rule.cosine_hash_distance <= _MOST_BITS


def part_count(distance: int) -> int:
    """Parts of a hash, and buckets of a crop. At least two, as a bucket's number has 32 bits for a part."""
    return max(2, distance + 1)


def hash_buckets(hashes: npt.NDArray[np.uint64], distance: int) -> Placement:
    """One bucket for each part of the hash; there are more parts than bits may differ, so that one part is equal.

    Args:
        hashes: uint64 [N].
        distance: Most differing bits of two crops that are alike.
    """
    parts = [(hashes & mask) >> np.uint64(shift) for shift, mask in _parts(distance)]
    bucket = np.stack([(number << 32) | part.astype(np.int64) for number, part in enumerate(parts)], axis=1)
    row = np.repeat(np.arange(len(hashes)), len(parts))
    return Placement(row, bucket.ravel(), np.ones(len(row), bool))


def earlier_parts(bucket: int, distance: int) -> npt.NDArray[np.uint64]:
    """Masks of the parts before that of a bucket: crops that agree in one of them share an earlier bucket, too."""
    return np.array([mask for _, mask in _parts(distance)[: bucket >> 32]], np.uint64)


def cell_buckets(features: Floats, centres: npt.NDArray[np.float32], probes: int) -> Placement:
    """The ``probes`` nearest cells of each crop; the nearest is its home.

    Args:
        features: float16 or float32 [N, D], rows of unit L2 norm.
        centres: As ``cell_centres`` returns them.
        probes: Cells per crop.
    """
    near = _nearest(_on_grid(features), centres, min(probes, len(centres)))
    home = np.zeros(near.shape, bool)
    home[:, 0] = True
    row = np.repeat(np.arange(len(features)), near.shape[1])
    return Placement(row, near.ravel(), home.ravel())


def cell_count(crops: int) -> int:
    """Cells for a number of crops: about its square root."""
    return max(1, round(math.sqrt(crops)))


def in_sample(crop_ids: "pa.ChunkedArray[Any]", crops: int) -> npt.NDArray[np.bool_]:
    """Which crops the cells are found from: about ``_CELL_SAMPLE`` per cell, chosen by their ids.

    Args:
        crop_ids: [N].
        crops: Number of crops of the whole corpus.
    """
    every = max(1, crops // (cell_count(crops) * _CELL_SAMPLE))
    ids: list[Any] = crop_ids.to_pylist()
    return np.array([zlib.crc32(name.encode()) % every == 0 for name in ids], bool)


def cell_centres(sample: Floats, cells: int) -> npt.NDArray[np.float32]:
    """Centres of cells by spherical k-means.

    Args:
        sample: float16 or float32 [S, D], rows of unit L2 norm, in an order that follows from the crops.
        cells: How many are wanted; fewer if the sample is smaller.

    Returns:
        float32 [C, D], integers.
    """
    points = _on_grid(sample)
    cells = min(cells, len(points))
    centres = points[np.arange(cells) * len(points) // cells]
    for _ in range(_CELL_ROUNDS):
        sums = np.zeros(centres.shape, np.int64)
        for start in range(0, len(points), _BLOCK):
            block = points[start : start + _BLOCK]
            np.add.at(sums, _nearest(block, centres, 1)[:, 0], block.astype(np.int64))
        norms = np.sqrt((sums**2).sum(axis=1, keepdims=True))
        moved = np.rint(sums / np.maximum(norms, 1) * _SCALE).astype(np.float32)
        centres = np.where(norms > 0, moved, centres)
    return centres


def _parts(distance: int) -> list[tuple[int, np.uint64]]:
    """Lowest bit and mask of each part of a hash; parts differ by at most one bit in size."""
    count = part_count(distance)
    edges = [64 * number // count for number in range(count + 1)]
    return [(low, np.uint64((1 << high) - (1 << low))) for low, high in itertools.pairwise(edges)]


def _on_grid(features: Floats) -> npt.NDArray[np.float32]:
    return np.asarray(np.rint(features.astype(np.float32) * np.float32(_SCALE)), np.float32)


def _nearest(points: npt.NDArray[np.float32], centres: npt.NDArray[np.float32], count: int) -> Rows:
    """Nearest centres of each point, int64 [N, count], the nearest first; of equally near ones the first."""
    import faiss

    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    score, cell = index.search(points, min(count + _SPARE, len(centres)))
    order = np.lexsort((cell, -score), axis=1)[:, :count]
    return np.asarray(np.take_along_axis(cell, order, axis=1), np.int64)
