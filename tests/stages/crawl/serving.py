"""A web server on this machine that behaves well or badly, as its paths say."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLIP = Path(__file__).resolve().parents[3] / "demo" / "street.mp4"

STATUS = {"/busy.mp4": 503, "/flood.mp4": 429, "/forbidden.mp4": 403, "/gone.mp4": 410}
PAGE = (
    b"<!DOCTYPE html><html><head><title>Hello</title></head><body>" + b"<p>no video here</p>" * 40 + b"</body></html>"
)
LONG = """<!DOCTYPE html><html><head><title>Long</title><script type="application/ld+json">
{{"@context": "https://schema.org", "@type": "VideoObject", "name": "A long walk", "duration": "PT9H",
"contentUrl": "{base}/clip.mp4"}}</script></head><body><p>A page with a player</p></body></html>"""
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Street walks</title>
<item><title>One</title><link>{base}/clip.mp4</link></item>
<item><title>Two</title><link>{base}/other.mp4</link></item>
<item><title>One again</title><link>{base}/clip.mp4</link></item>
</channel></rss>"""


INDEX = """<!DOCTYPE html><html><body><h1>Index of /walks</h1><a href="../">Up</a><a href="one.mp4">one.mp4</a>
<a href="two.mp4">two.mp4</a><a href="notes.txt">notes.txt</a><a href="one.mp4">one.mp4, again</a></body></html>"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the demo clip and all that can go wrong with it."""

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.hits.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            return self.send(302, b"", "text/plain", Location=self.path.removeprefix("/to/"))
        if path in STATUS:
            return self.send(STATUS[path], b"no", "text/plain")
        action = getattr(self, "get_" + path.strip("/").replace(".", "_").replace("/", "_"), None)
        return action() if action else self.send(404, b"nothing here", "text/plain")

    def send(self, status: int, body: bytes, kind: str, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length or len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def get_clip_mp4(self) -> None:
        self.send(200, CLIP.read_bytes(), "video/mp4")

    def get_walks(self) -> None:
        self.send(200, INDEX.encode(), "text/html")

    def get_walks_one_mp4(self) -> None:
        self.get_clip_mp4()

    def get_walks_hang_mp4(self) -> None:
        self.get_hang_mp4()

    def get_walks_endless_mp4(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.stopping.is_set():
            self.wfile.write(bytes(1 << 20))

    def get_empty_mp4(self) -> None:
        self.send(200, b"", "video/mp4")

    def get_page_html(self) -> None:
        self.send(200, PAGE, "text/html")

    def get_disguised_mp4(self) -> None:
        self.send(200, PAGE, "video/mp4")

    def get_data_json(self) -> None:
        self.send(200, b'{"error": "quota"}', "application/json")

    def get_feed_rss(self) -> None:
        self.send(200, FEED.format(base=self.server.base).encode(), "application/rss+xml")

    def get_long_html(self) -> None:
        self.send(200, LONG.format(base=self.server.base).encode(), "text/html")

    def get_breaks_mp4(self) -> None:
        self.send(200, CLIP.read_bytes()[:50_000], "video/mp4", length=100_000)
        self.close_connection = True

    def get_endless_mp4(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.end_headers()
        for _ in range(200):
            self.wfile.write(bytes(65536))

    def get_trickle_mp4(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.stopping.wait(0.2):
            self.wfile.write(b"\0")

    def get_hang_mp4(self) -> None:
        self.server.stopping.wait(60)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Handler)
        self.hits: list[str] = []
        self.stopping = threading.Event()
        self.base = f"http://{host}:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what some tests are about."""


@contextmanager
def serve(host: str = "127.0.0.1") -> Iterator[Server]:
    """The server, on a port of its own, while the block runs."""
    server = Server(host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
