import sys

import pytest
from yt_dlp.utils import DownloadError, ExtractorError

from stages.crawl.failures import explain
from stages.errors import EmptyUnit, UnitError


def downloading(message: str, *, expected: bool = True) -> DownloadError:
    """The error as yt-dlp hands it out."""
    try:
        raise ExtractorError(message, expected=expected)
    except ExtractorError as error:
        return DownloadError(f"\x1b[0;31mERROR:\x1b[0m [youtube] abc: {error.msg}", sys.exc_info())


@pytest.mark.parametrize(
    ("message", "kind", "retryable", "advice"),
    [
        ("Sign in to confirm you\u2019re not a bot. Use --cookies", "bot_check", True, "crawl.cookies_file"),
        ("Sign in to confirm your age. This video may be inappropriate", "age_restricted", False, "cookies_file"),
        ("Private video. Sign in if you've been granted access", "private", False, "cookies_file"),
        ("Video unavailable. This video has been removed by the uploader", "removed", False, "not have the video"),
        ("This content isn't available, try again later.", "http_429", True, "crawl.sleep_s"),
        ("The uploader has not made this video available in your country", "geo_blocked", False, "crawl.proxy"),
        ("Join this channel to get access to members-only content", "members_only", False, "cookies_file"),
        ("Requested format is not available. Use --list-formats", "no_format", False, "crawl.max_height"),
        ("This video is DRM protected", "drm", False, "DRM"),
        ("Unsupported URL: https://example.com/", "not_a_video", False, "without a video"),
        ("This live event will begin in 3 hours.", "live", False, "once it is over"),
    ],
)
def test_messages_get_a_kind_and_a_remedy(message: str, kind: str, retryable: bool, advice: str) -> None:
    error = explain(downloading(message), [])
    assert isinstance(error, UnitError)
    assert (error.kind, error.retryable) == (kind, retryable)
    assert advice in str(error)
    assert "\x1b" not in str(error)
    assert "[youtube]" not in str(error)


def test_what_nobody_foresaw_may_pass() -> None:
    strange, known = explain(downloading("Unable to extract title", expected=False), []), explain(downloading("No"), [])
    assert isinstance(strange, UnitError)
    assert isinstance(known, UnitError)
    assert (strange.kind, strange.retryable, known.retryable) == ("crawl_failed", True, False)
    assert "please report this issue" not in str(strange)


def test_a_refused_address_is_told_before_its_consequences() -> None:
    error = explain(downloading("Unable to download webpage: timed out"), ["10.0.0.8"])
    assert isinstance(error, UnitError)
    assert error.kind == "private_address"
    assert "10.0.0.8" in str(error)
    assert "crawl.allow_private_addresses" in str(error)


def test_no_bytes_are_an_empty_unit() -> None:
    assert isinstance(explain(DownloadError("ERROR: Did not get any data blocks"), []), EmptyUnit)
