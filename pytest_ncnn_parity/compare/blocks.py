"""Arrays in blocks that fit into the processor's cache, and work arrays that are reused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
T = TypeVar("T")

BLOCK = 1 << 16  # elements; float64 copies of a block fit into the processor's cache


def each(work: Callable[..., T], *arrays: Array) -> Iterator[T]:
    """The results of `work` for each block of `arrays`, in order; all arrays have one shape.

    `work` is called with the index of the block's first element and with flat pieces of about BLOCK
    elements, which are views where the memory layout allows it. There is a single thread: several would
    wait for the interpreter's lock between steps as short as these, and took as long on 16 cores.
    """
    if 0 < arrays[0].size <= BLOCK:
        yield work(0, *(array.ravel() for array in arrays))
        return
    row = max(1, arrays[0][:1].size)
    rows = max(1, BLOCK // row)
    for start in range(0, arrays[0].shape[0], rows):
        yield work(start * row, *(array[start : start + rows].ravel() for array in arrays))


_kept: dict[tuple[str, int], Array] = {}


def scratch(dtype: str, size: int, count: int) -> list[Array]:
    """`count` uninitialised arrays of `size` elements; the next call returns the same memory.

    A worker's fresh memory is filled with a byte, and filled again when it is freed. So an array for
    every step of every block would cost as much as the computation in it.
    """
    arrays = []
    for number in range(count):
        kept = _kept.get((dtype, number))
        if kept is None or kept.size < size:
            kept = _kept[dtype, number] = np.empty(size, dtype)
        arrays.append(kept[:size])
    return arrays
