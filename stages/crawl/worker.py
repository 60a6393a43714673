"""The process that talks to sites: one request on stdin, one answer on stdout, both JSON; the log on stderr."""

import errno
import importlib
import json
import os
import resource
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

from stages.crawl.config import CrawlConfig
from stages.crawl.guard import Guard
from stages.crawl.sources.source import Source
from stages.errors import EmptyUnit, UnitError

# The caller kills the process at the limit. This alarm, so many seconds later, ends it if the caller is dead.
_ORPHAN_GRACE_S = 10

# Sources check crawl.max_bytes themselves, with what the server states; this much later the system stops the file.
_SIZE_SLACK_BYTES = 32 << 20


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    signal.alarm(int(request["timeout_s"]) + _ORPHAN_GRACE_S)
    # Whatever a library prints goes to the log; stdout carries nothing but the answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answers:
        json.dump(_answer(request), answers)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    config = CrawlConfig.model_validate(request["config"])
    source: Any = importlib.import_module(request["source"])
    guard = Guard(_proxies(config))
    if not config.allow_private_addresses:
        guard.install()
    _limit_files(config.max_bytes + _SIZE_SLACK_BYTES)
    try:
        return _perform(source, request, config)
    except EmptyUnit as nothing:
        return {"empty": str(nothing)}
    except Exception as error:  # noqa: BLE001 - yt-dlp's extractors raise anything; the caller gets all of it as data
        return _failure(error, source, guard, config)


def _perform(source: Source, request: dict[str, Any], config: CrawlConfig) -> dict[str, Any]:
    if request["task"] == "list":
        return {"entries": [vars(entry) for entry in source.entries(request["query"], config)]}
    return source.fetch(request["url"], Path(request["directory"]), config).to_json()


def _failure(error: Exception, source: Source, guard: Guard, config: CrawlConfig) -> dict[str, Any]:
    failure: UnitError | EmptyUnit
    if isinstance(error, UnitError):
        failure = error
    elif guard.refused:
        advice = "to fetch from it nevertheless, set crawl.allow_private_addresses"
        text = f"leads to {guard.refused[0]}, which is not a public address; {advice}"
        failure = UnitError(text, kind="private_address")
    elif isinstance(error, OSError) and error.errno == errno.EFBIG:
        text = f"the file is too large; crawl.max_bytes allows {config.max_bytes:,}"
        failure = UnitError(text, kind="too_large")
    else:
        failure = source.explain(error)
    if isinstance(failure, EmptyUnit):
        return {"empty": str(failure)}
    return {"error": str(failure), "kind": failure.kind, "retryable": failure.retryable}


def _limit_files(most: int) -> None:
    """Let no file of this process grow beyond so many bytes: writing further raises an OSError with EFBIG."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _proxies(config: CrawlConfig) -> list[str]:
    if config.proxy:
        return [config.proxy]
    return [proxy for scheme, proxy in urllib.request.getproxies().items() if scheme != "no"]


if __name__ == "__main__":
    main()
