"""Names of videos: those that asking every extractor of yt-dlp gives, without loading yt-dlp."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.crawl.sources import ytdlp_names
from stages.crawl.sources.ytdlp_names import find
from tests.runs import ROOT

ADDRESSES = [
    "https://youtu.be/dQw4w9WgXcQ?t=30",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL1234567890AB",
    "https://www.youtube.com/playlist?list=PL1234567890AB",
    "https://www.youtube.com/@walks/videos",
    "https://www.YouTube.com/watch?v=dQw4w9WgXcQ",
    "https://vimeo.com/76979871",
    "https://vimeo.com/channels/staffpicks/76979871",
    "https://player.vimeo.com/external/1.mp4",
    "https://vimeo.com.example.org/1.mp4",
    "https://www.bbc.co.uk/news/av/world-48222085",
    "https://www.bbc.com/video.mp4",
    "https://www.tvp.pl/1234",
    "https://www.thesun.co.uk/tv/1234/",
    "https://peertube.tv/videos/watch/9c9de5e8-0a1e-484a-b099-e80766180a6d",
    "peertube:framatube.org:9c9de5e8-0a1e-484a-b099-e80766180a6d",
    "https://commons.wikimedia.org/wiki/File:Street_in_Rome.webm",
    "https://archive.org/details/street/one.mp4",
    "https://www.facebook.com/watch/?v=1234567890",
    "https://www.bilibili.com/video/BV13x41117TL",
    "https://www.dailymotion.com/video/x5kesuj",
    "https://cdn.example.org/videos/street/walk-1.mp4",
    "https://cdn.example.org/walk.MP4?signature=a/b&player=https://vimeo.com/76979871",
    "http://user:pw@cdn.example.org:8080/a%20b.mkv#t=3",
    "http://[2001:db8::1]:8080/clip.mp4",
    "http://127.0.0.1:99/clip.mp4",
    "HTTPS://VIMEO.COM/76979871",
    "https://s.example/r?u=https%3A%2F%2Fyoutu.be%2FdQw4w9WgXcQ",
    "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/stra\N{LATIN SMALL LETTER SHARP S}e.mp4",
    "https://www.bo\N{LATIN SMALL LETTER LONG S}tonglobe.com/metro/street/walk.html",
    "http://example.org",
    "http://example.org/",
    "ytsearch5:Tokyo street walk",
    "dQw4w9WgXcQ",
    "abc",
    "",
]  # fmt: skip


def asked(url: str) -> tuple[str, str | None]:
    """As ``find``, by asking every extractor."""
    for extractor in ytdlp_names._classes().values():
        if extractor.suitable(url):
            return extractor.ie_key().lower(), extractor.get_temp_id(url)
    return "generic", None


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache directory, and nothing kept in this process."""
    for function in (ytdlp_names._extractors, ytdlp_names._index, ytdlp_names._compiled):
        function.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("url", ADDRESSES)
def test_a_name_is_that_of_asking_every_extractor(url):
    assert find(url) == asked(url)


@pytest.mark.slow
def test_names_of_all_addresses_that_ytdlp_tests_are_those_of_asking_every_extractor():
    from yt_dlp.extractor import _extractors

    classes = [value for name, value in vars(_extractors).items() if name.endswith("IE")]
    urls = sorted({case["url"] for one in classes for case in one.get_testcases(include_onlymatching=True)})
    urls += [url + "?x=movie.mp4" for url in urls[::5]] + [url.upper() for url in urls[::20]]
    assert len(urls) > 5000
    assert [url for url in urls if find(url) != asked(url)] == []


def names_elsewhere(cache: Path, urls: list[str]) -> tuple[list[list[str]], bool]:
    """Names from another process, and whether it loaded yt-dlp."""
    code = (
        "import json, sys; from stages.crawl.sources.ytdlp import key\n"
        "print(json.dumps([[key(url) for url in json.loads(sys.argv[1])], 'yt_dlp' in sys.modules]))"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", code, json.dumps(urls)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    names, loaded = json.loads(done.stdout)
    return names, loaded


def test_the_second_process_names_videos_without_loading_ytdlp(tmp_path):
    urls = ["https://cdn.example.org/videos/walk-1.mp4", "https://vimeo.com/76979871", "https://www.bbc.com/x.mp4"]
    first, loaded = names_elsewhere(tmp_path, urls)
    assert loaded
    assert names_elsewhere(tmp_path, urls) == (first, False)
    assert [name for name, _ in first] == ["generic", "vimeo", "generic"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    tmp_path.joinpath("file").write_text("no folder")
    names, loaded = names_elsewhere(tmp_path / "file", ["https://vimeo.com/76979871"])
    assert (names, loaded) == ([["vimeo", "76979871"]], True)


@pytest.mark.parametrize("content", ["", "{", "[]", '[["vimeo"]]', '{"vimeo": 1}', "[1]"])
def test_a_damaged_cache_is_written_anew(cache, content):
    path = ytdlp_names._cache_path()
    path.parent.mkdir()
    path.write_text(content)
    assert find("https://vimeo.com/76979871") == ("vimeo", "76979871")
    assert len(json.loads(path.read_text())) > 1000
    assert [file.name for file in path.parent.iterdir()] == [path.name]
