"""Where tasks run: here, in local processes, or on dask; one interface, that of concurrent.futures.

Each function gives a context manager of an `Executor` and of how many tasks to send to it at once.
Workers take one thread each, for on a CPU two processes of one thread are quicker than one process
of two.
"""

import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from dvis.models.processes import begin_worker, safely_started

if TYPE_CHECKING:
    from distributed import Client

# An executor, and how many tasks it takes at once: asked again and again, for workers come and go.
Room: TypeAlias = Callable[[], int]
Opened: TypeAlias = tuple[Executor, Room]
ExecutorFactory: TypeAlias = Callable[[], AbstractContextManager[Opened]]
# A cluster that has no workers yet, or one, gets more only if more is asked of it.
_ROOM_OF_A_CLUSTER = 2
P = ParamSpec("P")
T = TypeVar("T")


class SerialExecutor(Executor):
    """Runs a task when it is submitted, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A finished future of the call."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as err:
            future.set_exception(err)
        return future


@contextmanager
def in_this_process() -> Iterator[Opened]:
    """Tasks run one after the other, in this process."""
    yield SerialExecutor(), lambda: 1


@contextmanager
def in_processes(n_workers: int) -> Iterator[Opened]:
    """Tasks run in local processes of one thread each.

    They are not forked from this process, for one whose threads have computed cannot be forked
    safely. On Linux they are forked from a process that has loaded torch once and computes nothing,
    so that they begin at once and share its memory; elsewhere each is started afresh.

    Raises
    ------
    ValueError
        When this process runs a script from standard input, with which no other can begin.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and not os.path.exists(script):
        raise ValueError(
            f"processes cannot start from {script}, which is no file: they begin by importing the "
            "script that uses them. Put it into a file, or compute in this process with workers=0"
        )
    with safely_started():
        pool = ProcessPoolExecutor(
            n_workers,
            mp_context=worker_context(),
            initializer=_begin_worker,
            initargs=(dict(os.environ),),
        )
        try:
            yield pool, lambda: n_workers
        finally:
            # Its tasks may take minutes; whoever ends early does not wait for them.
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def worker_context() -> multiprocessing.context.BaseContext:
    """How processes that load torch begin: quickly where that is safe, else afresh."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Of no effect where such a process runs already.
    context.set_forkserver_preload(["dvis.sweep.loaded_once"])
    return context


@contextmanager
def on_cluster(n_workers: int) -> Iterator[Opened]:
    """Tasks run on a dask cluster on this machine, of workers of one thread each.

    Raises
    ------
    ImportError
        When dask.distributed is not installed.
    """
    distributed = _distributed()
    with (
        safely_started(),
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
        on_client(client) as executor,
    ):
        yield executor


@contextmanager
def on_scheduler(address: str) -> Iterator[Opened]:
    """Tasks run on the dask cluster whose scheduler has that address, such as tcp://node7:8786.

    Raises
    ------
    ImportError
        When dask.distributed is not installed.
    TimeoutError
        When nothing answers at the address.
    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout="10s")
    except (OSError, TimeoutError, ValueError) as err:
        raise TimeoutError(
            f"no dask scheduler answers at {address} ({err}). Start one with `dask scheduler` and "
            "workers with `dask worker ADDRESS --nthreads 1`, or use --workers on this machine"
        ) from err
    with client, on_client(client) as executor:
        yield executor


@contextmanager
def on_client(client: "Client") -> Iterator[Opened]:
    """Tasks run where a dask client's scheduler sends them.

    A worker that dies is forgotten, and its tasks run elsewhere; one that comes later is given its
    share.
    """

    def room() -> int:
        n_threads: int = sum(client.nthreads().values())  # type: ignore[no-untyped-call]
        return max(_ROOM_OF_A_CLUSTER, n_threads)

    # `pure` would take a task that is done again for the one that was done.
    executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
    try:
        yield executor, room
    finally:
        executor.shutdown(wait=False)


@contextmanager
def kept_open(
    executor: ExecutorFactory,
) -> Iterator[ExecutorFactory]:
    """The same executor each time that it is asked for, until the end; a new one if it broke.

    Workers take seconds to begin, for each loads torch: sweeps that follow one another share them.
    """
    with ExitStack() as stack:
        opened: list[Opened] = []

        @contextmanager
        def reopened() -> Iterator[Opened]:
            if opened and _is_broken(opened[0][0]):
                stack.close()
                opened.clear()
            if not opened:
                opened.append(stack.enter_context(executor()))
            yield opened[0]

        yield reopened


def _is_broken(pool: Executor) -> bool:
    try:
        pool.submit(int)
    except BrokenExecutor:
        return True
    return False


def check_travels(what: str, value: Any, executor: ExecutorFactory) -> None:
    """Raise where workers cannot be given a value, which would fail every task.

    Raises
    ------
    TypeError
        When it is of code that no other process finds, or does not pickle.
    """
    if executor is in_this_process or isinstance(value, str):
        return
    try:
        if getattr(executor, "func", None) is in_processes:
            _pickled(value)
        else:
            from distributed.protocol.pickle import dumps  # takes lambdas, as dask does

            dumps(value)  # type: ignore[no-untyped-call]
    except Exception as err:  # whatever its own code raises
        raise TypeError(
            f"the {what} {value!r} cannot travel to workers: {err}. Define it in an importable "
            "module, or compute in this process: workers=0"
        ) from err


def travels_to_processes(value: Any) -> bool:
    """Whether local processes can be given a value."""
    try:
        _pickled(value)
    except Exception:  # whatever its own code raises
        return False
    return True


def _pickled(value: Any) -> None:
    is_nameless = not hasattr(sys.modules["__main__"], "__file__")  # a notebook, or a prompt
    if b"__main__" in pickle.dumps(value) and is_nameless:
        raise TypeError("it is defined in no file, so that no other process finds it")


def _begin_worker(environment: Mapping[str, str]) -> None:
    begin_worker()
    os.environ.clear()  # of the process that has forked this one, as it was when that began
    os.environ.update(environment)
    one_thread()


def one_thread() -> None:
    """Let torch compute on one thread in this process."""
    import torch

    torch.set_num_threads(1)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as err:
        raise ImportError("a dask cluster needs distributed: pip install 'dvis[torch]'") from err
    return distributed
