"""A wall-clock limit for code that cannot be interrupted: FFmpeg's demuxers and decoders, and reads that never return.

Neither an exception nor a signal stops a call in C; only its process can be ended. The call therefore runs in a thread.
Past the limit it is abandoned: the caller gets an error, and the process ends soon after, with the thread in it.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from stages.errors import UnitError

T = TypeVar("T")

# Time to report the error before the process ends.
_LEAVE_AFTER_S: Final = 3.0

# This long after the limit the process ends even if the call in C holds the interpreter's lock.
_LAST_RESORT_S: Final = 30.0

_abandoned = threading.Event()


def within(seconds: float, call: Callable[[], T]) -> T:
    """Call a function, and abandon it after a time limit.

    Args:
        seconds: Wall-clock limit.
        call: The function; it may hang in C.

    Returns:
        What the call returns.

    Raises:
        UnitError: Of kind ``timeout``. The process ends some seconds later, as the thread that hangs cannot be stopped.
        Exception: Whatever the call raises.
    """
    if _abandoned.is_set():
        # Work that reached this process before it ended; the sender retries it in another process.
        leave()
    answer: dict[str, Any] = {}
    thread = threading.Thread(target=_answer, args=(call, answer), daemon=True)
    faulthandler.dump_traceback_later(seconds + _LAST_RESORT_S, exit=True, file=sys.__stderr__ or 2)
    try:
        thread.start()
        thread.join(seconds)
    finally:
        faulthandler.cancel_dump_traceback_later()
    if thread.is_alive():
        _abandoned.set()
        timer = threading.Timer(_LEAVE_AFTER_S, leave)
        timer.daemon = True
        timer.start()
        text = (
            f"not finished after {seconds:g} s, the limit of detect.limits.max_seconds: the file makes its reader hang"
        )
        raise UnitError(text, kind="timeout")
    if "error" in answer:
        raise answer["error"]
    returned: T = answer["returned"]
    return returned


def leave() -> None:
    """End the process at once, without waiting for threads."""
    os._exit(1)


def _answer(call: Callable[[], Any], answer: dict[str, Any]) -> None:
    try:
        answer["returned"] = call()
    except BaseException as error:  # noqa: BLE001 - passed to the caller, which raises it
        answer["error"] = error
