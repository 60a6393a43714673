"""Runs yt-dlp in a process of its own.

A site can hang a download for ever, and a thread cannot be stopped; a process can. It also gives the guard a place
where an audit hook affects no other code, and a crash costs one video.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from typing import Any

from stages.errors import EmptyUnit, UnitError

_LOG = logging.getLogger(__name__)


def run_worker(request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Hand a request to ``stages.crawl.worker`` and wait for its answer.

    Args:
        request: ``task`` and its arguments, ready for JSON.
        timeout_s: Wall-clock limit, seconds; the process and all its children are killed beyond it.

    Raises:
        UnitError: The worker's own, or of kind ``timeout`` or ``worker_died``.
        EmptyUnit: The worker's own.
    """
    # `-m stages.crawl.worker` has to find this package wherever the caller found it.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.crawl.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        output, log = process.communicate(json.dumps(request | {"timeout_s": timeout_s}).encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        text = f"not finished after {timeout_s:g} s, the limit of crawl.timeout_s: the server is too slow, or hangs"
        raise UnitError(text, kind="timeout", retryable=True) from error
    finally:
        _kill(process)
    for line in log.decode("utf-8", "replace").splitlines():
        _LOG.debug("%s", line)
    return _answer(output, process.returncode, log)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the process and its children."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def _answer(output: bytes, code: int, log: bytes) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError as error:
        last = (log.decode("utf-8", "replace").strip().splitlines() or ["no output"])[-1]
        text = f"the downloading process ended with code {code}: {last}"
        raise UnitError(text, kind="worker_died", retryable=True) from error
    if "empty" in answer:
        raise EmptyUnit(answer["empty"])
    if "error" in answer:
        raise UnitError(answer["error"], kind=answer["kind"], retryable=answer["retryable"])
    return answer
