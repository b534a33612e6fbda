"""Arrays in blocks that fit into the cache, shared among threads, and work arrays that are reused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Array = npt.NDArray[Any]
T = TypeVar("T")

BLOCK = 1 << 17  # elements; with smaller blocks, threads wait for the interpreter's lock between steps
MOST_THREADS = 4  # of more, too many wait for the lock: measured on 16 cores


def each(work: Callable[..., T], *arrays: Array) -> Iterator[T]:
    """The results of `work` for each block of `arrays`, in order; all arrays have one shape.

    `work` is called with the index of the block's first element and with flat pieces of about BLOCK
    elements, which are views where the memory layout allows it. With `use_threads`, several threads call
    it, so it should spend its time in steps of numpy that release the interpreter's lock; of the
    products of two vectors only `np.dot` does, not `@`.
    """
    if 0 < arrays[0].size <= BLOCK:
        yield work(0, *(array.ravel() for array in arrays))
        return
    row = max(1, arrays[0][:1].size)
    rows = max(1, BLOCK // row)

    def at(start: int) -> T:
        return work(start * row, *(array[start : start + rows].ravel() for array in arrays))

    yield from _threads.map(at, range(0, arrays[0].shape[0], rows))


class _Threads:
    """Calls a function in several threads, which are started when they are first needed."""

    def __init__(self) -> None:
        self._count = 1
        self._pool: ThreadPoolExecutor | None = None

    def use(self, count: int) -> None:
        """Use up to `count` threads, or MOST_THREADS if those are fewer."""
        count = min(count, MOST_THREADS)
        if count != self._count and self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._count = count

    def map(self, work: Callable[[int], T], numbers: Sequence[int]) -> Iterable[T]:
        """The results of `work` for all `numbers`, in order."""
        if self._count < 2 or len(numbers) < 2:
            return map(work, numbers)
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  as long as 50 cases

            self._pool = ThreadPoolExecutor(self._count)
        # waking a thread takes long, so each is woken once
        share = -(-len(numbers) // self._count)
        shares = (numbers[first : first + share] for first in range(0, len(numbers), share))
        return chain.from_iterable(self._pool.map(lambda those: [*map(work, those)], shares))


_threads = _Threads()
use_threads = _threads.use  # the number of threads for `each`
_kept = threading.local()  # by type and number, what `scratch` gave to this thread


def scratch(dtype: str, size: int, count: int) -> list[Array]:
    """`count` uninitialised arrays of `size` elements; the thread's next call returns the same memory.

    A worker's fresh memory is filled with a byte, and filled again when it is freed. So an array for
    every step of every block would cost as much as the computation in it.
    """
    arrays = []
    for number in range(count):
        name = f"{dtype} {number}"
        kept = getattr(_kept, name, None)
        if kept is None or kept.size < size:
            kept = np.empty(size, dtype)
            setattr(_kept, name, kept)
        arrays.append(kept[:size])
    return arrays
