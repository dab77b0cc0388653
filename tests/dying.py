"""Measurements in a process of their own that dies at a write, as one that is killed."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from dvis.store.group import Group


def dies_writing(measure: Callable[..., object], options: Any, n_written: int) -> bool:
    """Measure in a fork that is killed when so many variables are written; whether it was.

    The kill falls between writes, also between data and their status.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_measure, args=(measure, options, n_written)
    )
    process.start()
    process.join(120)
    assert process.exitcode in (-signal.SIGKILL, 0), "it failed by itself, or does not end"
    return process.exitcode != 0


def _measure(measure: Callable[..., object], options: Any, n_written: int) -> None:
    left, put = [n_written], Group.put

    def dying(self: Group, *arguments: Any) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        put(self, *arguments)

    Group.put = dying  # type: ignore[method-assign]  # this process ends
    torch.set_num_threads(1)
    measure(options)
