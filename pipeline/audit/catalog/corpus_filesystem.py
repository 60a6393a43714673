"""A corpus in an object store as DuckDB reads it: whole files that were fetched before, others piece by piece."""

import datetime as dt
import io
from collections.abc import Mapping
from typing import Any, Final

from fsspec import AbstractFileSystem

from pipeline.corpus.files import Corpus

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class CorpusFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Read-only file system for paths ``corpus://<path relative to the corpus>``."""

    protocol = "corpus"
    cachable = False

    def __init__(self, corpus: Corpus) -> None:
        super().__init__()
        self._corpus = corpus
        self._held: Mapping[str, bytes] = {}
        self._sizes: dict[str, int] = {}

    def hold(self, contents: Mapping[str, bytes]) -> None:
        """Serve these files from memory, until the next call."""
        self._held = contents

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: file lists come from the ledger, and brackets in names are literal."""
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size of a file."""
        relative = self._relative(path)
        if relative in self._held:
            size = len(self._held[relative])
        else:
            if relative not in self._sizes:
                self._sizes[relative] = self._corpus.fs.get_file_info(self._corpus.path(relative)).size
            size = self._sizes[relative]
        return {"name": path, "size": size, "type": "file"}

    def modified(self, _path: str) -> dt.datetime:
        """Always the same: files of finished units do not change."""
        return _EPOCH

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """Open for reading; other modes are refused."""
        if mode != "rb":
            raise PermissionError(f"{path}: a corpus is read-only here")
        relative = self._relative(path)
        held = self._held.get(relative)
        return self._corpus.open(relative) if held is None else io.BytesIO(held)

    def _relative(self, path: str) -> str:
        return str(path).removeprefix(f"{self.protocol}://").lstrip("/")
