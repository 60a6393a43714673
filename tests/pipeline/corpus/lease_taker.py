"""A process that takes the lease of a corpus again and again, to be killed."""

import os
import random
import time
import uuid
from pathlib import Path

from pipeline.corpus import lease
from pipeline.corpus.files import Corpus
from pipeline.corpus.lease import leased
from pipeline.errors import UserError


def take_and_count(uri: str, folder: str, seed: int) -> None:
    """Take the lease again and again, and note if another process is inside at the same time."""
    corpus, chance, until = Corpus(uri), random.Random(seed), time.monotonic() + 60
    flag = Path(folder) / "inside"
    while time.monotonic() < until:
        try:
            with leased(corpus, "run"):
                try:
                    os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    # Of a killed process, or of one that is inside.
                    owner = int((Path(folder) / "pid").read_text() or 0)
                    if lease._runs(owner, lease._process_started(owner) or -1):
                        (Path(folder) / f"two-{uuid.uuid4().hex}").touch()
                (Path(folder) / "pid").write_text(str(os.getpid()))
                time.sleep(chance.uniform(0, 0.02))
                (Path(folder) / "entered").open("a").write(".")
                flag.unlink()
        except UserError:
            time.sleep(chance.uniform(0, 0.02))
