"""What a source of videos is."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stages.crawl.config import CrawlConfig
from stages.errors import EmptyUnit, UnitError


@dataclass(frozen=True)
class Entry:
    """A video that a listing names: its URL, and its title if the listing states one."""

    url: str
    title: str | None = None


@dataclass(frozen=True)
class Download:
    """A downloaded file.

    Attributes:
        path: The file, inside the directory that the source was given.
        info: What the site states about the video, ready for JSON. ``stages.crawl.video_rows`` reads ``extractor_key``,
            ``webpage_url``, ``title``, ``uploader`` or ``channel``, ``upload_date`` (YYYYMMDD) and ``license``; all of
            them are optional.
    """

    path: Path
    info: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The download as the worker process reports it."""
        return asdict(self) | {"path": str(self.path)}


class Source(Protocol):
    """A module with these functions.

    ``accepts`` and ``key`` run wherever work is planned, so they must not connect to anything. The others run in the
    worker process: behind the guard, within ``crawl.timeout_s``, and with no file larger than ``crawl.max_bytes``.
    They may raise anything; ``explain`` turns it into an error that says what to do. Import heavy packages inside
    functions.
    """

    __name__: str

    def accepts(self, address: str) -> bool:
        """Whether the source handles this URL or search query. The first source that does is used."""
        ...

    def key(self, url: str) -> tuple[str, str]:
        """Extractor and id of a video; equal for all URLs of the same video, without colons, slashes or blanks."""
        ...

    def entries(self, query: str, config: CrawlConfig) -> list[Entry]:
        """Videos that a search query, a playlist or a folder lists."""
        ...

    def fetch(self, url: str, directory: Path, config: CrawlConfig) -> Download:
        """Download one video into a directory, in which files that are left behind by a failure are removed later."""
        ...

    def explain(self, error: Exception) -> UnitError | EmptyUnit:
        """Kind, meaning and remedy of an error that ``entries`` or ``fetch`` raised."""
        ...
