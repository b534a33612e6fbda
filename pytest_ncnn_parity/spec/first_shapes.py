"""The shapes of a first spec's inputs: as files state them, as weights, layers and each other tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, islice
from pathlib import Path

from pytest_ncnn_parity.base.errors import cut
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.shapes.fed import at_odds, misfit
from pytest_ncnn_parity.network.shapes.flow import flow
from pytest_ncnn_parity.network.shapes.joined import Joined, joined_shapes, pictures
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.shapes.search import corrected, known_shape, viewed
from pytest_ncnn_parity.network.shapes.sizes import Axes, another
from pytest_ncnn_parity.spec import pnnx_files
from pytest_ncnn_parity.spec.pnnx_files import PnnxShape

ORDERS = {1: "w", 2: "h, w", 3: "c, h, w", 4: "c, d, h, w"}
UNKNOWN: Axes = ("CHANNELS", "HEIGHT", "WIDTH")
MOST_OTHERS = 3  # inputs that an example names
MOST_TRIED = 128  # choices of inputs whose batch may be rows
_OPEN = (
    "# The .param does not state the shape: write numbers here. It may be [WIDTH] alone,",
    "# [HEIGHT, WIDTH] or [CHANNELS, DEPTH, HEIGHT, WIDTH] as well. No batch.",
)


class FirstShape(Frozen):
    """What is known of an input's shape, None if nothing, and comments that say where it comes from.

    `written`: the spec must state it, because the .param states none, or another one.
    """

    known: Axes | None
    written: bool
    comments: tuple[str, ...]

    @property
    def axes(self) -> Axes:
        return self.known or UNKNOWN


def first_shapes(graph: Graph, param: Path) -> Mapping[str, FirstShape]:
    """The shape of each input of `graph`, which was read from `param`."""
    beside = _with_rows(graph, pnnx_files.input_shapes(param))
    alone = {blob: _alone(graph, blob, beside.get(blob)) for blob in graph.inputs}
    known = {blob: shape.known for blob, shape in alone.items() if shape.known is not None}
    told = joined_shapes(graph, known)
    colours = pictures(graph, {blob: axes for blob, axes in known.items() if blob not in told})
    by_others = {blob: _beside_others(joined) for blob, joined in told.items()}
    return {**alone, **by_others, **{blob: _guessed(colours, blob) for blob in colours}}


def _alone(graph: Graph, blob: str, converted: PnnxShape | None) -> FirstShape:
    """The shape that fits the layers: the one in pnnx's files, on the Input line, or of the weights."""
    line = graph.shapes.get(blob)
    if line is None and converted is not None and _fits(graph, blob, converted):
        return _of_pnnx(converted)
    if line is None:
        return _of_layers(graph, blob)
    unfit = at_odds(graph, blob, line)
    if unfit is None:
        by_param = f"# The .param states the shape, ({ORDERS[len(line)]}): {list(line)}."
        return FirstShape(line, False, (by_param,))
    at_odds_with = f"# The Input line states {list(line)}, which contradicts the weights or layers:"
    return _instead(graph, blob, line, (at_odds_with, f"# {unfit}."))


def _with_rows(graph: Graph, beside: Mapping[str, PnnxShape]) -> Mapping[str, PnnxShape]:
    """The shapes of pnnx's files, with rows that it took for a batch where layers fit only so."""
    doubted = [blob for blob in graph.inputs if blob in beside and beside[blob].batched is not None]
    few_before_many = chain.from_iterable(combinations(doubted, n) for n in range(len(doubted) + 1))
    for rows in chain(islice(few_before_many, MOST_TRIED), [tuple(doubted)]):
        read = {blob: one.of_rows() if blob in rows else one for blob, one in beside.items()}
        fed = {blob: _sizes(read[blob]) for blob in graph.inputs if blob in read}
        if flow(graph, {blob: sizes for blob, sizes in fed.items() if sizes}).misfit is None:
            return read
    return beside


def _sizes(converted: PnnxShape) -> Shape:
    """The shape in numbers; empty if it has axes of any size."""
    sizes = tuple(size for size in converted.shape if size is not None)
    return sizes if len(sizes) == len(converted.shape) else ()


def _fits(graph: Graph, blob: str, converted: PnnxShape) -> bool:
    sizes = _sizes(converted)
    return not sizes or (not misfit(graph, blob, sizes) and at_odds(graph, blob, sizes) is None)


def _of_pnnx(converted: PnnxShape) -> FirstShape:
    names = dict(enumerate(("WIDTH", "HEIGHT", "DEPTH", "CHANNELS")))
    last = len(converted.shape) - 1
    axes = tuple(names[last - i] if size is None else size for i, size in enumerate(converted.shape))
    asked = "" if None not in converted.shape else ", but for what takes any size: write numbers there"
    says = f"# {cut(converted.file)} states the shape, ({ORDERS[len(axes)]}){asked}."
    return FirstShape(axes, True, (says,))


def _of_layers(graph: Graph, blob: str) -> FirstShape:
    known = known_shape(graph, blob)
    if known is None:
        return _of_view(graph, blob)
    kind, axes = known
    shape = _numbers(axes) if kind.axes[-2:] == UNKNOWN[1:] else None
    other = another(graph, blob, shape) if shape is not None else None
    if other is None:
        return FirstShape(axes, True, tuple(_on_axes(axes)))
    guess = f"# The size is a guess: {list(other)}, for one, fits all layers as well."
    return FirstShape(axes, True, (guess,))


def _of_view(graph: Graph, blob: str) -> FirstShape:
    """A vector where a Reshape tells how many elements there are; nothing else is known."""
    view = viewed(graph, blob)
    if view is None:
        return FirstShape(None, True, _OPEN)
    layer, elements = view
    says = f"# As many values as {printable(layer.name)} ({layer.type}) takes, of whatever rank."
    return FirstShape((elements,), True, (says,))


def _numbers(axes: Axes) -> Shape | None:
    sizes = tuple(size for size in axes if isinstance(size, int))
    return sizes if len(sizes) == len(axes) else None


def _in_words(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _on_axes(axes: Axes) -> Iterator[str]:
    missing = [axis for axis in axes if isinstance(axis, str)]
    if missing:
        yield f"# The .param does not state {_in_words(missing)}: write the size it was made for."
    else:
        yield "# The shape is the one that fits all layers."


def _beside_others(told: Joined) -> FirstShape:
    """The shape that the other inputs tell, with an example where it depends on them."""
    comments = list(_on_axes(told.axes))
    depends = {axis for axis in told.axes if isinstance(axis, str)} - {"PAST"}
    if depends:
        some = islice(told.others.items(), MOST_OTHERS)
        others = [f"{printable(blob)} is {list(one)}" for blob, one in some]
        more = ["so on"] if len(told.others) > MOST_OTHERS else []
        comments.append(f"# Where {_in_words([*others, *more])}, this is {list(told.shape)}.")
    return FirstShape(told.axes, True, tuple(comments))


def _guessed(colours: Mapping[str, int], blob: str) -> FirstShape:
    """The channels that are likely, and what is asked for."""
    axes = (colours[blob], *UNKNOWN[1:])
    fit = _in_words([f"{printable(one)} of {channels}" for one, channels in colours.items()])
    guess = f"# The channels are a guess: {fit} fit all layers."
    return FirstShape(axes, True, (guess, *_on_axes(axes)))


def _instead(graph: Graph, blob: str, line: Shape, comments: tuple[str, ...]) -> FirstShape:
    """The shape that fits where that of the Input line does not."""
    other = corrected(graph, blob, line)
    if other is not None:
        return FirstShape(other, True, (*comments, f"# {list(other)} fits all of them."))
    layers = _of_layers(graph, blob)
    return FirstShape(layers.known, True, (*comments, *layers.comments))
