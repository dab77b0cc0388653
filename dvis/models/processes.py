"""How processes of Python are started, and that they end.

They import nothing from the current folder, and none outlives the process that it works for.

`python -c`, by which multiprocessing starts its processes, looks for Python's own modules in the
current folder first: a `pickle.py` that came there with a downloaded store would be run.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

_VARIABLE = "PYTHONSAFEPATH"

_lock = threading.Lock()
_n_entered = 0
_value_before: str | None = None


@contextmanager
def safely_started() -> Iterator[None]:
    """Let processes that are started meanwhile leave out the current folder as they begin.

    Those of multiprocessing have the path of their parent after that, so that they import what it
    does. Pools start processes when work comes in: it goes round all of their life.
    """
    global _n_entered, _value_before
    with _lock:
        if not _n_entered:
            _value_before = os.environ.get(_VARIABLE)
            os.environ[_VARIABLE] = "1"
        _n_entered += 1
    try:
        yield
    finally:
        with _lock:
            _n_entered -= 1
            if not _n_entered:
                if _value_before is None:
                    os.environ.pop(_VARIABLE, None)
                else:
                    os.environ[_VARIABLE] = _value_before


def begin_worker() -> None:
    """Leave Ctrl-C to the parent of this process, and end when the parent does, however that is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end_with(sentinel: int = parent.sentinel) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with, daemon=True).start()
