"""Leaders: of crops that are alike, the best one represents the others.

Crops are processed from the best to the worst. A crop that is like a leader becomes its duplicate; any other becomes a
leader itself. Every duplicate is therefore alike to the crop that it names, no two leaders are alike, and a walk of a
hundred frames does not collapse into one crop because each frame is like the next. Pairs are never stored: memory grows
with the number of crops.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from stages.dedup.alike import Best, Looks, Rows, Rule, compare

# Crops and leaders that are compared at once: 8 million pairs, about 200 MB.
_BLOCK: Final = 2048
_LEADERS: Final = 4096

_CELL_SAMPLE: Final = 64
_CELL_ROUNDS: Final = 8


class Index(Protocol):
    """Leaders found so far."""

    def search(self, rows: Rows) -> Best:
        """The most similar leader of each of these crops."""
        ...

    def add(self, rows: Rows) -> None:
        """Add crops as leaders."""
        ...


def follow_leaders(order: Rows, looks: Looks, rule: Rule, *, exact_below: int, probes: int) -> Best:
    """Find the leader of each crop.

    Args:
        order: int64 [N], crops from the best to the worst.
        looks: Hashes and features that are compared.
        rule: When two are alike.
        exact_below: Beyond this many crops, leaders are searched in cells of the feature space; pairs in cells that are
            too far apart are missed.
        probes: Cells that are searched for each crop.

    Returns:
        For each crop, in the order of ``looks``, its leader; -1 for leaders.
    """
    cells = len(order) > exact_below and rule.min_cosine is not None and rule.max_hash_distance is None
    index: Index = _Cells(looks, rule, probes) if cells else _All(looks, rule)
    result = Best.none(len(looks.hashes))
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        found = index.search(block)
        found = found.better(_within_block(block, found.row < 0, looks, rule))
        _write(result, block, found)
        index.add(block[found.row < 0])
    return result


def _within_block(rows: Rows, may_lead: npt.NDArray[np.bool_], looks: Looks, rule: Rule) -> Best:
    """For each crop of a block the most similar leader among the better crops of the same block.

    ``may_lead`` is true for crops that are not like any leader of an earlier block.
    """
    own = looks.take(rows)
    compared = compare(own, own, rule)
    better = np.tri(len(rows), k=-1, dtype=bool)
    leads = may_lead.copy()
    for position in np.flatnonzero(may_lead):
        leads[position] = not (compared.alike[position] & better[position] & leads).any()
    led = compared.alike & better & leads[None, :] & ~leads[:, None]
    return replace(compared, alike=led).best(rows)


def _write(result: Best, rows: Rows, found: Best) -> None:
    for name in ("row", "score", "similarity", "by_cosine"):
        getattr(result, name)[rows] = getattr(found, name)


def _select(best: Best, rows: Rows | npt.NDArray[np.bool_]) -> Best:
    return Best(best.row[rows], best.score[rows], best.similarity[rows], best.by_cosine[rows])


class _All:
    """Compares with every leader."""

    def __init__(self, looks: Looks, rule: Rule) -> None:
        self.looks = looks
        self.rule = rule
        self.leaders = _Growing()

    def search(self, rows: Rows) -> Best:
        own = self.looks.take(rows)
        best = Best.none(len(rows))
        leaders = self.leaders.rows
        for start in range(0, len(leaders), _LEADERS):
            part = leaders[start : start + _LEADERS]
            best = best.better(compare(own, self.looks.take(part), self.rule).best(part))
        return best

    def add(self, rows: Rows) -> None:
        self.leaders.add(rows)


class _Cells:
    """Compares with the leaders of the nearest cells: an inverted file (Sivic and Zisserman, ICCV 2003).

    The cells are those of spherical k-means on a sample that the order of the crops determines; their number is
    about the square root of the number of crops.
    """

    def __init__(self, looks: Looks, rule: Rule, probes: int) -> None:
        assert looks.features is not None
        self.looks = looks
        self.rule = rule
        self.centres = _centres(looks.features)
        self.probes = min(probes, len(self.centres))
        self.cells = [_Growing() for _ in self.centres]

    def search(self, rows: Rows) -> Best:
        own = self.looks.take(rows)
        best = Best.none(len(rows))
        near = _nearest(own.features, self.centres, self.probes)
        for cell in np.unique(near):
            leaders = self.cells[cell].rows
            if len(leaders):
                asking = np.flatnonzero((near == cell).any(1))
                found = compare(own.take(asking), self.looks.take(leaders), self.rule).best(leaders)
                _write(best, asking, _select(best, asking).better(found))
        return best

    def add(self, rows: Rows) -> None:
        for cell, members in _by_cell(_nearest(self.looks.take(rows).features, self.centres, 1)[:, 0]):
            self.cells[cell].add(rows[members])


class _Growing:
    """A list of rows that is read far more often than it is extended."""

    def __init__(self) -> None:
        self._parts: list[Rows] = [np.empty(0, np.int64)]

    @property
    def rows(self) -> Rows:
        """All rows, in the order in which they were added."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def add(self, rows: Rows) -> None:
        """Add rows."""
        if len(rows):
            self._parts.append(rows)


def _by_cell(cells: Rows) -> Iterator[tuple[int, Rows]]:
    for cell in np.unique(cells):
        yield int(cell), np.flatnonzero(cells == cell)


def _nearest(features: npt.NDArray[np.floating] | None, centres: npt.NDArray[np.float32], count: int) -> Rows:
    """Nearest cells of each crop, int64 [N, count], unordered."""
    similarity = np.asarray(features, np.float32) @ centres.T
    return np.argpartition(-similarity, count - 1, axis=1)[:, :count]


def _centres(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    count = max(1, round(len(features) ** 0.5))
    # Every n-th row, as rows are ordered by video: a random sample would make the cells of two runs differ.
    sample = features[:: max(1, len(features) // (count * _CELL_SAMPLE))].astype(np.float32)
    centres = sample[:: max(1, len(sample) // count)][:count].copy()
    for _ in range(_CELL_ROUNDS):
        members = np.concatenate(
            [_nearest(sample[i : i + _LEADERS], centres, 1)[:, 0] for i in range(0, len(sample), _LEADERS)]
        )
        sums = np.zeros_like(centres)
        np.add.at(sums, members, sample)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.maximum(norms, 1e-12), centres)
    return centres
