"""Remembers the results of steps during a search: the same step on the same values is not repeated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from pytest_ncnn_parity.worker.values.blob import Made

LIMIT = 1 << 30  # bytes of values that are kept


class StepCache:
    """Values by the step that made them. Off, and empty, until it is opened.

    A trial of other masks walks the network from the start, and finds here all that the masks did
    not change: the prefix, but also whatever comes out bitwise the same behind them.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._open = False
        self._trial = 0
        self._size = 0
        # trial, size and values
        self._kept: OrderedDict[Hashable, tuple[int, int, Made]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        return self._open

    def open(self) -> None:
        """Remember from now on; called again with each trial."""
        self._open = True
        self._trial += 1

    def close(self) -> None:
        """Forget everything."""
        self._open = False
        self._size = 0
        self._kept.clear()

    def forget(self, owner: object) -> None:
        """Forget the steps of which `owner` is the first part of the key."""
        for key in [key for key in self._kept if isinstance(key, tuple) and key[0] is owner]:
            _, size, _ = self._kept.pop(key)
            self._size -= size

    def get(self, key: Callable[[], Hashable], make: Callable[[], Made]) -> Made:
        """What `make` gives, or gave when it was called for the same key."""
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
        """Keep `values` if there is room: what this trial did not use goes first, its start stays."""
        # together with its copy in 16 bits
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
