"""Which crops look alike, computed for many pairs at once."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from stages.detect.phash import hash_distances

Rows = npt.NDArray[np.int64]

# Of cosines. Features are stored as half floats, with three digits. Beyond five digits a cosine of float32 numbers
# depends on the order of the sum, and with it on the processor.
_DIGITS: Final = 5


@dataclass(frozen=True)
class Looks:
    """What crops are compared by.

    Attributes:
        hashes: Perceptual hashes, uint64 [N].
        features: float16 or float32 [N, D], rows of unit L2 norm; a crop without features has zeros. None if only
            hashes are compared.
        apart: Group of each crop, int64 [N]: crops of the same group are never alike. None if any two may be.
    """

    hashes: npt.NDArray[np.uint64]
    features: npt.NDArray[np.floating] | None = None
    apart: npt.NDArray[np.int64] | None = None

    def take(self, rows: Rows) -> Self:
        """Looks of some of the crops, features as float32."""
        features = None if self.features is None else self.features[rows].astype(np.float32)
        return type(self)(self.hashes[rows], features, None if self.apart is None else self.apart[rows])


@dataclass(frozen=True)
class Rule:
    """When two crops are alike: by either measure; None = not by that one.

    Attributes:
        max_hash_distance: Most differing bits at which the hash alone decides.
        min_cosine: Least cosine of the features.
        cosine_hash_distance: Most differing bits at which the cosine counts.
    """

    max_hash_distance: int | None
    min_cosine: float | None
    cosine_hash_distance: int | None


@dataclass(frozen=True)
class Best:
    """For each crop the most similar one among others, or none.

    Attributes:
        row: int64 [N], position among the others; -1 for none.
        score: float32 [N], greater for more similar pairs.
        similarity: float32 [N]: the share of equal bits, or the cosine if ``by_cosine``.
        by_cosine: bool [N], true if the hash alone would not have decided so.
    """

    row: Rows
    score: npt.NDArray[np.float32]
    similarity: npt.NDArray[np.float32]
    by_cosine: npt.NDArray[np.bool_]

    @classmethod
    def none(cls, count: int) -> Self:
        """No crop has a similar one."""
        zeros = np.zeros(count, np.float32)
        return cls(np.full(count, -1, np.int64), zeros - 2, zeros, np.zeros(count, bool))

    def better(self, other: Self) -> Self:
        """The better of two results for each crop; the first if they are equal."""
        take = other.score > self.score
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("row", "score", "similarity", "by_cosine"))
        return type(self)(*(np.where(take, theirs, ours) for ours, theirs in pairs))


@dataclass(frozen=True)
class Comparison:
    """N crops compared with M others.

    Attributes:
        alike: bool [N, M].
        distance: Bits in which the hashes differ, uint8 [N, M].
        cosine: float32 [N, M]; None if features are not compared.
        by_hash: Pairs that are alike by hash alone, bool [N, M].
    """

    alike: npt.NDArray[np.bool_]
    distance: npt.NDArray[np.uint8]
    cosine: npt.NDArray[np.float32] | None
    by_hash: npt.NDArray[np.bool_]

    def best(self, rows: Rows) -> Best:
        """The most similar other of each crop, the first of equals. ``rows``, int64 [M], are the others' rows."""
        if not len(rows):
            return Best.none(len(self.alike))
        share = 1 - self.distance / np.float32(64)
        # A match by hash counts more than any match by cosine, as it is more certain.
        weak = share - 1 if self.cosine is None else self.cosine - np.float32(1)
        score = np.where(self.alike, np.where(self.by_hash, share, weak), np.float32(-2))
        first, each = score.argmax(1), np.arange(len(score))
        found = self.alike[each, first]
        by_cosine = found & ~self.by_hash[each, first]
        measured = np.where(by_cosine, weak[each, first] + 1, share[each, first])
        return Best(
            np.where(found, rows[first], -1),
            score[each, first],
            np.where(found, measured, 0).astype(np.float32),
            by_cosine,
        )


def compare(one: Looks, others: Looks, rule: Rule) -> Comparison:
    """Compare each crop with each of the others."""
    distance = hash_distances(one.hashes, others.hashes)
    by_hash = _within(distance, rule.max_hash_distance)
    alike = by_hash
    cosine: npt.NDArray[np.float32] | None = None
    if rule.min_cosine is not None and one.features is not None and others.features is not None:
        measured = np.asarray(one.features @ others.features.T, dtype=np.float32).round(_DIGITS)
        near = measured >= np.float32(rule.min_cosine)
        if rule.cosine_hash_distance is not None:
            near &= distance <= rule.cosine_hash_distance
        alike, cosine = by_hash | near, measured
    if one.apart is not None and others.apart is not None:
        alike = alike & (one.apart[:, None] != others.apart[None, :])
    return Comparison(alike, distance, cosine, by_hash)


def pair_cosines(features: npt.NDArray[np.floating], one: Rows, other: Rows) -> npt.NDArray[np.float32]:
    """Cosines of pairs of crops, as ``compare`` has them.

    Args:
        features: float16 or float32 [N, D], rows of unit L2 norm.
        one: int64 [P], rows of features.
        other: int64 [P].

    Returns:
        float32 [P]. For half floats the sums are exact: float32 holds their products, and float64 the sums of these.
    """
    products = features[one].astype(np.float32) * features[other].astype(np.float32)
    return np.asarray(products.sum(axis=1, dtype=np.float64), np.float32).round(_DIGITS)


def _within(distance: npt.NDArray[np.uint8], limit: int | None) -> npt.NDArray[np.bool_]:
    return distance <= limit if limit is not None else np.zeros(distance.shape, bool)
