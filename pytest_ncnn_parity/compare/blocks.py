"""Arrays in blocks that fit into the processor's cache; those of a large one on several cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
T = TypeVar("T")

BLOCK = 1 << 16  # elements; float64 copies of a block fit into the processor's cache
LARGE = 8 * BLOCK  # elements from which on threads take more off than handing over adds
MOST = 8  # threads: beyond, they wait for the interpreter's lock


def each(work: Callable[..., T], *arrays: Array) -> Iterable[T]:
    """What `work` makes of each block of `arrays`, of one shape, in their order.

    It is called with the index of the block's first element and flat pieces of about BLOCK elements,
    views where the memory allows, possibly in several threads: numpy lets go of the interpreter's lock.
    """
    first = arrays[0]
    row = max(1, first[:1].size)
    rows = max(1, BLOCK // row)

    def one(start: int) -> T:
        return work(start * row, *(array[start : start + rows].ravel() for array in arrays))

    starts = range(0, first.shape[0], rows)
    if first.size < LARGE or _threads() < 2:
        return map(one, starts)
    return _pool().map(one, starts)


class _Scratch(threading.local):
    """Arrays that one block after the other is worked on in, of each thread and type."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[str, int], Array] = {}


_scratch = _Scratch()


def scratch(dtype: str, size: int, count: int) -> list[Array]:
    """`count` arrays of `size` elements, uninitialised, which the next call of this thread gives again.

    A worker's fresh memory is filled with a byte, and again when it is freed, so to allocate an array
    for every step of every block would cost more than what is computed in them.
    """
    arrays = []
    for number in range(count):
        kept = _scratch.arrays.get((dtype, number))
        if kept is None or kept.size < size:
            kept = _scratch.arrays[dtype, number] = np.empty(size, dtype)
        arrays.append(kept[:size])
    return arrays


@cache
def _threads() -> int:
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has it
        cores = os.cpu_count() or 1
    return min(MOST, cores)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), "blocks")
