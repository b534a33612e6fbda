"""What a layer reads in place of values that fp16 makes 0, and what that does to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pytest_ncnn_parity.engine.evidence import Underflow
from pytest_ncnn_parity.worker.values.blob import Blob


class LostValue(NamedTuple):
    """An input of a layer with what fp16 makes 0, and the blobs whose tiny values led to that.

    `value`: as computed; `stored`: as fp16 holds it. `is_own`: it is the reference's, rounded, and was
    not computed from zeros upstream. `wrong`: what is wrong with the first layer on the way that gave
    another value, unless all readers are right with it; it `is_open` while the value itself is out of
    tolerance. `only_ends`: it does harm only where a reader makes inf or nan of it.
    """

    value: Blob
    stored: Blob
    sources: frozenset[str]
    is_own: bool = True
    wrong: Underflow | None = None
    is_open: bool = False
    only_ends: bool = False


class Effect(NamedTuple):
    """What is `wrong` with a layer, because of tiny values in `sources`; or what it hands on."""

    wrong: Underflow | None
    sources: frozenset[str]
    handed_on: Mapping[str, LostValue]

    @property
    def breaks(self) -> bool:
        """Whether the layer is wrong, though one of its readers may be right with what it makes."""
        return self.wrong is not None or any(one.is_open for one in self.handed_on.values())

    @property
    def is_not_finite(self) -> bool:
        """Whether what the layer makes, or hands on, has inf or nan."""
        made = (one.value for one in self.handed_on.values())
        of_reader = self.wrong is not None and self.wrong.nonfinite > 0
        return of_reader or any(value.nan + value.infinite > 0 for value in made)


NO_EFFECT = Effect(None, frozenset(), {})
