"""A pickle from the web gives data or a refusal, and never runs anything."""

import contextlib
import io
import os
import pickle
import pickletools
from collections import OrderedDict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from stages.imports.pickles import RefusedPickleError, load_plain

MEMORY = 1_000_000_000


def load(content: bytes) -> object:
    return load_plain(io.BytesIO(content), MEMORY)


ARRAYS = [
    np.array([618.625, 81.75, 1031.375, 709.25], np.float32),
    np.arange(34, dtype=np.float64).reshape(17, 2),
    np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    np.array([True, False]),
    np.zeros((0, 4), np.float32),
    np.array(3, np.uint8),
]


@pytest.mark.parametrize("protocol", range(6))
def test_what_the_lists_hold_is_read_by_every_protocol(protocol: int) -> None:
    content = {1819: [(0, {"conf": np.float32(0.9488497), "pid": np.int64(7), "name": "é", "arrays": ARRAYS})]}
    found = load(pickle.dumps(content, protocol=protocol))
    [(n, box)] = found[1819]
    assert (n, box["pid"], box["name"]) == (0, 7, "é")
    assert box["conf"] == pytest.approx(0.9488497)
    for read, written in zip(box["arrays"], ARRAYS, strict=True):
        np.testing.assert_array_equal(np.asarray(read), written)
        assert np.asarray(read).dtype.kind == written.dtype.kind


def test_names_of_numpy_1_are_known() -> None:
    content = pickle.dumps(ARRAYS[0], protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    np.testing.assert_array_equal(np.asarray(load(content)), ARRAYS[0])


def test_text_of_python_2_is_read() -> None:
    assert load(b"(dp0\nS'bbox'\np1\nI3\ns.") == {"bbox": 3}


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> object:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_named_and_not_run(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps({1: [Evil(os.system, f"touch {trace}")]}, protocol=protocol)
    with pytest.raises(RefusedPickleError, match=r"it names posix\.system.*nothing was run"):
        load(content)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Evil(eval, "1"), r"(builtins|__builtin__)\.eval"),
        (Evil(getattr, (), "x"), "getattr"),
        (Evil(np.load, "x.npy"), "numpy.*load"),
        (Evil(np.fromfile, "/etc/passwd"), "numpy.*fromfile"),
        (OrderedDict(a=1), r"collections\.OrderedDict"),
        (Path("x"), "pathlib"),
        (np.datetime64("2020-01-01"), "array of 'M8'"),
        (np.array([object()], object), "(object|array of 'O8')"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "array of 'V12'"),
        (np.array(["text"]), "array of 'U4'"),
        (3j, "complex"),
    ],
    ids=lambda item: item if isinstance(item, str) else type(item).__name__,  # no addresses: workers compare ids
)
def test_everything_else_is_refused_by_name(value: object, named: str) -> None:
    with pytest.raises(RefusedPickleError, match=named):
        load(pickle.dumps(value, protocol=2))


FORGED = {
    "a dtype that lies about its flags": (
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8I00\nI01\ntR(I3\nX\x01\x00\x00\x00|NNNI-1\nI-1\nI0\ntb."
    ),
    "an array of arrays": (
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4I00\nI01\ntR(I3\nX\x01\x00\x00\x00<X\x01\x00\x00\x00aNNI-1\nI-1\nI0\ntb."
    ),
    "an array that claims more than it has": (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
        b"(I1\n(I1000000000\ntcnumpy\ndtype\n(X\x02\x00\x00\x00f4I00\nI01\ntRI00\nC\x04abcdtb."
    ),
    "a change to a function": b"cnumpy\ndtype\n}X\x08\x00\x00\x00__code__K\x01sb.",
    "another encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zliptR.",
    "bytes of any length": b"c__builtin__\nbytes\n(I1000000000000\ntR.",
    "a persistent id": b"Psomething\n.",
    "an extension": b"\x82\x01.",
    "a file that is cut": pickle.dumps(list(range(1000)))[:200],
    "nothing": b"",
    "text": b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>",
    "a list without a start": b"a.",
    "a jump to nowhere": b"h\x05.",
    "a table without end": b"\x80\x04r\xff\xff\xff\x7f.",
    "a string of a terabyte": b"\x80\x04\x8d\x00\x00\x00\x00\x00\x01\x00\x00ab.",
}


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED)
def test_a_forged_or_damaged_file_is_one_refusal(content: bytes) -> None:
    with pytest.raises(RefusedPickleError):
        load(content)


def test_memory_is_bounded() -> None:
    content = pickle.dumps([float(i) for i in range(2_000_000)])
    assert len(load(content)) == 2_000_000
    # In a process of its own: what an older one has freed would be room enough for the file.
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        assert "needs more than 0.005 GB" in fresh.submit(_refusal, content).result()


def _refusal(content: bytes) -> str:
    with pytest.raises(RefusedPickleError) as refused:
        load_plain(io.BytesIO(content), 5_000_000)
    return str(refused.value)


def test_mutated_pickles_are_read_or_refused() -> None:
    rng = np.random.default_rng(0)
    content = bytearray(pickle.dumps({1: [(0, {"bbox": ARRAYS[0], "conf": 0.5})]}, protocol=4))
    for _ in range(500):
        mutated = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            mutated[place] = rng.integers(0, 256)
        with contextlib.suppress(RefusedPickleError):
            load(bytes(mutated))


def test_the_written_form_is_what_is_read() -> None:
    """The pickles of these tests are made by opcodes that the published lists use."""
    names = {op.name for op, *_ in pickletools.genops(pickle.dumps(ARRAYS[0], protocol=4))}
    assert {"STACK_GLOBAL", "REDUCE", "BUILD"} <= names
