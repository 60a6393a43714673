import pytest

from stages.crawl.sources.ytdlp import key


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://youtu.be/dQw4w9WgXcQ", ("youtube", "dQw4w9WgXcQ")),
        ("https://youtu.be/dQw4w9WgXcQ?t=30", ("youtube", "dQw4w9WgXcQ")),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", ("youtube", "dQw4w9WgXcQ")),
        ("https://m.youtube.com/watch?v=dQw4w9WgXcQ&feature=share", ("youtube", "dQw4w9WgXcQ")),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL123&index=4", ("youtube", "dQw4w9WgXcQ")),
        ("https://www.youtube.com/shorts/dQw4w9WgXcQ", ("youtube", "dQw4w9WgXcQ")),
        ("https://vimeo.com/76979871", ("vimeo", "76979871")),
        ("https://commons.wikimedia.org/wiki/File:Street_in_Rome.webm", ("wikimedia", "Street_in_Rome.webm")),
        ("http://127.0.0.1:8642/street.mp4", ("generic", "street-3f9b5d0c")),
        ("https://example.com/a/street.mp4?token=1", ("generic", "street-b7c8d6ea")),
        ("https://example.com/", ("generic", "index-")),
        ("https://example.com/a%2Fb%20c.mp4", ("generic", "b_c-")),
    ],
)
def test_key_of_a_video(url: str, expected: tuple[str, str]) -> None:
    extractor, id_ = key(url)
    assert extractor == expected[0]
    if extractor == "generic":
        stem, _, digest = id_.rpartition("-")
        assert stem == expected[1].rpartition("-")[0]
        assert len(bytes.fromhex(digest)) == 4
    else:
        assert id_ == expected[1]


def test_files_of_the_same_name_at_other_urls_are_other_videos() -> None:
    one, other = key("https://a.com/street.mp4"), key("https://b.com/street.mp4")
    assert one != other
    assert one == key("https://a.com/street.mp4")
