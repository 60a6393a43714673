"""Garbage collection: files of killed runs, superseded recipes and dropped units, which no ledger row names."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from pyarrow import fs as pafs

from pipeline.corpus.files import TEMPORARY, Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.order import TABLES
from pipeline.flow.videos import MEDIA, live_media

_FOLDERS = {*(table.folder for table in TABLES), MEDIA}


def find(corpus: Corpus, before: dt.datetime) -> list[pafs.FileInfo]:
    """Files of data folders that no live ledger row names, and temporary files anywhere.

    Args:
        corpus: The corpus.
        before: Files changed later are spared: a running job writes its files before its ledger rows.
    """
    snapshot = Snapshot(corpus)
    # All ledgers, not only those of known stages: a stage of a newer version may name files in a folder known here.
    named: set[Any] = {*snapshot.files_in_use().to_pylist(), *snapshot.left_since(before).to_pylist()}
    named |= live_media(snapshot)
    everything = (info for info in corpus.files() if info.mtime and info.mtime < before)
    return [info for info in everything if _is_garbage(corpus.relative(info.path), named)]


def remove(corpus: Corpus, files: Iterable[pafs.FileInfo]) -> None:
    """Delete files."""
    corpus.delete(*(corpus.relative(info.path) for info in files))


def _is_garbage(path: str, named: set[Any]) -> bool:
    if TEMPORARY in path:
        return True
    return path.partition("/")[0] in _FOLDERS and path not in named
