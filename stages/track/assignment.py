"""The assignment solver that ultralytics' trackers import.

They import the package ``lap``, and would install it during a run. If it is missing, this module replaces it and solves
the same problem with ultralytics' own solver.
"""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import numpy.typing as npt


def provide_lap() -> None:
    """Make ``import lap`` work in this process."""
    if "lap" not in sys.modules and importlib.util.find_spec("lap") is None:
        module = ModuleType("lap", __doc__)
        module.__dict__.update(lapjv=lapjv, __version__="0.5.12")
        sys.modules["lap"] = module


def lapjv(
    cost: npt.NDArray[np.floating], extend_cost: bool = False, cost_limit: float = np.inf
) -> tuple[float, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cheapest assignment of rows to columns, in which a row and a column may stay unassigned for ``cost_limit``.

    Args:
        cost: [N, M].
        extend_cost: Whether N and M may differ.
        cost_limit: No pair that costs more is assigned.

    Returns:
        The cost of the assigned pairs, the column of each row and the row of each column; -1 for none.

    Raises:
        ValueError: N and M differ, and ``extend_cost`` is false.
    """
    from ultralytics.utils.ops import linear_sum_assignment

    rows, columns = cost.shape
    if rows != columns and not extend_cost:
        raise ValueError(f"a cost matrix of {rows} by {columns} is not square; set extend_cost")
    square = np.zeros((rows + columns, rows + columns))
    square[:rows, :columns] = cost
    # A row and a column that stay unassigned are assigned to placeholders, at half of the limit each.
    apart = cost_limit / 2 if np.isfinite(cost_limit) else np.abs(cost).sum() + 1
    square[:rows, columns:] = square[rows:, :columns] = apart
    left, right = linear_sum_assignment(square)
    paired = (left < rows) & (right < columns)
    column_of, row_of = np.full(rows, -1, np.int64), np.full(columns, -1, np.int64)
    column_of[left[paired]], row_of[right[paired]] = right[paired], left[paired]
    return float(cost[left[paired], right[paired]].sum()), column_of, row_of
