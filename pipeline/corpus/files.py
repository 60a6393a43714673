"""A corpus on disk or in an object store: one root, paths below it, files that appear whole or not at all."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from pipeline.errors import UserError
from schemas.parquet_layout import TABLE_OPTIONS

TEMPORARY = ".tmp-"


class Corpus:
    """One directory or object-store prefix; all paths are relative to it.

    Args:
        uri: A local path, or a URI that ``pyarrow.fs`` or ``fsspec`` understands (``s3://bucket/prefix``).

    Raises:
        UserError: No file system can be opened for the URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs, self.root = _resolve(uri)
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)

    def __reduce__(self) -> tuple[type["Corpus"], tuple[str]]:
        return Corpus, (self.uri if not self.is_local else self.root,)

    def path(self, relative: str) -> str:
        """Path of a file in the file system."""
        return f"{self.root}/{relative}" if relative else self.root

    def exists(self, relative: str = "") -> bool:
        """Whether a file or folder exists."""
        return bool(self.fs.get_file_info(self.path(relative)).type != pafs.FileType.NotFound)

    def files(self, folder: str = "") -> Iterator[pafs.FileInfo]:
        """Files below a folder, at any depth; none if the folder does not exist."""
        selector = pafs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        return (info for info in self.fs.get_file_info(selector) if info.type == pafs.FileType.File)

    def relative(self, path: str) -> str:
        """Inverse of ``path``."""
        return path.removeprefix(self.root).lstrip("/")

    def open(self, relative: str) -> pa.NativeFile:
        """Open a file for random access, read-only."""
        return self.fs.open_input_file(self.path(relative))

    def read(self, relative: str) -> bytes:
        """Whole content of a file."""
        with self.open(relative) as file:
            return bytes(file.readall())

    def put(self, relative: str, content: bytes | pa.Buffer) -> None:
        """Write a file so that readers see all of it or none: temporary name and rename, or a single PUT."""
        path = self.path(relative)
        if not self.is_local:
            with self.fs.open_output_stream(path) as stream:
                stream.write(content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def upload(self, source: Path, relative: str) -> None:
        """Copy a local file of any size into the corpus; it gets its name when it is complete."""
        staging = f"{relative}.{TEMPORARY}{uuid.uuid4().hex}" if self.is_local else relative
        self.fs.create_dir(self.path(relative).rpartition("/")[0], recursive=True)
        pafs.copy_files(
            str(source), self.path(staging), source_filesystem=pafs.LocalFileSystem(), destination_filesystem=self.fs
        )
        if self.is_local:
            self.fs.move(self.path(staging), self.path(relative))

    def delete(self, relative: str) -> None:
        """Remove a file, if it exists."""
        try:
            self.fs.delete_file(self.path(relative))
        except FileNotFoundError:
            return

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
        with self.open(relative) as file:
            return pq.read_table(file, columns=columns)


def digest(*parts: str, length: int = 16) -> str:
    """Shortened SHA-256 of a list of strings; the length of each is part of it."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:length]


def _resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    try:
        filesystem, root = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        filesystem, root = _resolve_fsspec(uri)
    return filesystem, root.rstrip("/")


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
