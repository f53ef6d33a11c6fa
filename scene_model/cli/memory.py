"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for what comes next, where it would give large blocks back to the system.

    The system clears every page of a block that it hands out, which costs a network on the CPU up to half of its time
    once its frames are of some size (`docs/measurements.md`). Whoever has set ``MALLOC_...`` or ``GLIBC_TUNABLES``
    knows better, and other C libraries are left alone.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
