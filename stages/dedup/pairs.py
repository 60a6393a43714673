"""Pairs of crops that are alike, bucket by bucket, and who represents whom by them.

Libraries search for candidates; ``stages.dedup.alike.pair_cosines`` decides, so that the choice does not depend on how
a library rounds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from stages.dedup.alike import Looks, Rows, Rule, pair_cosines
from stages.dedup.buckets import by_hash

# Crops that are compared at once: at most 4 million candidates, about 200 MB.
_HOMES: Final = 4096
_BLOCK: Final = 1024

MOST_PAIRS: Final = 64
"""Better crops that are kept for one crop, the best first: a picture that ten thousand videos show would have fifty
million pairs."""

# Candidates whose cosine is computed at once: 64 MB of features of 512 numbers.
_CANDIDATES: Final = 16_384

# faiss adds in float32 and in an order of its own; its cosines differ from exact ones by less than this.
_SLACK: Final = 1e-4

_LEADS, _FOLLOWS = 1, 2


@dataclass(frozen=True)
class Pairs:
    """Crops that are alike.

    Attributes:
        better: int64 [P].
        worse: int64 [P].
        cosine: float32 [P], to five digits.
    """

    better: Rows
    worse: Rows
    cosine: npt.NDArray[np.float32]

    @classmethod
    def concat(cls, parts: Iterable[Self]) -> Self:
        """All pairs of some parts."""
        none = cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        columns = zip(*((part.better, part.worse, part.cosine) for part in (none, *parts)), strict=True)
        better, worse, cosine = (np.concatenate(column) for column in columns)
        return cls(better, worse, cosine)

    def take(self, rows: Rows | npt.NDArray[np.bool_]) -> Self:
        """Some of the pairs."""
        return type(self)(self.better[rows], self.worse[rows], self.cosine[rows])


def alike_pairs(
    looks: Looks, rows: Rows, home: npt.NDArray[np.bool_], rule: Rule, earlier: npt.NDArray[np.uint64]
) -> Pairs:
    """Pairs of one bucket.

    Args:
        looks: Hashes, features and groups of at least the bucket's crops. Features may be a memory map.
        rows: int64 [N], the bucket's crops in ``looks``, from the best to the worst.
        home: bool [N], whether the bucket is the crop's home; of two crops it must be that of one.
        rule: When two are alike: by their cosine.
        earlier: uint64 [M], masks of hashes: pairs that agree in one of them are found in another bucket.

    Returns:
        Positions in ``rows``; for each worse crop at most ``MOST_PAIRS`` better ones.
    """
    kept = np.zeros(len(rows), np.int64)
    return Pairs.concat(
        Pairs.concat(_verified(looks, rows, better, worse, rule, kept))
        for better, worse in _candidates(looks, rows, home, rule, earlier)
    )


def follow_pairs(pairs: Pairs, status: npt.NDArray[np.uint8], first: int, stop: int) -> Pairs:
    """Decide the crops of one range of ranks; all better crops are decided already.

    Args:
        pairs: Ranks (0 for the best crop); the worse ones are in the range.
        status: uint8 [N] by rank, zero for undecided crops; written for the range.
        first: First rank of the range.
        stop: First rank after it.

    Returns:
        For each crop that is alike to a leader, the pair with the leader most alike to it, by rank.
    """
    status[first:stop] = _LEADS
    status[pairs.worse] = 0
    waiting = pairs
    while len(waiting.worse):
        status[waiting.worse[status[waiting.better] == _LEADS]] = _FOLLOWS
        waiting = waiting.take(status[waiting.worse] == 0)
        # A crop is free to lead when all better ones that it is like follow others.
        held = waiting.worse[status[waiting.better] == 0]
        free = np.setdiff1d(waiting.worse, held)
        status[free] = _LEADS
        waiting = waiting.take(status[waiting.worse] == 0)
    led = pairs.take((status[pairs.better] == _LEADS) & (status[pairs.worse] == _FOLLOWS))
    led = led.take(np.lexsort((led.better, -led.cosine, led.worse)))
    return led.take(np.unique(led.worse, return_index=True)[1])


def _candidates(
    looks: Looks, rows: Rows, home: npt.NDArray[np.bool_], rule: Rule, earlier: npt.NDArray[np.uint64]
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs that the search finds, as better and worse positions; sorted by the worse one, then by the better one."""
    homes, guests = np.flatnonzero(home), np.flatnonzero(~home)
    for start in range(0, len(homes), _HOMES):
        chunk = homes[start : start + _HOMES]
        index = _index(looks, rows[chunk], rule)
        for asking in (*_blocks(homes[start:]), *_blocks(guests)):
            one, other = _search(index, looks, rows[asking], rule)
            one, other = asking[one], chunk[other]
            new = (one > other) | ~home[one]
            better, worse = np.minimum(one, other)[new], np.maximum(one, other)[new]
            fit = _may_pair(looks, rows[better], rows[worse], rule, earlier)
            better, worse = better[fit], worse[fit]
            order = np.lexsort((better, worse))
            yield better[order], worse[order]


def _blocks(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))


def _index(looks: Looks, rows: Rows, rule: Rule) -> Any:
    import faiss

    if by_hash(rule):
        hashes = faiss.IndexBinaryFlat(64)
        hashes.add(_bytes(looks.hashes[rows]))
        return hashes
    assert looks.features is not None
    features = faiss.IndexFlatIP(looks.features.shape[1])
    features.add(looks.features[rows].astype(np.float32))
    return features


def _search(index: Any, looks: Looks, rows: Rows, rule: Rule) -> tuple[Rows, Rows]:
    """Pairs of positions in ``rows`` and in the index."""
    if by_hash(rule):
        assert rule.cosine_hash_distance is not None
        # faiss returns those that are nearer than the radius.
        ends, _, found = index.range_search(_bytes(looks.hashes[rows]), rule.cosine_hash_distance + 1)
    else:
        assert looks.features is not None
        assert rule.min_cosine is not None
        ends, _, found = index.range_search(looks.features[rows].astype(np.float32), rule.min_cosine - _SLACK)
    return np.repeat(np.arange(len(rows)), np.diff(ends.astype(np.int64))), np.asarray(found, np.int64)


def _bytes(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8)


def _may_pair(
    looks: Looks, one: Rows, other: Rows, rule: Rule, earlier: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    fit = np.ones(len(one), bool) if looks.apart is None else looks.apart[one] != looks.apart[other]
    differing = looks.hashes[one] ^ looks.hashes[other]
    if rule.cosine_hash_distance is not None:
        fit &= np.bitwise_count(differing) <= rule.cosine_hash_distance
    for mask in earlier:
        fit &= (differing & mask) != 0
    return fit


def _verified(
    looks: Looks, rows: Rows, better: Rows, worse: Rows, rule: Rule, kept: npt.NDArray[np.int64]
) -> Iterator[Pairs]:
    """Those candidates that are alike, while a crop has fewer than ``MOST_PAIRS``; ``kept`` counts them."""
    assert looks.features is not None
    assert rule.min_cosine is not None
    while len(worse):
        now = _position_in_run(worse) < MOST_PAIRS - kept[worse]
        turn = np.flatnonzero(now)
        for start in range(0, len(turn), _CANDIDATES):
            part = turn[start : start + _CANDIDATES]
            cosine = pair_cosines(looks.features, rows[better[part]], rows[worse[part]])
            near = cosine >= np.float32(rule.min_cosine)
            np.add.at(kept, worse[part][near], 1)
            yield Pairs(better[part][near], worse[part][near], cosine[near])
        left = ~now & (kept[worse] < MOST_PAIRS)
        better, worse = better[left], worse[left]


def _position_in_run(values: Rows) -> Rows:
    """How many equal values stand directly before each."""
    first = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return np.arange(len(values)) - np.repeat(first, np.diff(np.r_[first, len(values)]))
