"""Which shape an input must have, as far as the layers show it: its rank, its channels, its size.

Nothing is run: shapes are propagated through the network until a single one is known to fit every
layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.input_kinds import (
    HEADS,
    TURNED,
    UNCOUNTED,
    Kind,
    all_telling,
    first_telling,
    passed,
)
from pytest_ncnn_parity.network.shapes.fed import at_odds
from pytest_ncnn_parity.network.shapes.flow import Misfit, flow
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.shapes.rules.several_inputs import axes_at
from pytest_ncnn_parity.network.shapes.sizes import PROBES, Axes, sized
from pytest_ncnn_parity.network.versions.units import sources

COLOURS = (3, 1, 4, 2)  # numbers of channels, the most likely first
MOST_COUNTED = 8192


def known_shape(graph: Graph, blob: str) -> tuple[Kind, Axes] | None:
    """What the layers show about the shape of `blob`; None if none of them shows even its kind."""
    telling = first_telling(graph, blob)
    if telling is None:
        return None
    kind = telling.kind
    axes = _at_its_place(graph, blob, telling.layer)
    if axes is None and kind in (HEADS, TURNED):
        return None  # behind other layers it may be any of the inputs
    return kind, sized(graph, blob, axes or _of_weights(graph, blob, kind))


def viewed(graph: Graph, blob: str) -> tuple[Layer, int] | None:
    """The Reshape that reads `blob` first, and the number of elements it takes, of any rank."""
    for layer in passed(graph, blob):
        elements = _viewed_as(layer)
        if elements > 0 and at_odds(graph, blob, (elements,)) is None:
            return layer, elements
    return None


def _viewed_as(layer: Layer) -> int:
    """How many elements a Reshape has whose sizes are all given; 0 for another layer."""
    stated = [layer.params[key] for key in ("0", "1", "2", "11") if key in layer.params]
    given = layer.type == "Reshape" and stated and all(map(str.isdecimal, stated))
    return math.prod(map(int, stated)) if given else 0


def _at_its_place(graph: Graph, blob: str, layer: Layer) -> Axes | None:
    """What `layer` takes where it reads `blob`, if that is an attention's key, say, or a state."""
    source = sources(graph)
    places = (place for place, read in enumerate(layer.inputs) if source[read] == blob)
    place = next(places, None)
    return None if place is None else axes_at(layer, place)


def _of_weights(graph: Graph, blob: str, kind: Kind) -> Axes:
    """The axes of `kind`, with the number of channels, or the length of rows, that weights are for."""
    axes: list[int | str] = list(kind.axes)
    if kind.counted is not None:
        weighted = sorted(all_telling(graph, blob), key=lambda one: one.layer.type in UNCOUNTED)
        counts = (_counted(graph, blob, kind, one.layer) for one in weighted)
        count = next((count for count in counts if count is not None), None)
        if count is not None:
            axes[kind.counted] = count
    return tuple(axes)


def _counted(graph: Graph, blob: str, kind: Kind, last: Layer) -> int | None:
    """The number of channels, or the length of rows, for which the weights of `last` are made."""
    axis = kind.counted
    assert axis is not None

    def fits(count: int) -> bool:
        shape = [PROBES[-1]] * len(kind.axes)
        shape[axis] = count
        return flow(graph, {blob: tuple(shape)}, last).misfit is None

    fitting = [count for count in COLOURS if fits(count)]
    if len(fitting) == len(COLOURS):
        return None  # any size fits
    return next(iter(fitting), None) or next(filter(fits, range(5, MOST_COUNTED)), None)


def corrected(graph: Graph, blob: str, line: Shape) -> Shape | None:
    """A shape that fits all layers where the Input `line` does not; None if there is none."""
    return next(
        (shape for shape in _others(graph, blob, line) if at_odds(graph, blob, shape) is None), None
    )


class Overruled(Frozen):
    """An Input `line` that contradicts the first weights that read the input, and what those take."""

    blob: str
    line: Shape
    shape: Shape
    misfit: Misfit

    def __str__(self) -> str:
        return printable(
            f"the Input line of {self.blob} states {list(self.line)}, which the weights do not take: "
            f"{self.misfit}. So it is fed with {list(self.shape)}, unless the spec gives a 'shape'"
        )


def overruled(graph: Graph, blob: str) -> Overruled | None:
    """What the weights take, if they overrule the shape that the Input line of `blob` states.

    Only the first layer that shows what the input is can overrule it, by the number of channels or the
    length of rows that its weights are for. If a layer further on fits no size, the file is in error.
    """
    line, telling = graph.shapes.get(blob), first_telling(graph, blob)
    if line is None or telling is None:
        return None
    layer, kind = telling.layer, telling.kind
    misfit = flow(graph, {blob: line}, layer).misfit
    if kind.counted is None or misfit is None or misfit.layer is not layer:
        return None
    count = _counted(graph, blob, kind, layer)
    if count is None or (len(line) == len(kind.axes) and line[kind.counted] == count):
        return None
    fitting = [
        shape
        for shape in dict.fromkeys(_others(graph, blob, line))
        if flow(graph, {blob: shape}, layer).misfit is None
    ]
    whole = (shape for shape in fitting if at_odds(graph, blob, shape) is None)
    shape = next(whole, next(iter(fitting), None))
    return None if shape is None else Overruled(blob, line, shape, misfit)


def _others(graph: Graph, blob: str, line: Shape) -> Iterator[Shape]:
    """`line` in other orders, with the weights' channels, and the shape that the layers show."""
    yield from dict.fromkeys([tuple(reversed(line)), *permutations(line)])
    known = known_shape(graph, blob)
    if known is None:
        return
    kind, axes = known
    if kind.counted is not None and len(axes) == len(line):
        count = axes[kind.counted]
        if isinstance(count, int):
            yield _with(line, kind.counted, count)
    if all(isinstance(axis, int) for axis in axes):
        yield tuple(axis for axis in axes if isinstance(axis, int))


def _with(shape: Sequence[int], axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])
