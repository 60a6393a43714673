"""Leaders: of crops that are alike, the best one represents the others.

Crops are processed from the best to the worst. A crop that is like a leader becomes its duplicate; any other becomes a
leader itself. Every duplicate is therefore alike to the crop that it names, no two leaders are alike, and a walk of a
hundred frames does not collapse into one crop because each frame is like the next. Every crop is compared with every
leader, in blocks, and pairs are never stored; ``stages.dedup.pairs`` does the same for millions of crops.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from stages.dedup.alike import Best, Looks, Rows, Rule, compare

# Crops and leaders that are compared at once: 8 million pairs, about 200 MB.
_BLOCK: Final = 2048
_LEADERS: Final = 4096


def follow_leaders(order: Rows, looks: Looks, rule: Rule) -> Best:
    """Find the leader of each crop.

    Args:
        order: int64 [N], crops from the best to the worst.
        looks: Hashes and features that are compared.
        rule: When two are alike.

    Returns:
        For each crop, in the order of ``looks``, its leader; -1 for leaders.
    """
    leaders = np.empty(0, np.int64)
    result = Best.none(len(looks.hashes))
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        found = _among(leaders, block, looks, rule)
        found = found.better(_within_block(block, found.row < 0, looks, rule))
        for name in ("row", "score", "similarity", "by_cosine"):
            getattr(result, name)[block] = getattr(found, name)
        leaders = np.concatenate([leaders, block[found.row < 0]])
    return result


def _among(leaders: Rows, rows: Rows, looks: Looks, rule: Rule) -> Best:
    """The most similar leader of each crop."""
    own = looks.take(rows)
    best = Best.none(len(rows))
    for start in range(0, len(leaders), _LEADERS):
        part = leaders[start : start + _LEADERS]
        best = best.better(compare(own, looks.take(part), rule).best(part))
    return best


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
