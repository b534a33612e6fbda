"""Remembers the results of steps during a search, so that none is repeated on the same values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from pytest_ncnn_parity.worker.values.blob import Made

LIMIT = 1 << 30  # of the values that are kept, in bytes


class StepCache:
    """The values that steps have computed. It is off, and empty, until it is opened.

    A trial of other masks walks the network from the start, and finds here all that the masks did not
    change: the layers before them, but also values after them that are bitwise the same.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._open = False
        self._trial = 0
        self._size = 0
        # the trial that last used the values, their size in bytes, and the values
        self._kept: OrderedDict[Hashable, tuple[int, int, Made]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        return self._open

    def open(self) -> None:
        """Remember values from now on. It is called again for each trial."""
        self._open = True
        self._trial += 1

    def close(self) -> None:
        """Forget all values, and remember none from now on."""
        self._open = False
        self._size = 0
        self._kept.clear()

    def forget(self, owner: object) -> None:
        """Forget the steps whose key is a tuple with `owner` as its first element."""
        for key in [key for key in self._kept if isinstance(key, tuple) and key[0] is owner]:
            _, size, _ = self._kept.pop(key)
            self._size -= size

    def get(self, key: Callable[[], Hashable], make: Callable[[], Made]) -> Made:
        """Return what `make` returns, or what it returned for the same key before."""
        if not self._open:
            return make()
        known = key()
        if known in self._kept:
            _, size, values = self._kept[known]
            self._kept[known] = (self._trial, size, values)
            self._kept.move_to_end(known)
            return values
        values = make()
        self._keep(known, values)
        return values

    def _keep(self, key: Hashable, values: Made) -> None:
        """Keep `values` if there is room.

        To make room, values that the current trial has not used are dropped, the oldest first. Those
        that it has used stay, because the next trial starts with them.
        """
        # twice the size, for the copy that is rounded to 16 bits
        size = sum(2 * blob.array.nbytes for blob in values.values())
        if size > self._limit:
            return
        while self._kept and self._size + size > self._limit:
            oldest = next(iter(self._kept))
            trial, freed, _ = self._kept[oldest]
            if trial == self._trial:
                return
            del self._kept[oldest]
            self._size -= freed
        self._kept[key] = (self._trial, size, values)
        self._size += size
