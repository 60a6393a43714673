"""A wall-clock limit for code that cannot be interrupted: FFmpeg's demuxers and decoders, and files that never answer.

A call in C cannot be stopped, neither by an exception nor by a signal; only its process can. So the call runs in a
thread. Past its limit it is given up: the caller gets an error and the process ends soon after, with the thread in it.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from stages.errors import UnitError

T = TypeVar("T")

# Time to hand the error over before the process ends.
_LEAVE_AFTER_S: Final = 3.0

# Past the limit by this much the process ends even if the call in C keeps Python itself from running.
_LAST_RESORT_S: Final = 30.0

_given_up = threading.Event()


def within(seconds: float, call: Callable[[], T]) -> T:
    """Call, and give up after so many seconds.

    Args:
        seconds: Limit by the wall clock.
        call: What to do; it may hang in C.

    Returns:
        What the call returns.

    Raises:
        UnitError: Of kind ``timeout``. The process ends some seconds later: what hangs in it cannot be stopped.
        Exception: Whatever the call raises.
    """
    if _given_up.is_set():
        # Work that was handed to this process before it could leave; whoever sent it sends it to another.
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
        _given_up.set()
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
    """End the process at once, without waiting for any thread."""
    os._exit(1)


def _answer(call: Callable[[], Any], answer: dict[str, Any]) -> None:
    try:
        answer["returned"] = call()
    except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
        answer["error"] = error
