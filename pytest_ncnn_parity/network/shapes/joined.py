"""What other inputs tell of an input's shape: where layers join them, their sizes must fit.

Where another input takes any size, two are tried: what differs between them depends on that input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, product

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.shapes.flow import flow
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.shapes.rules.several_inputs import PAST_AXES, new_rows, shape_beside
from pytest_ncnn_parity.network.shapes.search import COLOURS
from pytest_ncnn_parity.network.shapes.sizes import Axes
from pytest_ncnn_parity.network.versions.units import sources

_TRIED = (640, 512)
_ANY_SIZE = frozenset(("HEIGHT", "WIDTH", "DEPTH", "LENGTH", "QUERIES", "KEYS", "PAST"))
_FOLLOWING = ("QUERIES", "KEYS", "PAST")  # sizes that may follow from other inputs, the last ones first
_PAST = (300, 200)  # rows of words before, unlike what a network makes of the sizes tried
_MOST_ROWS = 512
_MOST_JOINED = 1024  # channels of an input that a Concat joins with others
_OF_PICTURES = (3, 1)  # channels: colours, or gray and masks
_MOST_PICTURES = 4
_OF_SIZE = (640, 512, 256, 224, 128, 64)

Trial = dict[str, Shape]  # inputs by their blobs


class Joined(Frozen):
    """What others tell of an input: its axes, and its shape where `others`, of any size, are such."""

    axes: Axes
    shape: Shape
    others: Mapping[str, Shape]


def joined_shapes(graph: Graph, known: Mapping[str, Axes]) -> dict[str, Joined]:
    """What the inputs tell of each other, by blob, if this is `known` of each by itself.

    Of an input that is missing in `known`, not even the rank is known.
    """
    fixed = {blob: axes for blob, axes in known.items() if not _words(axes)}
    trials = [{blob: _of_size(axes, size) for blob, axes in fixed.items()} for size in _TRIED]
    sized = [blob for blob in known if blob not in fixed and _words(known[blob]) <= _ANY_SIZE]
    sized.sort(key=lambda blob: [word in _words(known[blob]) for word in _FOLLOWING])
    free: Trial = {}
    found: dict[str, Joined] = {}
    while True:
        found.update(_all_told(graph, known, trials, free))
        blob = next((blob for blob in sized if blob not in trials[0] and blob not in free), None)
        if blob is None:
            return found
        shapes = [_of_size(known[blob], size) for size in _TRIED]
        free[blob] = shapes[0]
        if _fit(graph, trials, blob, shapes):
            _add(trials, blob, shapes)
            continue
        shapes = _as_large_as_another(graph, known[blob], blob, trials)
        if shapes:
            found[blob] = _joined(shapes, known[blob], trials, free)
            _add(trials, blob, shapes)


def pictures(graph: Graph, known: Mapping[str, Axes]) -> dict[str, int]:
    """The channels of inputs of which none are `known`, if they can be pictures in one way only.

    That is a guess: a network may take 2 and 4 channels where 3 and 3 fit as well.
    """
    asked = [blob for blob, axes in known.items() if _words(axes) == {"CHANNELS", "HEIGHT", "WIDTH"}]
    if not 1 < len(asked) <= _MOST_PICTURES:
        return {}
    ways = [
        way
        for channels in product(_OF_PICTURES, repeat=len(asked))
        if _any_size_fits(graph, way := dict(zip(asked, channels, strict=True)))
    ]
    alike = ways if len(ways) == 1 else [way for way in ways if _read_alike(graph, way)]
    return alike[0] if len(alike) == 1 else {}


def _read_alike(graph: Graph, channels: Mapping[str, int]) -> bool:
    """Whether inputs that operators of the same kinds read have as many `channels`, as two pictures."""
    source = sources(graph)
    read_by: dict[tuple[str, ...], set[int]] = {}
    for blob, count in channels.items():
        readers = [layer.type for layer in graph.layers if blob in map(source.get, layer.inputs)]
        read_by.setdefault(tuple(sorted(readers)), set()).add(count)
    return len(read_by) == len(set(channels.values())) and all(
        len(counts) == 1 for counts in read_by.values()
    )


def _any_size_fits(graph: Graph, channels: Mapping[str, int]) -> bool:
    return any(
        flow(graph, {blob: (count, size, size) for blob, count in channels.items()}).misfit is None
        for size in _OF_SIZE
    )


def _all_told(
    graph: Graph, known: Mapping[str, Axes], trials: Sequence[Trial], free: Trial
) -> dict[str, Joined]:
    """What the inputs in `trials`, of which `free` take any size, tell of others; adds these to them."""
    found: dict[str, Joined] = {}
    told = True
    while told:
        told = False
        for blob in graph.inputs:
            shapes = [] if blob in trials[0] else _told(graph, blob, trials)
            names = known.get(blob, ())
            is_past = tuple(shape[-2:-1] for shape in shapes) == tuple((rows,) for rows in _PAST)
            if is_past and not _fit(graph, trials, blob, shapes):
                shapes, is_past = _of_fitting_rows(graph, trials, blob, shapes[0]), False
            if not shapes or not _agree(names, shapes) or not _fit(graph, trials, blob, shapes):
                continue
            told = True
            found[blob] = _joined(shapes, PAST_AXES if is_past else names, trials, free)
            _add(trials, blob, shapes)
            if is_past:
                free[blob] = shapes[0]
    return found


def _of_fitting_rows(graph: Graph, trials: Sequence[Trial], blob: str, shape: Shape) -> list[Shape]:
    """`shape` with as many rows as a Reshape behind it asks for, whatever the other inputs are."""
    for rows in range(1, _MOST_ROWS):
        shapes: list[Shape] = [(shape[0], rows, shape[2])] * len(trials)
        if _fit(graph, trials, blob, shapes):
            return shapes
    return []


def _joined(
    shapes: Sequence[Shape], known: Axes, trials: Sequence[Trial], free: Mapping[str, Shape]
) -> Joined:
    others = {other: shape for other, shape in free.items() if other in trials[0]}
    return Joined(_axes(shapes, known), shapes[0], others)


def _as_large_as_another(graph: Graph, axes: Axes, blob: str, trials: Sequence[Trial]) -> list[Shape]:
    """`axes` with a size of another input for what is not known, where all layers fit so."""
    places = ((other, axis) for other, shape in trials[0].items() for axis in range(len(shape)))
    tried = ([_of_size(axes, trial[other][axis]) for trial in trials] for other, axis in places)
    return next((shapes for shapes in tried if _fit(graph, trials, blob, shapes)), [])


def _words(axes: Axes) -> set[str]:
    return {axis for axis in axes if isinstance(axis, str)}


def _of_size(axes: Axes, size: int) -> Shape:
    """`axes` with `size` for every one that is not known."""
    return tuple(size if isinstance(axis, str) else axis for axis in axes)


def _axes(shapes: Sequence[Shape], known: Axes) -> Axes:
    """The sizes that `shapes` have in common, and the names of the others as far as they are `known`."""
    first, second = shapes
    names = (
        known if len(known) == len(first) else ("CHANNELS", "DEPTH", "HEIGHT", "WIDTH")[-len(first) :]
    )
    return tuple(a if a == b else name for a, b, name in zip(first, second, names, strict=True))


def _agree(known: Axes, shapes: Sequence[Shape]) -> bool:
    """Whether all `shapes` have the sizes that are `known`."""
    sizes = [(place, size) for place, size in enumerate(known) if isinstance(size, int)]
    return not sizes or all(
        len(shape) == len(known) and all(shape[place] == size for place, size in sizes)
        for shape in shapes
    )


def _add(trials: Sequence[Trial], blob: str, shapes: Sequence[Shape]) -> None:
    for trial, shape in zip(trials, shapes, strict=True):
        trial[blob] = shape


def _fit(graph: Graph, trials: Sequence[Trial], blob: str, shapes: Sequence[Shape]) -> bool:
    """Whether `blob` can have `shapes` beside the inputs in `trials`."""
    alike = len({len(shape) for shape in shapes}) == 1
    return alike and all(
        flow(graph, {**trial, blob: shape}).misfit is None
        for trial, shape in zip(trials, shapes, strict=True)
    )


def _told(graph: Graph, blob: str, trials: Sequence[Trial]) -> list[Shape]:
    """The shape of `blob` in each trial, as the first layer tells that joins it with known values."""
    tried = zip(trials, _PAST, strict=True)
    shapes = [_told_by_layer(graph, blob, trial, past) for trial, past in tried]
    return [shape for shape in shapes if shape is not None] if None not in shapes else []


def _told_by_layer(graph: Graph, blob: str, trial: Trial, past: int) -> Shape | None:
    source, constant = sources(graph), flow(graph, {}).shapes  # a constant may be broadcast
    shapes = {read: one for read, one in flow(graph, trial).shapes.items() if read not in constant}
    for layer in graph.layers:
        place = next((at for at, read in enumerate(layer.inputs) if source[read] == blob), None)
        if place is None:
            continue
        beside = [shapes.get(read) for read in layer.inputs]
        joins = layer.type == "Concat" and beside.count(None) == 1 < len(beside)
        new = new_rows(layer, place, beside)
        if new is not None:
            shape: Shape | None = (new[0], past, new[2])
        else:
            shape = _beside(graph, blob, layer, trial) if joins else shape_beside(layer, place, beside)
        if shape is not None:
            return shape
    return None


def _beside(graph: Graph, blob: str, concat: Layer, trial: Trial) -> Shape | None:
    """The shape that `blob` has beside the other inputs of `concat`, by the weights behind it."""
    shapes = flow(graph, trial).shapes
    beside = next(shapes[read] for read in concat.inputs if read in shapes)
    if concat.params.get("0", "0") != "0":
        return None

    def misfit(channels: int, last: Layer | None = None) -> Layer | None:
        fed = {**trial, blob: (channels, *beside[1:])}
        wrong = flow(graph, fed, last).misfit
        return None if wrong is None else wrong.layer

    counting = next(filter(None, map(misfit, COLOURS)), None)
    if counting is None:
        return None  # any number fits
    counts = chain(COLOURS, range(5, _MOST_JOINED))
    channels = next((count for count in counts if misfit(count, counting) is None), None)
    return None if channels is None else (channels, *beside[1:])
