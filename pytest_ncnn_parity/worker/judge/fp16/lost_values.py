"""What a layer reads in place of values that fp16 makes 0, and what that does to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

    def read_with(self, own: LostValue | None, is_stored: bool) -> LostValue:
        """What a layer reads of it, as fp16 holds it if it `is_stored`; `own`: tiny values in it."""
        sources = self.sources if own is None else self.sources | own.sources
        return self._replace(value=self.stored if is_stored else self.value, sources=sources)


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

    def breaks_as(self, other: Effect) -> bool:
        """Whether the layer is as wrong as by `other`, with inf or nan where that has any."""
        is_wrong = self.wrong is not None or (other.wrong is None and self.breaks)
        return is_wrong and (self.is_not_finite or not other.is_not_finite)


NO_EFFECT = Effect(None, frozenset(), {})


def at_fault(alone: Mapping[str, Effect]) -> list[str]:
    """The inputs that are to blame, by what each of them does by itself.

    They are those that make inf or nan, or else those that break the layer, and all if none does.
    """
    breaking = [blob for blob, effect in alone.items() if effect.breaks]
    return [blob for blob in breaking if alone[blob].is_not_finite] or breaking or list(alone)


def blamed(together: Effect, culprits: Iterable[Effect]) -> Effect:
    """What inputs do `together`, for which each value is blamed on what made it of the `culprits`."""
    handed_on = {}
    makers = list(culprits)
    for output, one in together.handed_on.items():
        of_each = (maker.handed_on.get(output) for maker in makers)
        to_blame = union(made.sources for made in of_each if made is not None)
        handed_on[output] = one._replace(sources=to_blame or one.sources)
    return together._replace(handed_on=handed_on)


def union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    """What is in any of `sets`."""
    return frozenset().union(*sets)
