"""Work that is done one step ahead of its use, in another thread."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(items: Iterable[Given], make: Callable[[Given], Made], beside: Executor) -> Iterator[Made]:
    """``make`` of every item, in order; while one result is in use the next is being made.

    Args:
        items: What to make from.
        make: Called in the executor; an exception comes up where its result would have.
        beside: Threads to work in. No more than one result waits.
    """
    waiting: Future[Made] | None = None
    for item in items:
        coming = beside.submit(make, item)
        if waiting is not None:
            yield waiting.result()
        waiting = coming
    if waiting is not None:
        yield waiting.result()
