"""Reading untrusted pickles: numbers, strings, containers and arrays are returned, and nothing is ever called.

A pickle is a program. The names in it are looked up in a short table of stand-ins and never imported. NumPy's own
functions are not called either: a forged dtype makes them treat numbers as memory addresses.
"""

import contextlib
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]

# Numbers and booleans, in either byte order. Lists of boxes contain no objects, records or times.
_KIND: Final = re.compile(r"[<>|=]?(?:b1|\?|[iu][1248]|f[248])")

_PLAIN: Final = "dicts, lists, tuples, numbers, strings and NumPy arrays of numbers"


class RefusedPickleError(ValueError):
    """The pickle is damaged, or contains something other than plain data; the text says what."""


def load_plain(file: BinaryIO, memory: int) -> Any:
    """Read one pickle of plain data.

    Reads protocols 0 to 5, written by Python 2 or 3 and by NumPy 1 or 2.

    Args:
        file: Binary file at the start of the pickle.
        memory: Most bytes that reading it may allocate; enforced on Linux.

    Returns:
        Dicts, lists and tuples of numbers, strings and objects that ``numpy.asarray`` turns into arrays of numbers.

    Raises:
        RefusedPickleError: It names anything else, is not a complete pickle, or needs more memory.
    """
    try:
        with _at_most(memory):
            return _PlainUnpickler(file, encoding="latin1").load()
    except RefusedPickleError:
        raise
    except MemoryError as error:
        raise RefusedPickleError(f"it needs more than {memory / 1e9:g} GB of memory") from error
    except (pickle.UnpicklingError, EOFError) as error:
        raise RefusedPickleError(f"it is not a complete pickle ({str(error) or 'it ends early'})") from error
    # A forged stream makes the unpickler itself fail, in ways that Python does not document.
    except (ArithmeticError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise RefusedPickleError(f"it is damaged, or forged ({error})") from error


@contextlib.contextmanager
def _at_most(memory: int) -> Iterator[None]:
    """Limit what the process may allocate while the block runs: a pickle of ten bytes can request all memory."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = [now + memory, *(limit for limit in before if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise RefusedPickleError(f"it names {module}.{name}, and only {_PLAIN} are allowed; nothing was run")
        return stand_in


class _StandIn:
    """What a name in a pickle refers to: a function of this module that the pickle cannot change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("it tries to change a function; it was forged")


class _Dtype:
    """A dtype that is being read: its kind, then its byte order."""

    __slots__ = ("dtype",)

    def __init__(self, kind: object, *_: object) -> None:
        if not isinstance(kind, str) or not _KIND.fullmatch(kind):
            raise RefusedPickleError(f"it contains an array of {kind!r}, and only {_PLAIN} are allowed")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: Any) -> None:
        _, order, *rest = state
        if any(part is not None for part in rest[:3]):
            raise RefusedPickleError(f"it contains an array of records, and only {_PLAIN} are allowed")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array that is being read: its numbers are copied from the pickle's bytes, whatever shape it claims."""

    __slots__ = ("_numbers",)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        self._numbers = _numbers(raw, kind, shape, "F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Numbers:
        return np.array(self._numbers, dtype=dtype, copy=copy)


def _numbers(raw: Any, kind: Any, shape: Any, order: str) -> Numbers:
    # Python 2 stored bytes as text.
    content = raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))
    return np.frombuffer(content, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: Any, raw: Any) -> Any:
    return _numbers(raw, kind, (1,), "C")[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes with protocols that have no bytes."""
    if encoding != "latin1":
        raise RefusedPickleError(f"it requests the encoding {encoding!r}; it was forged")
    return text.encode("latin1")


def _no_bytes(*content: Any) -> bytes:
    """How the same protocols write the bytes of an empty array."""
    if content:
        raise RefusedPickleError("it requests bytes in a way that no library writes; it was forged")
    return b""


_NUMPY_1_AND_2: Final = ("numpy.core", "numpy._core")
_STAND_INS: Final[dict[str, Any]] = {
    "numpy.ndarray": _StandIn(lambda *_: _Array()),
    "numpy.dtype": _StandIn(_Dtype),
    "_codecs.encode": _StandIn(_encoded),
    "__builtin__.bytes": _StandIn(_no_bytes),
    **{f"{core}.multiarray._reconstruct": _StandIn(lambda *_: _Array()) for core in _NUMPY_1_AND_2},
    **{f"{core}.multiarray.scalar": _StandIn(_scalar) for core in _NUMPY_1_AND_2},
    **{f"{core}.numeric._frombuffer": _StandIn(_numbers) for core in _NUMPY_1_AND_2},
}
