"""A corpus on disk or in an object store: one root, paths below it, files that appear whole or not at all."""

import concurrent.futures
import contextlib
import hashlib
import os
import shutil
import tempfile
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from pipeline.corpus.s3 import Bucket
from pipeline.corpus.trouble import explained
from pipeline.errors import UserError
from schemas.parquet_layout import TABLE_OPTIONS

TEMPORARY = ".tmp-"

# Deletions under way at once in an object store that does not take several in one request.
_THREADS = 16


class Corpus:
    """One directory or object-store prefix; all paths are relative to it.

    Args:
        uri: A local path, or a URI that ``pyarrow.fs`` or ``fsspec`` understands (``s3://bucket/prefix``).

    Raises:
        UserError: No file system can be opened for the URI.

    Reading, writing and deleting raise ``StorageError``, whose text names the file, the reason and what to do.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs, self.root = _resolve(uri)
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)
        self._bucket = Bucket(uri) if isinstance(self.fs, pafs.S3FileSystem) else None

    def __reduce__(self) -> tuple[type["Corpus"], tuple[str]]:
        return Corpus, (self.uri if not self.is_local else self.root,)

    def path(self, relative: str) -> str:
        """Path of a file in the file system."""
        return f"{self.root}/{relative}" if relative else self.root

    def exists(self, relative: str = "") -> bool:
        """Whether a file or folder exists."""
        with explained(self.uri, relative):
            return bool(self.fs.get_file_info(self.path(relative)).type != pafs.FileType.NotFound)

    def files(self, folder: str = "") -> Iterator[pafs.FileInfo]:
        """Files below a folder, at any depth; none if the folder does not exist."""
        selector = pafs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        with explained(self.uri, folder):
            found = self.fs.get_file_info(selector)
        return (info for info in found if info.type == pafs.FileType.File)

    def relative(self, path: str) -> str:
        """Inverse of ``path``."""
        return path.removeprefix(self.root).lstrip("/")

    def open(self, relative: str) -> pa.NativeFile:
        """Open a file for random access, read-only."""
        with self.reading(relative):
            return self.fs.open_input_file(self.path(relative))

    def reading(self, relative: str) -> AbstractContextManager[None]:
        """Turn errors inside the block into a ``StorageError`` that names the file."""
        return explained(self.uri, relative)

    def read(self, relative: str) -> bytes:
        """Whole content of a file; one request to S3, where ``open`` and reading would make two or more."""
        with self.reading(relative):
            if self._bucket is not None:
                return self._bucket.get(self._key(relative))
            with self.fs.open_input_file(self.path(relative)) as file:
                return bytes(file.readall())

    def put(self, relative: str, content: bytes | pa.Buffer) -> None:
        """Write a file so that readers see all of it or none: temporary name and rename, or a single PUT."""
        with explained(self.uri, relative, doing="written"):
            if self.is_local:
                _put_locally(Path(self.path(relative)), content)
                return
            with self.fs.open_output_stream(self.path(relative)) as stream:
                stream.write(content)

    def upload(self, source: Path, relative: str) -> None:
        """Copy a local file of any size into the corpus; it gets its name when it is complete."""
        with explained(self.uri, relative, doing="written"):
            if self.is_local:
                target = Path(self.path(relative))
                with _appearing(target) as temporary:
                    shutil.copyfile(source, temporary)
                return
            pafs.copy_files(
                str(source),
                self.path(relative),
                source_filesystem=pafs.LocalFileSystem(),
                destination_filesystem=self.fs,
            )

    @contextlib.contextmanager
    def writing(self, relative: str) -> Iterator[Path]:
        """A local path to write a file of any size to; it becomes the file if the block succeeds.

        Args:
            relative: The file, below the corpus.
        """
        if self.is_local:
            with explained(self.uri, relative, doing="written"), _appearing(Path(self.path(relative))) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="reidforge-") as folder:
            scratch = Path(folder, "file")
            yield scratch
            self.upload(scratch, relative)

    def delete(self, *relatives: str) -> None:
        """Remove files, those that exist; one request per thousand files on S3."""
        with explained(self.uri, relatives[0] if len(relatives) == 1 else "", doing="deleted"):
            if self._bucket is not None:
                self._bucket.delete(self._key(relative) for relative in relatives)
                return
            with concurrent.futures.ThreadPoolExecutor(1 if self.is_local else _THREADS) as pool:
                # The loop raises what a call raised.
                for _ in pool.map(self._delete, relatives):
                    pass

    def _delete(self, relative: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.delete_file(self.path(relative))

    def _key(self, relative: str) -> str:
        return self.path(relative).partition("/")[2]

    def write_table(self, table: pa.Table, relative: str, **options: Any) -> int:
        """Write one Parquet file, atomically.

        Args:
            table: Rows, already cast to their schema.
            relative: Path below the corpus.
            options: As ``pyarrow.parquet.write_table`` takes them.

        Returns:
            Size of the file in bytes.
        """
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **(TABLE_OPTIONS | options))
        content = sink.getvalue()
        self.put(relative, content)
        return int(content.size)

    def read_table(self, relative: str, columns: list[str] | None = None) -> pa.Table:
        """Read one Parquet file."""
        with self.reading(relative), self.open(relative) as file:
            return pq.read_table(file, columns=columns)


def digest(*parts: str, length: int = 16) -> str:
    """Shortened SHA-256 of a list of strings; the length of each is part of it."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:length]


def _put_locally(target: Path, content: bytes | pa.Buffer) -> None:
    with _appearing(target) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A name to write to beside ``target``; the file gets its own name if the block succeeds, and is removed if not."""
    with beside(target) as temporary:
        yield temporary
        temporary.replace(target)


@contextlib.contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A temporary name in the folder of ``target``, which is made; what has that name in the end is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    if uri.startswith("file://"):
        return pafs.LocalFileSystem(), _local_path(uri)
    try:
        filesystem, root = pafs.FileSystem.from_uri(_with_single_puts(uri))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        filesystem, root = _resolve_fsspec(uri)
    return filesystem, root.rstrip("/")


def _local_path(uri: str) -> str:
    """Path of a ``file://`` URI, with or without percent encoding; Arrow refuses blanks, fsspec does not decode."""
    host, slash, path = uri.removeprefix("file://").partition("/")
    if host not in ("", "localhost"):
        raise UserError(
            f"corpus {uri!r} names the host {host!r}. Give a path on this machine, such as file:///data/corpus"
        )
    return (slash + urllib.parse.unquote(path)).rstrip("/") or "/"


def _with_single_puts(uri: str) -> str:
    """An S3 URI with which Arrow writes a small object in one request instead of the three of a multipart upload."""
    option = "allow_delayed_open"
    if not uri.startswith("s3://") or option in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{option}=true"


def _resolve_fsspec(uri: str) -> tuple[pafs.FileSystem, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"corpus {uri!r} cannot be opened: {error}. Give a folder, or a URI such as s3://bucket/prefix"
        ) from error
    # pyarrow-stubs omits the methods of FSSpecHandler.
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), root  # type: ignore[abstract]
