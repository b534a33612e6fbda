"""Arrays in blocks that fit into the cache, shared among threads, and work arrays that are reused."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, product
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pytest_ncnn_parity.base.arrays import Array

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
Place = tuple[int, ...]  # indices along an array's first axes

BLOCK = 1 << 16  # elements; float64 copies of a block fit into the processor's cache
THREADS = 4  # of more, too many wait for the lock; fewer gain nothing: measured on 16 and on 2 cores


def each(work: Callable[..., T], *arrays: Array) -> Iterator[T]:
    """The results of `work` for each block of `arrays`, in order; all arrays have one shape.

    `work` is called with the index of the block's first element and with flat pieces of at most BLOCK
    elements, which are views where the memory layout allows it.
    """
    yield from map(*_by_block(work, arrays))


def each_in_threads(work: Callable[..., T], *arrays: Array) -> Iterator[T]:
    """Like `each`, in several threads if `use_threads` has been told of enough cores.

    That pays if `work` takes many steps of numpy that release the interpreter's lock. Of the products of
    two vectors only `np.dot` does, not `@`.
    """
    yield from _threads.map(*_by_block(work, arrays))


def _by_block(
    work: Callable[..., T], arrays: Sequence[Array]
) -> tuple[Callable[[Place], T], Sequence[Place]]:
    """A function that works on the block at a place, and the places at which blocks start.

    Arrays are cut along the first axis whose rows are no larger than a block: a blob may have one
    channel, or two rows.
    """
    if 0 < arrays[0].size <= BLOCK:
        return lambda _: work(0, *(array.ravel() for array in arrays)), [()]
    shape = arrays[0].shape
    axis, row = 0, math.prod(shape[1:])
    while row > BLOCK:
        axis += 1
        row = math.prod(shape[axis + 1 :])
    rows = BLOCK // max(1, row)

    def at(place: Place) -> T:
        *outer, first = place
        start = row * int(np.ravel_multi_index(place, shape[: axis + 1]))
        cut = (array[tuple(outer)][first : first + rows] for array in arrays)
        return work(start, *(block.ravel() for block in cut))

    return at, list(product(*map(range, shape[:axis]), range(0, shape[axis], rows)))


class _Threads:
    """Calls a function in THREADS threads, which are started when they are first needed."""

    def __init__(self) -> None:
        self._allowed = False
        self._pool: ThreadPoolExecutor | None = None

    def use(self, cores: int) -> None:
        """Use threads if there are `cores` enough."""
        self._allowed = cores >= THREADS

    def map(self, work: Callable[[Place], T], places: Sequence[Place]) -> Iterable[T]:
        """The results of `work` for all `places`, in order."""
        if not self._allowed or len(places) < THREADS:
            return map(work, places)
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  as long as 50 cases

            self._pool = ThreadPoolExecutor(THREADS)
        # waking a thread takes long, so each is woken once
        share = -(-len(places) // THREADS)
        shares = (places[first : first + share] for first in range(0, len(places), share))
        return chain.from_iterable(self._pool.map(lambda those: [*map(work, those)], shares))


_threads = _Threads()
use_threads = _threads.use  # for `each_in_threads`
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
