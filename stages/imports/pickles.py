"""Reading other people's pickles: numbers, strings, containers and arrays come out, and nothing is ever called.

A pickle is a program. What it names is looked up here in a short table of stand-ins, never imported; even NumPy's own
functions are left alone, for a forged dtype makes them take numbers for addresses.
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

# Plain numbers and truth values, in either byte order. Objects, records and times have no place in a list of boxes.
_KIND: Final = re.compile(r"[<>|=]?(?:b1|\?|[iu][1248]|f[248])")

_PLAIN: Final = "dicts, lists, tuples, numbers, strings and NumPy arrays of numbers"


class RefusedPickleError(ValueError):
    """The pickle is damaged, or holds something that is no plain data; the text says what."""


def load_plain(file: BinaryIO, memory: int) -> Any:
    """Read one pickle of plain data.

    Protocols 0 to 5, written by Python 2 or 3 and by NumPy 1 or 2.

    Args:
        file: Binary file at the start of the pickle.
        memory: Most bytes that reading it may take beyond what the process holds; kept on Linux.

    Returns:
        Dicts, lists and tuples of numbers, strings and what ``numpy.asarray`` makes an array of numbers.

    Raises:
        RefusedPickleError: It names anything else, is no whole pickle, or needs more memory.
    """
    try:
        with _at_most(memory):
            return _PlainUnpickler(file, encoding="latin1").load()
    except RefusedPickleError:
        raise
    except MemoryError as error:
        raise RefusedPickleError(f"it needs more than {memory / 1e9:g} GB of memory") from error
    except (pickle.UnpicklingError, EOFError) as error:
        raise RefusedPickleError(f"it is no whole pickle ({str(error) or 'it ends early'})") from error
    # A forged stream makes the unpickler itself stumble, in ways that Python does not list.
    except (ArithmeticError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise RefusedPickleError(f"it is damaged, or forged ({error})") from error


@contextlib.contextmanager
def _at_most(memory: int) -> Iterator[None]:
    """Let the process take no more than so many bytes while the block runs: a pickle of ten bytes can ask for all."""
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
            raise RefusedPickleError(f"it names {module}.{name}, and only {_PLAIN} are admitted; nothing was run")
        return stand_in


class _StandIn:
    """What a name in a pickle leads to: a function of ours that cannot be changed by the pickle."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("it tries to change a function; it was forged")


class _Dtype:
    """A dtype on its way in: its kind, then its byte order."""

    __slots__ = ("dtype",)

    def __init__(self, kind: object, *_: object) -> None:
        if not isinstance(kind, str) or not _KIND.fullmatch(kind):
            raise RefusedPickleError(f"it holds an array of {kind!r}, and only {_PLAIN} are admitted")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: Any) -> None:
        _, order, *rest = state
        if any(part is not None for part in rest[:3]):
            raise RefusedPickleError(f"it holds an array of records, and only {_PLAIN} are admitted")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array on its way in: numbers are copied out of the pickle's bytes, whatever shape it claims."""

    __slots__ = ("_numbers",)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        self._numbers = _numbers(raw, kind, shape, "F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Numbers:
        return np.array(self._numbers, dtype=dtype, copy=copy)


def _numbers(raw: Any, kind: Any, shape: Any, order: str) -> Numbers:
    # Python 2 kept bytes as text.
    content = raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))
    return np.frombuffer(content, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: Any, raw: Any) -> Any:
    return _numbers(raw, kind, (1,), "C")[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes by the protocols that know none."""
    if encoding != "latin1":
        raise RefusedPickleError(f"it asks for the encoding {encoding!r}; it was forged")
    return text.encode("latin1")


def _no_bytes(*content: Any) -> bytes:
    """How the same protocols write the bytes of an empty array."""
    if content:
        raise RefusedPickleError("it asks for bytes in a way that no library writes; it was forged")
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
