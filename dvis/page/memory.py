"""What a server that runs for days may do without: memory that it does not use."""

import ctypes
import gc
import sys
from contextlib import suppress

# glibc's malloc.h. Setting a threshold also stops glibc from raising it with what is freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 256 * 1024


def import_dask_alone() -> None:
    """Import dask's arrays, which every xarray variable asks for, without scipy.

    dask takes scipy along, where it is installed, for sparse matrices; no page has any. It costs
    14 MB, and is there as ever for whoever imports it later.
    """
    if "scipy" in sys.modules or "dask.array" in sys.modules:
        return
    sys.modules["scipy"] = None  # type: ignore[assignment]  # what makes `import scipy` fail
    try:
        import dask.array  # noqa: F401
    finally:
        del sys.modules["scipy"]


def give_memory_back() -> None:
    """Have glibc return large blocks at once, and threads share one heap; elsewhere nothing.

    Without it, a server that draws pictures in a few threads keeps some 20 MB more.
    """
    gc.collect()
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    with suppress(AttributeError):  # a system with another C library
        for option, value in (
            (_ARENA_MAX, 1),
            (_MMAP_THRESHOLD, _LARGE_BYTES),
            (_TRIM_THRESHOLD, _LARGE_BYTES),
        ):
            library.mallopt(option, value)
        library.malloc_trim(0)
