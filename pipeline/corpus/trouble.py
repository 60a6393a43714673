"""Says in one line what a file system refused, and what to do about it."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa

from pipeline.errors import DamagedFileError, MissingFileError, StorageError


class _Cause(NamedTuple):
    """What to do about an error, and whether trying again cannot help."""

    advice: str
    lasting: bool


_SPACE = _Cause("Free some space; finished units are kept", lasting=True)
_RIGHTS = _Cause("Give this user the right to read and write there, or choose another place", lasting=True)
_BUCKET = _Cause("Create the bucket, or correct the name", lasting=True)
_KEYS = _Cause("Check the access key and what it may do with this bucket", lasting=True)
_NETWORK = _Cause("Check the network, and endpoint_override and scheme in the URI", lasting=False)
_UNKNOWN = _Cause("Try again", lasting=False)

_BY_NUMBER = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _Cause("The file system or 'ulimit -f' does not allow files of this size", lasting=True),
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _Cause("Mount the file system for writing, or choose another place", lasting=True),
    errno.ENOTDIR: _Cause("A file stands where a folder should be: move it, or choose another place", lasting=True),
    errno.EISDIR: _Cause("A folder stands where a file should be: move it, or choose another place", lasting=True),
    errno.EEXIST: _Cause("A file stands where a folder should be: move it, or choose another place", lasting=True),
    errno.ENAMETOOLONG: _Cause("Choose a shorter path", lasting=True),
}

# Names of the AWS SDK in Arrow's messages, and of botocore's.
_BY_NAME = {
    "NO_SUCH_BUCKET": _BUCKET,
    "NoSuchBucket": _BUCKET,
    "ACCESS_DENIED": _KEYS,
    "AccessDenied": _KEYS,
    "INVALID_ACCESS_KEY_ID": _KEYS,
    "InvalidAccessKeyId": _KEYS,
    "SIGNATURE_DOES_NOT_MATCH": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "NETWORK_CONNECTION": _NETWORK,
}

_ON_DAMAGE = {
    "ledger": "Its rows are lost: move the file out of ledger/, and the next run does the work of its units again",
    "layout": "Move the file out of layout/, and the next run does the work again whose rows it placed",
}

_AWS = re.compile(r"AWS Error (\w+) during \w+ operation: (.*)", re.DOTALL)


@contextmanager
def explained(uri: str, path: str, *, doing: str = "read") -> Iterator[None]:
    """Turn errors of a file system and of Parquet into a ``StorageError`` of one line.

    Args:
        uri: The corpus.
        path: The file or folder, below the corpus.
        doing: ``read``, ``written``, ``deleted``: what cannot be done.

    Raises:
        MissingFileError: The file does not exist.
        DamagedFileError: It is not a whole Parquet file.
        StorageError: The file system refused.
    """
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(
            f"corpus {uri}: {path or 'the folder'} does not exist. 'reidforge check {uri}' lists what is missing"
        ) from error
    except pa.ArrowInvalid as error:
        raise _damaged(uri, path, error) from error
    except OSError as error:
        cause = _cause(error)
        if cause is _UNKNOWN and doing == "read" and not error.errno:
            # As Arrow reports a Parquet file whose pages are damaged.
            raise _damaged(uri, path, error) from error
        raise StorageError(
            f"corpus {uri}: {path or 'it'} cannot be {doing}: {_reason(error)}. {cause.advice}", lasting=cause.lasting
        ) from error


def explain(error: OSError) -> str | None:
    """One line for a user; None for an error of unknown cause.

    Args:
        error: A ``StorageError``, or an error outside a corpus, such as a full temporary folder.
    """
    if isinstance(error, StorageError):
        return str(error)
    cause = _BY_NUMBER.get(error.errno or 0)
    return None if cause is None else f"{error.filename or 'a file'}: {_reason(error)}. {cause.advice}"


def _damaged(uri: str, path: str, error: Exception) -> DamagedFileError:
    advice = _ON_DAMAGE.get(path.partition("/")[0], f"'reidforge check {uri}' lists what is damaged")
    return DamagedFileError(f"corpus {uri}: {path} is damaged ({_first_line(error)}). {advice}")


def _cause(error: OSError) -> _Cause:
    if error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    text = str(error)
    return next((cause for name, cause in _BY_NAME.items() if re.search(rf"\b{name}\b", text)), _UNKNOWN)


def _reason(error: OSError) -> str:
    if error.errno and error.strerror:
        # Arrow repeats the number and the reason after the word Detail.
        return _first_line(error.strerror.partition(". Detail:")[0])
    found = _AWS.search(str(error))
    return _first_line(f"{found[1]}, {found[2]}" if found else error)


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")[:300]
