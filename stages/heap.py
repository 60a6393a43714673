"""Keep freed memory in the process: on a CPU, giving it back costs more than the arithmetic."""

import ctypes
from typing import Final

# Names and numbers of glibc's <malloc.h>.
_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_MAX: Final = -4
_PAD_BYTES: Final = 64 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to hold on to freed blocks for the life of the process.

    By default every large tensor is mapped and unmapped anew, and its pages are cleared on first touch: training a
    small image tower spent four fifths of its time there.

    Returns:
        True where the C library is glibc, false where nothing was changed.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _PAD_BYTES))
    return all(mallopt(name, value) for name, value in settings)
