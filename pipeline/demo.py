"""The demo: a small corpus from the street video that ships with reidforge, served over HTTP by this machine."""

import contextlib
import functools
import http.server
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from stages.resources import locate

RECIPE = Path("recipes/demo.yaml")

# The recipe names this port. On another port the video would have another address and be another video, and a second
# run would crawl it again.
PORT = 8642

_NEXT = """\
Try next:
  {reidforge} sql {corpus} "SELECT value, count(*) FROM attributes WHERE attribute = 'upper_colour' GROUP BY ALL"
  {reidforge} sql {corpus} "SELECT drop_reason, count(*) FROM detections GROUP BY ALL"
  {reidforge} status {corpus}
  {reidforge} plan demo --corpus {corpus} --set caption.seed=7    # what other captions would need to run again
  {reidforge} demo --corpus {corpus} --set caption.seed=7         # run it
README.md explains how to write a recipe and how to run it on a cluster."""


def run_demo(corpus: str | None, overrides: Sequence[str]) -> None:
    """Run the demo's recipe over the street video and print what was built.

    Args:
        corpus: Corpus to build instead of the recipe's.
        overrides: ``key=value`` each, over the recipe.

    Raises:
        UserError: The port is in use, or an override cannot be used.
        RunFailed: More units failed than the recipe allows.
    """
    from pipeline.commands import run_recipe, show_report
    from pipeline.recipe import load_recipe

    began = time.monotonic()
    built = load_recipe(RECIPE, overrides, corpus).corpus
    with _serve_street():
        run_recipe(RECIPE, overrides, corpus, None, None, None, retry=False)
    show_report(built, None, Path(built) / "contact_sheet.png" if "://" not in built else None)
    print(f"\n{time.monotonic() - began:.0f} s in total.\n\n{_NEXT.format(corpus=built, reidforge=_command())}")


@contextlib.contextmanager
def serve_folder(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder over HTTP on this machine while the block runs.

    Args:
        folder: What to serve.
        port: Port on 127.0.0.1; 0 = any free one.

    Yields:
        The address, such as ``http://127.0.0.1:8642``.
    """
    server = _Server(("127.0.0.1", port), functools.partial(_Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Print nothing: a run has its own log."""


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        # yt-dlp probes an address and closes the connection before it has read the video. The base class prints a
        # traceback for it, which was the second line that a newcomer saw.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def _serve_street() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(serve_folder(Path(locate("demo/street.mp4")).parent, PORT))
        except OSError as error:
            raise UserError(
                f"port {PORT} of this machine is not available ({error.strerror}); the demo serves its video there. "
                "Stop the program that uses it, and run the demo again"
            ) from error
        yield


def _command() -> str:
    """The command as the user's shell finds it: ``make demo`` runs it from an environment that is not on the PATH."""
    if shutil.which("reidforge"):
        return "reidforge"
    return os.path.relpath(Path(sys.executable).with_name("reidforge"))
