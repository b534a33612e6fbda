"""The search for masks: from a set with which the network is right to a minimal one. Pure.

It knows layers only by number, and nothing of ncnn: an oracle says whether a set of masks holds, that
is, whether the network is right with it. Faults are not monotone (more masks can be worse than fewer),
so the search claims no more than it has tried: the masks it returns held, and none of their smaller
neighbours did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Protocol

from pytest_ncnn_parity.base.frozen import Frozen

Masks = Mapping[int, int]  # layer number -> bits to add to the layer's own mask


class Spent(Exception):
    """The oracle has used up its budget."""


class Oracle(Protocol):
    def holds(self, masks: Masks) -> bool:
        """Whether the network is right with `masks` added. Raises Spent."""
        ...


class Space(Frozen):
    """What the search may choose from.

    `layers` are those that may be masked, in running order. `seed`: the masks that the causes point at.
    `required` masks, such as the fix of an unsafe mask, are part of every set. `strong` is the mask
    that keeps a layer out of the 16-bit network. `light` are, by layer, masks that take less away, the
    cheapest first. `starts` are named sets to shrink if the causes point at none. `neighbours` are the
    layers that a layer reads from or is read by. `makers` are the layers whose 16-bit values a layer
    would misread if it alone had a strong mask. `price` is the cost of masks: of two sets that hold,
    the cheaper one is used.
    """

    layers: Sequence[int]
    seed: Masks
    required: Masks
    strong: int
    light: Mapping[int, Sequence[int]]
    neighbours: Mapping[int, Sequence[int]] = field(default_factory=dict)
    price: Callable[[Masks], float] = len
    makers: Mapping[int, Sequence[int]] = field(default_factory=dict)
    starts: Sequence[tuple[str, Masks]] = ()


class SearchResult(Frozen):
    """Masks that hold, or None if none of those that were tried do.

    `complete`: the search ended by itself, so that no layer and no bit can be left out, or no masks
    help at all. `start` names the set that was shrunk.
    """

    masks: Masks | None
    complete: bool
    start: str


def search(space: Space, oracle: Oracle) -> SearchResult:
    """The smallest set within the seed that holds; if the seed does not hold, one within a larger set.

    If neither the seed nor the strongest mask on every layer holds, no further set is tried.
    """
    tried = _Remembered(oracle, space)
    start = "every layer"
    seed, strongest = (
        _with(masks, space) for masks in (space.seed, dict.fromkeys(space.layers, space.strong))
    )
    seed = closed(seed, space)
    try:
        if tried.holds(seed):
            start = "the region the causes point at"
            return SearchResult(_shrink(seed, space, tried), True, start)
        if not tried.holds(strongest):
            return SearchResult(None, True, start)
        start, masks = next(pair for pair in _starts(space) if tried.holds(pair[1]))
        smallest = _shrink(masks, space, tried)
    except Spent:
        return SearchResult(tried.best, False, start)
    with suppress(Spent):  # no evidence pointed at this set, so it may contain a smaller one
        smallest = min(smallest, _shrink(masks, space, tried, early=True), key=space.price)
    return SearchResult(smallest, True, start)


class _Remembered:
    """The oracle, asked once about each closed set of masks; remembers the smallest set that held."""

    def __init__(self, oracle: Oracle, space: Space) -> None:
        self._oracle = oracle
        self._space = space
        # without masks the network is red, or there would be no search
        self._known: dict[frozenset[tuple[int, int]], bool] = {frozenset(): False}
        self.best: Masks | None = None

    def holds(self, masks: Masks) -> bool:
        key = frozenset(masks.items())
        if key not in self._known:
            misreads = closed(masks, self._space) != masks
            self._known[key] = not misreads and self._oracle.holds(masks)
        if self._known[key] and (self.best is None or len(masks) <= len(self.best)):
            self.best = dict(masks)
        return self._known[key]


def _with(masks: Masks, space: Space) -> dict[int, int]:
    """`masks` with the required ones added."""
    return {
        layer: masks.get(layer, 0) | space.required.get(layer, 0)
        for layer in sorted({*masks, *space.required})
    }


def closed(masks: Masks, space: Space) -> dict[int, int]:
    """`masks`, with those added without which one of their layers would read 16-bit values as fp32."""
    result = dict(masks)
    for layer in reversed(space.layers):
        if result.get(layer, 0) & space.strong == space.strong:
            for maker in space.makers.get(layer, ()):
                result[maker] = result.get(maker, 0) | space.strong
    return dict(sorted(result.items()))


def _starts(space: Space) -> Iterator[tuple[str, Masks]]:
    """The sets that may be shrunk if the seed does not hold; every layer is the last of them."""
    for name, masks in (*(() if space.seed else space.starts), *grown(space.seed, space)):
        yield name, _with(masks, space)
    yield "every layer", _with(dict.fromkeys(space.layers, space.strong), space)


def grown(masks: Masks, space: Space) -> Iterator[tuple[str, Masks]]:
    """`masks` with all layers up to 1, 3, 7... layers away added, for as long as that is not all."""
    allowed = set(space.layers)
    reached = set(masks)
    far, step = 0, 1
    while True:
        before = len(reached)
        for _ in range(step):
            reached |= {near for layer in reached for near in space.neighbours[layer]} & allowed
        if len(reached) == before or reached >= allowed:
            return
        far, step = far + step, 2 * step
        around = closed({layer: masks.get(layer, 0) | space.strong for layer in reached}, space)
        yield f"the region and {far} layer{'s' if far > 1 else ''} around it", around


def _shrink(masks: Masks, space: Space, tried: _Remembered, early: bool = False) -> Masks:
    """Leave out layers, the latest or the `early` ones first, then bits, while that holds."""
    while True:
        smaller = _without_layers(masks, space, tried, early)
        for layer in sorted(smaller):
            lower = [{**smaller, layer: mask} for mask in _cheaper(layer, smaller[layer], space)]
            smaller = next((some for some in lower if tried.holds(some)), smaller)
        if smaller == masks:
            return masks
        masks = smaller


def _without_layers(masks: Masks, space: Space, tried: _Remembered, early: bool) -> dict[int, int]:
    def some(layers: Sequence[int]) -> dict[int, int]:
        return {n: mask for n, mask in masks.items() if n in layers or n in space.required}

    free = sorted(masks.keys() - space.required.keys(), reverse=early)
    return some(ddmin(free, lambda layers: tried.holds(some(layers))))


def _cheaper(layer: int, mask: int, space: Space) -> list[int]:
    """Masks for `layer` that cost less than `mask`, the cheapest first; leaving the GPU costs most."""
    if layer in space.required:
        return [required for required in [space.required[layer]] if required != mask]
    light = list(space.light.get(layer, ()))
    if mask in light:
        return light[: light.index(mask)]
    within = mask != space.strong and mask & space.strong == space.strong
    return [*light, space.strong] if within else light


def ddmin(items: Sequence[int], holds: Callable[[Sequence[int]], bool]) -> list[int]:
    """A subset of `items` that holds, and of which no single item can be left out; `items` must hold.

    Zeller and Hildebrandt, 'Simplifying and Isolating Failure-Inducing Input' (2002), with complements
    only. The last items are the first to be left out.
    """
    kept = list(items)
    parts = 1
    while kept:
        size = -(-len(kept) // parts)
        chunks = [kept[i : i + size] for i in range(0, len(kept), size)]
        for chunk in reversed(chunks):
            rest = [item for item in kept if item not in chunk]
            if holds(rest):
                kept = rest
                parts = max(parts - 1, 1)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(kept))
    return kept
