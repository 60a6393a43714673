"""Numbered files of limited size, one sequence per split: ``train-000000.tar``, ``train-000001.tar``, ..."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import IO, Generic, NamedTuple, Self, TypeVar

from stages.publish.formats.export_format import Sink

Writer = TypeVar("Writer")


class _Shard(NamedTuple, Generic[Writer]):
    closing: ExitStack
    file: IO[bytes]
    writer: Writer


class Shards(Generic[Writer]):
    """The open shard of each split.

    A manifest is sorted by video, so its splits alternate and each keeps a shard open. If the block ends with an
    exception, every open shard ends with it too, and the sink discards them.

    Args:
        sink: Where the files go.
        suffix: File suffix, with its dot.
        max_bytes: A shard that has reached this size is closed before the next sample of its split.
        start: Makes the writer of a shard from its open file.
    """

    def __init__(
        self, sink: Sink, suffix: str, max_bytes: int, start: Callable[[IO[bytes]], AbstractContextManager[Writer]]
    ) -> None:
        self._sink = sink
        self._suffix = suffix
        self._max_bytes = max_bytes
        self._start = start
        self._open: dict[str, _Shard[Writer]] = {}
        self._numbers: dict[str, int] = {}

    def writer(self, split: str) -> Writer:
        """Writer of the split's open shard, which is a new one if the last is full."""
        shard = self._open.get(split)
        if shard and shard.file.tell() >= self._max_bytes:
            del self._open[split]
            shard.closing.close()
            shard = None
        if shard is None:
            shard = self._open[split] = self._next(split)
        return shard.writer

    def _next(self, split: str) -> _Shard[Writer]:
        number = self._numbers[split] = self._numbers.get(split, -1) + 1
        with ExitStack() as stack:
            file = stack.enter_context(self._sink(f"{split}-{number:06}{self._suffix}"))
            writer = stack.enter_context(self._start(file))
            return _Shard(stack.pop_all(), file, writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closing = ExitStack()
        for shard in self._open.values():
            closing.push(shard.closing)
        closing.__exit__(kind, error, trace)
