"""Where a corpus's catalog lies, and how it is brought up to date: a copy is changed and takes its place.

A catalog of a local corpus lies in it. One in an object store, or in a folder that cannot be written to, is kept in a
cache on this machine. A kill at any moment leaves the catalog as it was.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
from pyarrow import fs as pafs

from pipeline import __version__
from pipeline.audit.catalog.ledger_diff import absorb, books
from pipeline.audit.catalog.native_tables import definitions
from pipeline.audit.catalog.parquet_macros import write_examples
from pipeline.audit.catalog.row_diff import move_rows
from pipeline.audit.catalog.run_recipes import update_runs
from pipeline.audit.catalog.sql_text import quote
from pipeline.corpus.files import Corpus, beside, digest
from pipeline.errors import MissingFileError

FILE: Final = "catalog.duckdb"

# Older DuckDB clients read a catalog of this format too.
_STORAGE: Final = "v1.2.0"

# By default DuckDB takes four fifths of the machine's memory, beside a run whose workers have theirs: 19 GB of 24 were
# seen. What does not fit spills.
_MEMORY: Final = "1500MB"

# DuckDB opens a file that lacks its end, and fails in the query that needs it.
_SIZE: Final = "SELECT block_size * total_blocks FROM pragma_database_size() WHERE database_name = 'catalog_file'"

# Merges of the ledger that a refresh waits out.
_LISTINGS: Final = 5

log = logging.getLogger("reidforge")


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """A catalog that is up to date.

    Args:
        path: Where it lies on this machine.
        did: ``nothing``, ``refreshed`` or ``built``.
        read: Files of the ledger and of the layout that it had not seen.
        seconds: Wall time.
    """

    path: Path
    did: str
    read: int = 0
    seconds: float = 0.0


def refresh(corpus: Corpus, *, rebuild: bool = False, write_back: bool = True) -> Refreshed:
    """Bring the catalog of a corpus up to date.

    Args:
        corpus: The corpus.
        rebuild: Whether to build it anew.
        write_back: Whether to store it in a corpus that is not on this machine.

    Returns:
        The catalog, and what was done.

    Raises:
        UserError: A file that the ledger names cannot be read.
    """
    began = time.monotonic()
    home = _home(corpus)
    paths, (path, did, read) = _settled(corpus, home, rebuild=rebuild)
    if write_back and not corpus.is_local:
        _store(corpus, home, paths, changed=did != "nothing")
    return Refreshed(path=path, did=did, read=read, seconds=time.monotonic() - began)


def _settled(corpus: Corpus, home: Path, *, rebuild: bool) -> tuple[set[str], tuple[Path, str, int]]:
    """``_bring_home`` with the files as listed; again where a merge removed one of them after it was listed."""
    for left in reversed(range(_LISTINGS)):
        paths = books(corpus)
        try:
            return paths, _bring_home(corpus, home, paths, rebuild=rebuild)
        except MissingFileError:
            if not left:
                raise
    raise AssertionError("unreachable")


def _bring_home(corpus: Corpus, home: Path, paths: set[str], *, rebuild: bool) -> tuple[Path, str, int]:
    """A catalog on this machine that knows all of these files, what was done, and how many of them it had not seen."""
    if not rebuild:
        found = _current(corpus, home, paths)
        if found:
            return found, "nothing", 0
        _fetch(corpus, home)
    old = _seen(home) if home.exists() and not rebuild else None
    if old == paths:
        return home, "nothing", 0
    did = _replace(corpus, home, paths, from_old=old is not None)
    return home, did, len(paths - (old or set()))


def _current(corpus: Corpus, home: Path, paths: set[str]) -> Path | None:
    """A catalog on this machine that knows all of these files."""
    places = [home] if not corpus.is_local else [Path(corpus.path(FILE)), home]
    return next(
        (place for place in dict.fromkeys(places) if place.exists() and _seen(place, warn=False) == paths), None
    )


def _home(corpus: Corpus) -> Path:
    """Where the catalog is written."""
    root = Path(corpus.root)
    if corpus.is_local and os.access(root, os.W_OK):
        return root / FILE
    name = hashlib.sha256((str(root) if corpus.is_local else corpus.uri).encode()).hexdigest()[:24]
    return _cache() / name / FILE


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "reidforge" / "catalogs"
    with contextlib.suppress(OSError):
        base.mkdir(parents=True, exist_ok=True)
    return base if os.access(base, os.W_OK) else Path(tempfile.gettempdir()) / f"reidforge-catalogs-{os.getuid()}"


def _fetch(corpus: Corpus, home: Path) -> None:
    """Copy the catalog that lies in the corpus, unless this state of it was fetched before."""
    if corpus.is_local:
        here = Path(corpus.path(FILE))
        if here != home and here.exists() and not home.exists():
            _copy(here, home)
        return
    stored = _stored(corpus)
    if stored is None or (home.exists() and _remembered(home).get("stored") == stored):
        return
    with _beside(home) as temporary:
        pafs.copy_files(
            corpus.path(FILE),
            str(temporary),
            source_filesystem=corpus.fs,
            destination_filesystem=pafs.LocalFileSystem(),
        )
        known = _seen(temporary)
        if known is not None:
            temporary.replace(home)
    _remember(home, stored, known or set())


def _store(corpus: Corpus, home: Path, paths: set[str], *, changed: bool) -> None:
    """Copy the catalog into the corpus, unless the one there is the same."""
    before = _remembered(home)
    if changed or before.get("books") != digest(*sorted(paths)) or before.get("stored") != _stored(corpus):
        corpus.upload(home, FILE)
        _remember(home, _stored(corpus), paths)


def _stored(corpus: Corpus) -> str | None:
    """Size and time of the catalog in an object store; None where it has none."""
    info = corpus.fs.get_file_info(corpus.path(FILE))
    return None if info.type == pafs.FileType.NotFound else f"{info.size} {info.mtime}"


def _remember(home: Path, stored: str | None, paths: set[str]) -> None:
    """Note what lies in the store, and what it knows."""
    text = json.dumps({"stored": stored, "books": digest(*sorted(paths))})
    home.with_suffix(".json").write_text(text, encoding="utf-8")


def _remembered(home: Path) -> dict[str, str]:
    try:
        found = json.loads(home.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _seen(path: Path, *, warn: bool = True) -> set[str] | None:
    """Files of the ledger and of the layout that a catalog knows; None where it cannot be used."""
    level = logging.WARNING if warn else logging.DEBUG
    try:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH {quote(str(path))} AS catalog_file (READ_ONLY)")
            about = dict(connection.execute("FROM catalog_file.source.about").fetchall())
            if about.get("format") != _format():
                log.log(level, "%s was written by reidforge %s: it is built anew", path, about.get("version", "?"))
                return None
            found = connection.execute("SELECT path FROM catalog_file.source.absorbed").fetchall()
            ((size,),) = connection.execute(_SIZE).fetchall()
        if path.stat().st_size < size:
            log.log(level, "%s is cut short: it is built anew", path)
            return None
    except duckdb.Error as error:
        log.log(level, "%s cannot be used and is built anew: %s", path, str(error).splitlines()[0])
        return None
    return {name for (name,) in found}


def _format() -> str:
    return digest(definitions())


def _replace(corpus: Corpus, home: Path, paths: set[str], *, from_old: bool) -> str:
    """Write a catalog that knows these files, and put it in the old one's place."""
    with _beside(home) as temporary:
        if from_old:
            _copy(home, temporary)
            if _bring_up_to_date(corpus, temporary, paths):
                _put(temporary, home)
                return "refreshed"
            log.warning("%s knows rows that the ledger lacks: it is built anew", home)
            temporary.unlink()
        _create(temporary)
        _bring_up_to_date(corpus, temporary, paths)
        _put(temporary, home)
    return "built"


def _create(path: Path) -> None:
    with _without_question_mark(path) as name, duckdb.connect() as connection:
        connection.execute(f"ATTACH {quote(name)} AS catalog_file (STORAGE_VERSION '{_STORAGE}')")
        connection.execute("USE catalog_file")
        with tempfile.TemporaryDirectory() as folder:
            write_examples(Path(folder))
            connection.execute("SET VARIABLE corpus = $folder", {"folder": folder})
            # Hundreds of statements, each of which would wait for the disk by itself.
            connection.execute(f"BEGIN; {definitions()}; COMMIT")
        about = {"format": _format(), "version": __version__}
        connection.executemany("INSERT INTO source.about VALUES (?, ?)", [list(pair) for pair in about.items()])


def _bring_up_to_date(corpus: Corpus, path: Path, paths: set[str]) -> bool:
    spill = Path(tempfile.gettempdir()) / f"reidforge-duckdb-{os.getpid()}"
    limits: dict[str, Any] = {"temp_directory": str(spill), "memory_limit": _MEMORY}
    with _without_question_mark(path) as name, duckdb.connect(config=limits) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH {quote(name)} AS catalog_file")
        connection.execute("USE catalog_file")
        if not absorb(connection, corpus, paths):
            return False
        move_rows(connection, corpus)
        update_runs(connection, corpus)
        connection.execute("CHECKPOINT")
    return True


@contextlib.contextmanager
def _without_question_mark(path: Path) -> Iterator[str]:
    """A place to write the file: DuckDB takes what follows a question mark for parameters of a URL."""
    if "?" not in str(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = Path(folder) / FILE
        if path.exists():
            _copy(path, elsewhere)
        yield str(elsewhere)
        _copy(elsewhere, path)


@contextlib.contextmanager
def _beside(home: Path) -> Iterator[Path]:
    """A name for a file that will be put in the catalog's place; what is left of it is removed."""
    with beside(home) as temporary:
        try:
            yield temporary
        finally:
            _log_of(temporary).unlink(missing_ok=True)


def _put(temporary: Path, home: Path) -> None:
    temporary.replace(home)
    # What another client wrote into the old file's log does not fit the new file.
    _log_of(home).unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _copy(source: Path, target: Path) -> None:
    """Copy a file; file systems that can share blocks do."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reader, target.open("wb") as writer:
        left = os.fstat(reader.fileno()).st_size
        try:
            while left > 0 and (copied := os.copy_file_range(reader.fileno(), writer.fileno(), left)):
                left -= copied
        except OSError:
            reader.seek(0)
            writer.seek(0)
            shutil.copyfileobj(reader, writer)
