"""Remembers the results of steps during a search, so that none is repeated on the same values."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from pytest_ncnn_parity.worker.values.blob import Made


class _Kept(NamedTuple):
    """`trial`: the one that last used the `values`; inf: all trials use them.

    `size` is in bytes, `worth` in seconds per byte.
    """

    trial: float
    size: int
    worth: float
    values: Made


class _Shelf:
    """Values of up to `limit` bytes; `clock` tells what they took."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._size = 0
        # What was used last comes last. An OrderedDict hashes each key that it is asked for in turn.
        self._kept: dict[Hashable, _Kept] = {}

    def clear(self) -> None:
        self._size = 0
        self._kept.clear()

    def forget(self, owner: object) -> None:
        for key in [key for key in self._kept if isinstance(key, tuple) and key[0] is owner]:
            self._drop(key)

    def get(self, known: Hashable, make: Callable[[], Made], trial: int, seconds: float | None) -> Made:
        """Return what `make` returns, or what it returned for the key `known`, as part of `trial`.

        `seconds`: see `StepCache.get`.
        """
        if known in self._kept:
            kept = self._kept.pop(known)
            self._kept[known] = kept._replace(trial=max(kept.trial, trial))
            return kept.values
        begun = self._clock()
        values = make()
        took = self._clock() - begun if seconds is None else seconds
        size = sum(blob.array.nbytes for blob in values.values())
        kept = _Kept(trial if seconds is None else math.inf, size, took / max(size, 1), values)
        if self._makes_room(kept, trial):
            self._kept[known] = kept
            self._size += size
        return values

    def _makes_room(self, new: _Kept, trial: int) -> bool:
        """Drop what is worth less than `new` until there is room for it; return whether there is.

        Values that neither the current trial nor the one before has used go first, the oldest of them
        before others. Of the rest, which trials still ask for, those that were made fastest go.
        """
        if new.size > self._limit:
            return False
        while self._size + new.size > self._limit:
            unused = next((key for key, kept in self._kept.items() if kept.trial < trial - 1), None)
            if unused is not None:
                self._drop(unused)
                continue
            cheapest, kept = min(self._kept.items(), key=lambda item: item[1].worth)
            if kept.worth >= new.worth:
                return False
            self._drop(cheapest)
        return True

    def _drop(self, key: Hashable) -> None:
        self._size -= self._kept.pop(key).size


class StepCache:
    """The values that steps have computed. It is off, and empty, until it is opened.

    A trial of other masks asks for the same steps again, and finds here all that the masks did not
    change: the layers before them, but also values after them that are bitwise the same. Outputs of
    whole networks are kept apart: they are small and take longest to compute again.
    """

    def __init__(
        self, limit: int, limit_of_runs: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """The limits, in bytes, of the values of steps and of the outputs of whole networks."""
        self._open = False
        self._trial = 0
        self._steps, self._runs = _Shelf(limit, clock), _Shelf(limit_of_runs, clock)

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
        self._runs.clear()
        self._steps.clear()

    def forget(self, owner: object) -> None:
        """Forget the steps whose key is a tuple with `owner` as its first element."""
        self._runs.forget(owner)
        self._steps.forget(owner)

    def get(
        self,
        key: Callable[[], Hashable],
        make: Callable[[], Made],
        whole: bool = False,
        seconds: float | None = None,
    ) -> Made:
        """Return what `make` returns, or what it returned for the same key before.

        `whole`: the step runs a whole network. `seconds`: how long making them again takes, for values
        that all trials use; without it, as long as now.
        """
        if not self._open:
            return make()
        return (self._runs if whole else self._steps).get(key(), make, self._trial, seconds)
