"""The process that talks to sites: one request on stdin, one answer on stdout, both JSON; the log on stderr."""

import json
import os
import signal
import sys
import urllib.request
from typing import Any

from stages.crawl.config import CrawlConfig
from stages.errors import EmptyUnit, UnitError

# Beyond the caller's limit by this much, seconds: only a worker whose caller died gets here.
_ORPHAN_GRACE_S = 10


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    signal.alarm(int(request["timeout_s"]) + _ORPHAN_GRACE_S)
    # Whatever prints goes to the log; stdout is the answer's alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answers:
        json.dump(_answer(request), answers)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from stages.crawl.failures import explain
    from stages.crawl.guard import Guard
    from stages.crawl.ytdlp import download, listing

    config = CrawlConfig.model_validate(request["config"])
    guard = Guard(_proxies(config))
    if not config.allow_private_addresses:
        guard.install()
    try:
        if request["task"] == "list":
            return {"entries": listing(request["query"], config)}
        return download(request["url"], request["directory"], config)
    except EmptyUnit as nothing:
        return {"empty": str(nothing)}
    except Exception as error:  # noqa: BLE001 - yt-dlp's extractors raise anything; the caller gets all of it as data
        failure = error if isinstance(error, UnitError) else explain(error, guard.refused)
        if isinstance(failure, EmptyUnit):
            return {"empty": str(failure)}
        return {"error": str(failure), "kind": failure.kind, "retryable": failure.retryable}


def _proxies(config: CrawlConfig) -> list[str]:
    if config.proxy:
        return [config.proxy]
    return [proxy for scheme, proxy in urllib.request.getproxies().items() if scheme != "no"]


if __name__ == "__main__":
    main()
