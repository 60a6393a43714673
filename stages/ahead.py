"""Work that is done ahead of its use, in another thread."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_Waiting = tuple[list[Item], BaseException | None]


def ahead(items: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """The same items, made by a thread of their own while the consumer works.

    Args:
        items: Iterated in the other thread; an exception comes up where the next item would have.
        depth: How many items may wait; one more is in the making.
    """
    ready: queue.Queue[_Waiting[Item]] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in items:
                if not _put(ready, ([item], None), stop):
                    return
            _put(ready, ([], None), stop)
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer
            _put(ready, ([], error), stop)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            made, error = ready.get()
            if error is not None:
                raise error
            if not made:
                return
            yield made.pop()
    finally:
        stop.set()
        thread.join()


def _put(ready: queue.Queue[_Waiting[Item]], waiting: _Waiting[Item], stop: threading.Event) -> bool:
    """Whether the consumer still wanted it."""
    while not stop.is_set():
        try:
            ready.put(waiting, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
