"""What yt-dlp's errors mean, and what the user can do about them."""

import re
from collections.abc import Iterator

from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import ExtractorError

from stages.errors import EmptyUnit, UnitError

_COOKIES = "pass the cookies of a browser that has access (crawl.cookies_file)"
_SLOWER = "crawl more slowly (crawl.sleep_s, crawl.concurrency) and retry later"

# Pattern of the message, kind, whether a later attempt may succeed, meaning and remedy. The first match counts: the
# patterns overlap, "Private video. Sign in" being private, not a missing login.
_MEANINGS: list[tuple[str, str, bool, str]] = [
    (r"not a bot", "bot_check", True, f"the site asks whether this is a bot; {_SLOWER}, or {_COOKIES}"),
    (r"rate.?limit|try again later|too many requests", "http_429", True, f"the site limits requests; {_SLOWER}"),
    (
        r"confirm your age|age.restricted|inappropriate for",
        "age_restricted",
        False,
        f"the video is age-restricted; {_COOKIES}",
    ),
    (r"members.only|join this channel", "members_only", False, f"the video is for members of the channel; {_COOKIES}"),
    (r"private video|video is private", "private", False, f"the video is private; {_COOKIES}"),
    (r"log.?in|sign in|registered users", "login_required", False, f"the site requires a login; {_COOKIES}"),
    (
        r"in your country|geo.?restrict|from your location",
        "geo_blocked",
        False,
        "the video is blocked in this country; crawl from another country or through a proxy there (crawl.proxy)",
    ),
    (r"requested format is not", "no_format", False, "the site offers no video format within crawl.max_height"),
    (
        r"live event will begin|premieres in",
        "live",
        False,
        "the broadcast has not begun; crawl it when it has ended",
    ),
    (r"\bdrm\b", "drm", False, "the video is protected by DRM"),
    (
        r"has been removed|no longer available|been terminated|video unavailable|not available|does not exist|deleted",
        "removed",
        False,
        "the site no longer has the video",
    ),
    (
        r"unsupported url|no video formats found|no media found",
        "not_a_video",
        False,
        "the URL is an HTML page without a video",
    ),
    (
        r"neither http nor https|unsupported url scheme|no connection adapters",
        "scheme",
        False,
        "only http and https URLs are supported",
    ),
    (
        r"more expected|incomplete ?read|giving up after",
        "download_broken",
        True,
        "the server broke the transfer off repeatedly",
    ),
    (r"timed? ?out", "timeout", True, "the server did not answer in time"),
]

_STATUS: dict[int, tuple[bool, str]] = {
    401: (False, f"the server requires a login; {_COOKIES}"),
    403: (False, f"the server refuses access; {_COOKIES}, or crawl from another network"),
    404: (False, "the server has nothing at this URL"),
    410: (False, "the server no longer has it"),
    429: (True, f"the server limits requests; {_SLOWER}"),
}


def explain(error: BaseException) -> UnitError | EmptyUnit:
    """Turn an exception of yt-dlp into an error with a kind, a meaning and, where one is known, a remedy."""
    chain = list(_causes(error))
    text = _clean(str(error))
    if "did not get any data blocks" in text.lower():
        return EmptyUnit("the server sent an empty file")
    for cause in chain:
        if isinstance(cause, HTTPError):
            return _of_status(cause)
    for pattern, kind, retryable, meaning in _MEANINGS:
        if re.search(pattern, text, re.IGNORECASE):
            return UnitError(f"{meaning} ({text})", kind=kind, retryable=retryable)
    if any(isinstance(cause, TransportError) for cause in chain):
        return UnitError(f"the server cannot be reached ({text})", kind="network", retryable=True)
    # An error that the extractor did not expect may be a temporary fault of the site; one that it expected is final.
    foreseen = any(isinstance(cause, ExtractorError) and cause.expected for cause in chain)
    return UnitError(f"yt-dlp could not fetch it ({text})", kind="crawl_failed", retryable=not foreseen)


def _of_status(error: HTTPError) -> UnitError:
    status = int(error.status)
    other = (status >= 500, "the server failed" if status >= 500 else "the server refuses the request")
    retryable, meaning = _STATUS.get(status, other)
    return UnitError(f"{meaning} (HTTP {status})", kind=f"http_{status}", retryable=retryable)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and its causes, including those that yt-dlp keeps in attributes of its own."""
    seen: list[BaseException | None] = [error]
    for cause in seen:
        if cause is None or len(seen) > 32:
            continue
        yield cause
        information = getattr(cause, "exc_info", None) or (None, None)
        further = [getattr(cause, "cause", None), cause.__cause__, cause.__context__, information[1]]
        seen += [item for item in further if isinstance(item, BaseException) and item not in seen]


def _clean(text: str) -> str:
    """The message without colours, prefixes and the request to report a bug; 400 characters at most."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"^(ERROR:\s*)+", "", text.strip())
    text = re.sub(r"^\[[\w:+.-]+\]\s+(\S+:\s+)?", "", text)
    text = re.split(r";?\s*please report this issue on|\. See\s+https://github\.com/yt-dlp| \(caused by ", text)[0]
    return " ".join(text.split())[:400] or "no message"
