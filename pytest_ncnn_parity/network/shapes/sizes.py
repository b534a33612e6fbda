"""Which sizes an input has along the axes that the file does not state: those that fit all layers.

Nothing is run: shapes are propagated through the network for many sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.shapes.fed import at_odds
from pytest_ncnn_parity.network.shapes.plausible import most_plausible
from pytest_ncnn_parity.network.shapes.rules.reading import Shape

Axes = tuple[int | str, ...]  # each axis is a size, or the name of a size that the .param does not state

PROBES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640)
_COARSE = range(8, 1025, 8)
_FINE = range(1, 513)
_FEW_LAYERS = 400  # with more layers, a fine search takes long
_CLOSE = 1.25  # sizes that differ by less than this factor count as one size, rounded
_OTHERS = (640, 448)  # sizes of an axis while another is searched
_SMALLER = tuple(2**n for n in range(7))  # how many times smaller a map is than a picture
_LONGER = (2, 4)  # how many times longer and flatter a picture may be than another of as many pixels


def sized(graph: Graph, blob: str, axes: Axes) -> Axes:
    """`axes` with sizes filled in where only one size fits all layers."""
    unknown = [axis for axis in axes if isinstance(axis, str)]
    if not unknown or {"CHANNELS", "SIZE"}.intersection(unknown):
        return axes
    if sum(at_odds(graph, blob, _filled(axes, {}, size)) is None for size in PROBES) > 2:
        return axes
    alike = _of_one_size(graph, blob, axes)
    if unknown != ["HEIGHT", "WIDTH"]:
        return alike or axes
    whole = None if alike is None else _numbers(alike)
    if alike is not None and whole is None:
        return alike
    ways = [*([] if whole is None else [whole]), *_of_stated_maps(graph, blob, axes)]
    best = most_plausible(graph, [{blob: shape} for shape in ways])
    return best[0][blob] if best else _one_by_one(graph, blob, axes)


def another(graph: Graph, blob: str, shape: Shape) -> Shape | None:
    """A picture of another height and width, and as many pixels, that fits all layers as well."""
    *outer, height, width = shape
    for factor in _LONGER:
        flat = (*outer, height // factor, width * factor)
        tall = (*outer, height * factor, width // factor)
        for other in (flat, tall):
            alike = math.prod(other) == math.prod(shape) and at_odds(graph, blob, other) is None
            if alike and {blob: other} in most_plausible(graph, [{blob: shape}, {blob: other}]):
                return other
    return None


def _filled(axes: Axes, sizes: Mapping[str, int], otherwise: int) -> Shape:
    return tuple(sizes.get(axis, otherwise) if isinstance(axis, str) else axis for axis in axes)


def _numbers(axes: Axes) -> Shape | None:
    numbers = tuple(axis for axis in axes if isinstance(axis, int))
    return numbers if len(numbers) == len(axes) else None


def _of_one_size(graph: Graph, blob: str, axes: Axes) -> Axes | None:
    """`axes` with one size along all that are not known, except where any other size fits as well."""

    def fits(size: int, **other: int) -> bool:
        return at_odds(graph, blob, _filled(axes, other, size)) is None

    fitting = list(filter(fits, _COARSE)) or (
        list(filter(fits, _FINE)) if len(graph.layers) <= _FEW_LAYERS else []
    )
    ways = most_plausible(graph, [{blob: _filled(axes, {}, size)} for size in fitting])
    size = _close([size for size in fitting if {blob: _filled(axes, {}, size)} in ways])
    if size is None:
        return None
    free = {axis for axis in axes if isinstance(axis, str) and fits(size, **{axis: 2 * size})}
    return tuple(size if isinstance(axis, str) and axis not in free else axis for axis in axes)


def _close(sizes: Sequence[int]) -> int | None:
    """Of sizes that are close the most even, divisible by the highest power of two; else None."""
    if not sizes or max(sizes) > _CLOSE * min(sizes):
        return None
    return max(sizes, key=lambda size: (size & -size, size))


def _of_stated_maps(graph: Graph, blob: str, axes: Axes) -> Iterator[Shape]:
    """The shapes that fit of which a map is some times smaller that a Reshape states."""
    stated = dict.fromkeys(_stated_maps(graph))
    for high, wide in stated:
        for times in _SMALLER:
            sizes = iter((high * times, wide * times))
            shape = tuple(next(sizes) if isinstance(axis, str) else axis for axis in axes)
            if at_odds(graph, blob, shape) is None:
                yield shape


def _stated_maps(graph: Graph) -> Iterator[tuple[int, int]]:
    """The heights and widths to which Reshapes lay out channels."""
    for layer in graph.layers:
        try:
            sizes = [number(layer, key) for key in (0, 1, 2)] if layer.type == "Reshape" else [0]
        except NotANumber:
            continue
        if min(sizes[:2]) > 0 and sizes[-1] != 0:
            yield sizes[1], sizes[0]


def _one_by_one(graph: Graph, blob: str, axes: Axes) -> Axes:
    """`axes` with sizes that fit whatever the others are, as the rows of text that is 32 high."""
    found: dict[str, int] = {}
    left = [axis for axis in axes if isinstance(axis, str)]
    fine = len(graph.layers) <= _FEW_LAYERS

    def depth(axis: str) -> Callable[[int], float]:
        def of(size: int) -> float:
            ways = (_filled(axes, {**found, axis: size}, other) for other in _OTHERS)
            misfits = [at_odds(graph, blob, way) for way in ways]
            return min(math.inf if misfit is None else misfit.layer.number for misfit in misfits)

        return of

    while left:
        tried = ((axis, _deepest(depth(axis), fine)) for axis in left)
        axis, size = next(((axis, size) for axis, size in tried if size is not None), ("", 0))
        if not axis:
            break
        found[axis] = size
        left.remove(axis)
    if any(at_odds(graph, blob, _filled(axes, found, size)) is not None for size in _OTHERS):
        return axes
    return tuple(found.get(axis, axis) if isinstance(axis, str) else axis for axis in axes)


def _deepest(depth: Callable[[int], float], fine: bool) -> int | None:
    """The size whose shapes reach the most layers, if others reach less; None if no single one does."""
    ranges: list[Iterable[int]] = [{*PROBES, *_COARSE}, *([_FINE] if fine else [])]
    for sizes in ranges:
        depths = {size: depth(size) for size in sizes}
        deepest = [size for size in sorted(depths) if depths[size] == max(depths.values())]
        size = _close(deepest) if len(deepest) < len(depths) else None
        if size is not None:
            return size
    return None
