"""Time left of a stage, estimated from the units that ended lately."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

# Long enough to smooth units of different length, short enough to follow a cluster that grows.
WINDOW_S: Final = 300.0

# Units end in bursts: as many as there are actors, or as share a file. Fewer bursts say little about the next one.
BURSTS: Final = 4
_BURST_S: Final = 1.0


class Pace:
    """Counts units as they end.

    The clock starts with the first unit that ends: until then models load and workers start, and an estimate that
    includes that time is many times too long.

    Args:
        total: Units of the stage.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done = total, 0
        self._clock = clock
        # When each burst began, and the units that had ended when it was over.
        self._bursts: deque[tuple[float, int]] = deque()

    def add(self, units: int) -> None:
        """Some units have ended."""
        now = self._clock()
        self.done += units
        if self._bursts and now - self._bursts[-1][0] < _BURST_S:
            self._bursts[-1] = (self._bursts[-1][0], self.done)
        else:
            self._bursts.append((now, self.done))
        # A stage of long units keeps enough bursts for an estimate, however old they are.
        while len(self._bursts) > BURSTS and now - self._bursts[0][0] > WINDOW_S:
            self._bursts.popleft()

    def seconds_left(self) -> float | None:
        """Estimated time to the last unit; None while too few have ended."""
        if self.done >= self.total:
            return 0.0
        if len(self._bursts) < BURSTS:
            return None
        (first, before), (last, done) = self._bursts[0], self._bursts[-1]
        return max(0.0, (last - first) / (done - before) * (self.total - done) - (self._clock() - last))
