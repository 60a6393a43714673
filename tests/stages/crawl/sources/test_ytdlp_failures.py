import io
import sys

import pytest
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError

from stages.crawl.sources.ytdlp_failures import explain
from stages.errors import EmptyUnit, UnitError


def downloading(message: str, *, expected: bool = True, cause: Exception | None = None) -> DownloadError:
    """The error in the form in which yt-dlp raises it."""
    try:
        raise ExtractorError(message, expected=expected, cause=cause)
    except ExtractorError as error:
        return DownloadError(f"\x1b[0;31mERROR:\x1b[0m [youtube] abc: {error.msg}", sys.exc_info())


def explained(error: BaseException) -> UnitError:
    found = explain(error)
    assert isinstance(found, UnitError)
    return found


@pytest.mark.parametrize(
    ("message", "kind", "retryable", "advice"),
    [
        ("Sign in to confirm you\u2019re not a bot. Use --cookies", "bot_check", True, "crawl.cookies_file"),
        ("Sign in to confirm your age. This video may be inappropriate", "age_restricted", False, "cookies_file"),
        ("Private video. Sign in if you've been granted access", "private", False, "cookies_file"),
        ("Please sign in to view this video", "login_required", False, "cookies_file"),
        ("Video unavailable. This video has been removed by the uploader", "removed", False, "no longer has the video"),
        ("This content isn't available, try again later.", "http_429", True, "crawl.sleep_s"),
        ("The uploader has not made this video available in your country", "geo_blocked", False, "crawl.proxy"),
        ("Join this channel to get access to members-only content", "members_only", False, "cookies_file"),
        ("Requested format is not available. Use --list-formats", "no_format", False, "crawl.max_height"),
        ("This video is DRM protected", "drm", False, "DRM"),
        ("Unsupported URL: https://example.com/", "not_a_video", False, "without a video"),
        ("This live event will begin in 3 hours.", "live", False, "when it has ended"),
        ("refused: file is neither http nor https", "scheme", False, "only http and https URLs are supported"),
        ("Got 10 bytes, 20 more expected", "download_broken", True, "broke the transfer off"),
        ("The read operation timed out", "timeout", True, "did not answer in time"),
    ],
)
def test_messages_get_a_kind_and_a_remedy(message: str, kind: str, retryable: bool, advice: str) -> None:
    error = explained(downloading(message))
    assert (error.kind, error.retryable) == (kind, retryable)
    assert advice in str(error)
    assert "\x1b" not in str(error)
    assert "[youtube]" not in str(error)


@pytest.mark.parametrize(
    ("status", "retryable", "advice"),
    [
        (400, False, "refuses the request"),
        (401, False, "crawl.cookies_file"),
        (403, False, "crawl.cookies_file"),
        (404, False, "nothing at this URL"),
        (410, False, "no longer has it"),
        (429, True, "crawl.sleep_s"),
        (499, False, "refuses the request"),
        (500, True, "the server failed"),
        (503, True, "the server failed"),
    ],
)
def test_a_status_decides_whether_a_later_attempt_may_succeed(status: int, retryable: bool, advice: str) -> None:
    cause = HTTPError(Response(io.BytesIO(b""), "http://a.example/", {}, status))
    error = explained(downloading("Unable to download webpage: timed out", cause=cause))
    assert (error.kind, error.retryable) == (f"http_{status}", retryable)
    assert advice in str(error)
    assert str(error).endswith(f"(HTTP {status})")


def test_a_server_that_cannot_be_reached_may_come_back() -> None:
    error = explained(downloading("Unable to download webpage", cause=TransportError("Connection refused")))
    assert (error.kind, error.retryable) == ("network", True)


def test_an_unexpected_error_is_retried_and_an_expected_one_is_not() -> None:
    strange, known = explained(downloading("Unable to extract title", expected=False)), explained(downloading("No"))
    assert (strange.kind, strange.retryable, known.retryable) == ("crawl_failed", True, False)
    assert "please report this issue" not in str(strange)


def test_a_message_of_a_whole_page_is_shortened() -> None:
    assert len(str(explained(downloading("x " * 5_000)))) < 500


def test_no_bytes_are_an_empty_unit() -> None:
    assert isinstance(explain(DownloadError("ERROR: Did not get any data blocks")), EmptyUnit)
