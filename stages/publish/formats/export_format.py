"""What an export format is, and how it writes its files."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import IO, ClassVar

import pyarrow as pa

from stages.config import Config

Sink = Callable[[str], AbstractContextManager[IO[bytes]]]
"""Opens a file for writing, given its path relative to the export's root. The file appears when the context ends, and
not at all when it ends with an exception. Formats never learn whether the root is a folder or a bucket."""


class Format(Config):
    """A format that a corpus is handed on in; its fields are the options that it takes."""

    name: ClassVar[str]
    """Name that users give, such as ``webdataset``."""

    @abstractmethod
    def write(self, rows: Iterable[pa.RecordBatch], sink: Sink) -> dict[str, int]:
        """Write rows of a manifest.

        The rows are read once and may exceed memory. They are sorted by video, so those of one split are not adjacent.

        Args:
            rows: Batches of ``schemas.tables.MANIFEST``.
            sink: Where the files go.

        Returns:
            Samples written, by split.
        """
