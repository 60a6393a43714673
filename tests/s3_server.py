"""A local S3 server (moto) that notes its requests, and that can be stopped."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@dataclasses.dataclass(frozen=True)
class S3Server:
    """A running server.

    Args:
        query: Makes an s3:// URI lead to it.
        requests: One string per request, ``METHOD path`` and ``?query`` if it has one; cleared by tests.
        stop: Ends it.
    """

    query: str
    requests: list[str]
    stop: Callable[[], None]


@contextmanager
def serve_s3() -> Iterator[S3Server]:
    """Start a server with a bucket named ``bucket``; stop it at the end."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    requests: list[str] = []
    answer = server._server.app

    def noting(environ: dict[str, Any], respond: Any) -> Any:
        query = environ.get("QUERY_STRING")
        requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{'?' + query if query else ''}")
        return answer(environ, respond)

    server._server.app = noting
    host, port = server.get_host_and_port()
    query = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    fs.FileSystem.from_uri(f"s3://bucket?{query}&allow_bucket_creation=true")[0].create_dir("bucket")
    running = [server.stop]

    def stop() -> None:
        while running:
            running.pop()()

    yield S3Server(query, requests, stop)
    stop()
