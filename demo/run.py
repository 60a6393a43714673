"""The demo: serve the street video on this machine, run recipes/demo.yaml over it, and show what was built.

Usage::

    make demo
    make demo ARGS="--set caption.seed=7"
"""

import functools
import http.server
import sys
import threading
import time
from pathlib import Path

from pipeline.cli import execute
from pipeline.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "recipes/demo.yaml"

# The recipe names this port: with another one the video would have another address, and be another video.
PORT = 8642

NEXT = """\
Try next:
  reidforge sql {corpus} "SELECT value, count(*) FROM attributes WHERE attribute = 'upper_colour' GROUP BY ALL"
  reidforge sql {corpus} "SELECT drop_reason, count(*) FROM detections GROUP BY ALL"
  reidforge plan {recipe} --set caption.seed=7      what another variant of the captions would redo
  make demo ARGS="--set caption.seed=7"             and do it
  reidforge status {corpus}
(reidforge is in .venv/bin; README.md tells how to write a recipe and run it on a cluster)"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: the run has its own log."""


def main() -> int:
    """Run the demo; returns the exit code."""
    began = time.monotonic()
    try:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", PORT), functools.partial(_Quiet, directory=ROOT / "demo")
        )
    except OSError as error:
        print(
            f"demo: port {PORT} on this machine is taken ({error.strerror}); free it and run the demo again",
            file=sys.stderr,
        )
        return 2
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = execute(["run", RECIPE, *sys.argv[1:]])
    if code:
        return code
    corpus = load_recipe(Path(RECIPE)).corpus
    execute(["report", corpus, "--sheet", f"{corpus}/contact_sheet.png"])
    print(f"\n{time.monotonic() - began:.0f} s in all.\n\n{NEXT.format(corpus=corpus, recipe=RECIPE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
