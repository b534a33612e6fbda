"""Where a run of a network under other masks can go on, instead of starting at its first layer."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Sequence

from pytest_ncnn_parity.worker.values.blob import Made

SHARES = 8  # a run is kept at the start of each of as many equal shares of its layers

# what is run on which inputs, and the masks of all layers up to the checkpoint
_Key = tuple[Hashable, tuple[int, ...]]


class Checkpoints:
    """The values that are still to be read at some layers of earlier runs. None are kept until `open`.

    A search masks few of a network's layers, and most trials differ from an earlier one only in late
    layers. Of a large network's values only a small part has room in memory; the values at a checkpoint
    are enough to run all layers behind it.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: how many bytes of values may be kept."""
        self._limit = limit
        self._is_open = False
        self._kept: OrderedDict[_Key, Made] = OrderedDict()  # what was used last comes last
        self._uses: Counter[int] = Counter()  # how many checkpoints hold a value, by its id
        self._size = 0

    def open(self) -> None:
        """Keep checkpoints from now on."""
        self._is_open = True

    def close(self) -> None:
        """Forget all checkpoints, and keep none from now on."""
        self._is_open = False
        self._kept.clear()
        self._uses.clear()
        self._size = 0

    def last(self, run: Hashable, masks: Sequence[int]) -> tuple[int, Made]:
        """Return where a run under `masks`, one for each layer, can go on, and the values it needs.

        `run` identifies the network and its inputs. The first element is the number of layers that need
        not be run.
        """
        fitting = [key for key in self._kept if key[0] == run and key[1] == tuple(masks[: len(key[1])])]
        key = max(fitting, key=lambda key: len(key[1]), default=None)
        if key is None:
            return 0, {}
        self._kept.move_to_end(key)
        return len(key[1]), dict(self._kept[key])

    def places(self, start: int, masks: Sequence[int], own: Sequence[int]) -> frozenset[int]:
        """Return before which layers a run under `masks` that goes on at layer `start` is kept.

        The next trials will differ from this one where it differs from the network's `own` masks. They
        may also differ anywhere else.
        """
        if not self._is_open:
            return frozenset()
        share = -(-len(masks) // SHARES)
        changed = [n for n, (mask, before) in enumerate(zip(masks, own, strict=True)) if mask != before]
        return frozenset(n for n in (*range(share, len(masks), share), *changed[:1]) if n > start)

    def keep(self, run: Hashable, masks: Sequence[int], values: Made) -> None:
        """Keep `values`, which are to be read after the layers with these `masks` have run.

        What was not used for the longest time makes room.
        """
        if sum(value.array.nbytes for value in values.values()) > self._limit:
            return
        self._kept[run, tuple(masks)] = dict(values)
        for value in values.values():
            self._uses[id(value)] += 1
            self._size += value.array.nbytes if self._uses[id(value)] == 1 else 0
        while self._size > self._limit:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: _Key) -> None:
        for value in self._kept.pop(key).values():
            self._uses[id(value)] -= 1
            self._size -= 0 if self._uses[id(value)] else value.array.nbytes
