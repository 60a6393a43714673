"""Grows a synthetic corpus run by run, or what is missing of it."""

import functools
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.scale.compared_videos import dedup_videos, track_videos
from benchmarks.scale.crawled_videos import crawl_videos, given_addresses, list_videos
from benchmarks.scale.detected_chunks import detect_chunks
from benchmarks.scale.embedded_packs import embed_packs
from benchmarks.scale.growth import Growth, RunAll, start_worker
from benchmarks.scale.looks import Looks, make_looks
from benchmarks.scale.settings import ADDRESSES, RECIPE, first_recipe, make_runs, write_recipe
from benchmarks.scale.videos import Videos, make_videos
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger, ledger_stages
from pipeline.errors import UserError
from pipeline.recipe import Recipe, dump_recipe, load_recipe

log = logging.getLogger("reidforge")

_MADE: Final = "made.json"

_STEPS = (list_videos, crawl_videos, detect_chunks, embed_packs, track_videos, dedup_videos)


def grow(
    folder: Path, *, videos: int, embedded: float, seed: int, jpeg_height: int, looks: int, processes: int
) -> Recipe:
    """Make a corpus, or what is missing of it: files that exist are left, and so are the ledger rows of runs.

    Args:
        folder: The corpus; ``recipe.yaml`` and the list of addresses are written into it.
        videos: Number of videos; they have 22 chunks of 20 seconds on average.
        embedded: Share of the packs of crops with embeddings and captions.
        seed: Everything in the corpus follows from it, and from the arguments.
        jpeg_height: Height of the stored pictures, pixels.
        looks: Number of different persons.
        processes: Processes that write files.

    Returns:
        The recipe that made the corpus.

    Raises:
        UserError: The folder holds a corpus that was made by other arguments.
    """
    arguments = {"videos": videos, "embedded": embedded, "seed": seed, "jpeg_height": jpeg_height, "looks": looks}
    if _is_made(folder, arguments):
        return load_recipe(folder / RECIPE)
    recipe = write_recipe(folder, videos)
    corpus, made = Corpus(str(folder)), make_videos(seed, videos)
    total = int(made.first_chunk[-1])
    with _processes(processes, (str(folder), made, make_looks(recipe, seed, jpeg_height, looks))) as run_all:
        growth = Growth(
            corpus=corpus, recipe=recipe, videos=made, run_all=run_all,
            there={corpus.relative(info.path) for info in corpus.files()}, pack_of=np.full(total, -1),
            detections=np.zeros(total, np.int64), crops=np.zeros(total, np.int64),
        )  # fmt: skip
        (folder / ADDRESSES).write_text("".join(f"{url}\n" for url in given_addresses(growth)))
        for run in make_runs(recipe, videos, embedded):
            now = first_recipe(recipe) if run.number == 0 else recipe
            for step in _STEPS:
                step(growth, run, now)
            corpus.put(f"runs/{run.run_id}/recipe.yaml", dump_recipe(now).encode())
            log.info("run %d: %d videos, %d crops", run.number + 1, run.stop, growth.crops.sum())
    # Each run does; the last is enough for the same files.
    for stage in ledger_stages(corpus):
        Ledger(corpus, stage).compact()
    corpus.put(_MADE, json.dumps(arguments | {"finished": True}).encode())
    return recipe


def _is_made(folder: Path, arguments: dict[str, Any]) -> bool:
    """Whether a corpus is complete; if it is not there, what it is going to be is noted in it."""
    note = folder / _MADE
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(arguments))
        return False
    made: dict[str, Any] = json.loads(note.read_text())
    finished = bool(made.pop("finished", False))
    if made != arguments:
        raise UserError(f"{folder} was made with {made}, not with {arguments}; give these, or another folder")
    return finished


@contextmanager
def _processes(count: int, own: tuple[str, Videos, Looks]) -> Iterator[RunAll]:
    """What runs tasks in this many processes; in this one, if it is one."""
    if count == 1:
        start_worker(*own)
        yield map
        return
    # Not forked: this process has threads of Arrow and torch.
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=start_worker, initargs=own) as workers:
        yield functools.partial(workers.map, chunksize=8)
