import pytest
from pydantic import ValidationError

from stages.crawl.config import CrawlConfig


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"urls": ["file:///etc/passwd"]}, "is not an http:// or https:// URL"),
        ({"urls": ["ftp://example.com/a.mp4"]}, "is not an http:// or https:// URL"),
        ({"urls": ["example.com/a.mp4"]}, "is not an http:// or https:// URL"),
        ({"urls": ["https://"]}, "is not an http:// or https:// URL"),
        ({"urls": ["https://a b.com/"]}, "is not an http:// or https:// URL"),
        ({"playlists": ["ytsearch5:tokyo"]}, "is not an http:// or https:// URL"),
        ({"proxy": "proxy.example.com:3128"}, "is not the URL of a proxy"),
        ({"max_height": 10}, "greater than or equal to 144"),
        ({"searches": [{"query": "{city} walk"}]}, "go together"),
        ({"searches": [{"query": "walk", "cities": ["Tokyo"]}]}, "go together"),
        ({"searches": [{"query": "walk", "site": "https://x"}]}, "should match pattern"),
        ({"search": []}, "Extra inputs are not permitted"),
    ],
)
def test_mistakes_are_told(block: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CrawlConfig.model_validate(block)


def test_addresses_lose_surrounding_blanks() -> None:
    assert CrawlConfig(urls=(" https://example.com/a.mp4\n",)).urls == ("https://example.com/a.mp4",)


def test_what_is_crawled_does_not_change_what_a_video_is() -> None:
    other = CrawlConfig(urls=("https://example.com/a.mp4",), concurrency=9, timeout_s=5, keep_media=False)
    assert other.identity() == CrawlConfig().identity()
    assert CrawlConfig(max_height=360).identity() != CrawlConfig().identity()
    assert set(CrawlConfig.model_fields) >= CrawlConfig.operational
