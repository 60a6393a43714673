"""Prefetching in a background thread."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """The same items, produced by a background thread while the consumer works.

    Args:
        items: Iterated in the other thread; an exception comes up where the next item would have.
        depth: How many items may wait; one more is in the making.
    """
    # Each item as a list of one, so that an empty list can mean the end.
    source = ([item] for item in items)
    beside = ThreadPoolExecutor(1)
    try:
        coming: deque[Future[list[Item]]] = deque(beside.submit(next, source, []) for _ in range(depth + 1))
        while made := coming.popleft().result():
            coming.append(beside.submit(next, source, []))
            yield made.pop()
    finally:
        beside.shutdown(cancel_futures=True)
