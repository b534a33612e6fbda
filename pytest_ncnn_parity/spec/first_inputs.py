"""The inputs of a first spec: shapes as the files state them, and values of the expected kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_ncnn_parity.base.errors import cut
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network.domains import positive_reader
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.input_kinds import (
    PICTURE,
    SIGNAL,
    TURNED,
    VOLUME,
    WAVE,
    WORDS,
    Kind,
    first_telling,
    passed,
)
from pytest_ncnn_parity.network.input_shapes import at_odds, misfit
from pytest_ncnn_parity.network.integers import integer_reader, words
from pytest_ncnn_parity.network.operator_kinds import Binary, has_number, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimal
from pytest_ncnn_parity.network.shape_rules.reading import Shape
from pytest_ncnn_parity.network.shape_search import Axes, corrected, known_shape
from pytest_ncnn_parity.spec import pnnx_files
from pytest_ncnn_parity.spec.first_weights import wants_bytes
from pytest_ncnn_parity.spec.pnnx_files import PnnxShape

PIXELS = (1, 3)  # numbers of channels that an image source can give: gray, or colours
COLOURS = 3  # a number of channels that suggests a picture without further evidence
ORDERS = {1: "w", 2: "h, w", 3: "c, h, w", 4: "c, d, h, w"}
UNKNOWN: Axes = ("CHANNELS", "HEIGHT", "WIDTH")
SOME_WORDS = 100  # used if the network does not say how many words it has
LEAST = 0.001  # of positive values; fp16 holds it, and its logarithm, with all digits
LARGE = 16.0  # a constant from here on is subtracted from pixels' values, or divides them


class FirstInput(Frozen):
    """One input of the first sample: its source as the spec writes it, and comments on it."""

    blob: str
    source: str
    comments: tuple[str, ...]


class _Shape(Frozen):
    """What is known of an input's shape, and comments that say where it comes from.

    `written`: the spec must state it, because the .param states none, or another one.
    """

    axes: Axes
    written: bool
    comments: tuple[str, ...]


def first_inputs(graph: Graph, param: Path) -> Iterator[FirstInput]:
    """What to feed to each input of `graph`, which was read from `param`."""
    beside = pnnx_files.input_shapes(param)
    for blob in graph.inputs:
        shape = _shape(graph, blob, beside)
        kind = _kind(graph, blob, shape.axes)
        values, comments = _values(graph, blob, kind, shape.axes, param.with_suffix(".bin"))
        written = f", shape: [{', '.join(map(str, shape.axes))}]" if shape.written else ""
        yield FirstInput(blob, f"{{{values}{written}}}", (*shape.comments, *comments))


def _kind(graph: Graph, blob: str, axes: Axes) -> Kind | None:
    """The kind of input, as the first layer shows it or as three channels suggest."""
    telling = first_telling(graph, blob)
    if telling is None:
        return PICTURE if len(axes) == 3 and axes[0] == COLOURS else None
    return telling.kind


# -- shapes --------------------------------------------------------------------------------------


def _shape(graph: Graph, blob: str, beside: Mapping[str, PnnxShape]) -> _Shape:
    """The shape that fits the layers: the one in pnnx's files, on the Input line, or of the weights."""
    line = graph.shapes.get(blob)
    converted = beside.get(blob)
    if line is None and converted is not None and _fits(graph, blob, converted):
        return _of_pnnx(converted)
    if line is None:
        return _of_layers(graph, blob)
    unfit = at_odds(graph, blob, line)
    if unfit is None:
        by_param = f"# The .param states the shape, ({ORDERS[len(line)]}): {list(line)}."
        return _Shape(line, False, (by_param,))
    at_odds_with = f"# The Input line states {list(line)}, which contradicts the weights or layers:"
    return _instead(graph, blob, line, (at_odds_with, f"# {unfit}."))


def _fits(graph: Graph, blob: str, converted: PnnxShape) -> bool:
    sizes = [size for size in converted.shape if size is not None]
    if len(sizes) < len(converted.shape):
        return True
    return not misfit(graph, blob, sizes) and at_odds(graph, blob, sizes) is None


def _of_pnnx(converted: PnnxShape) -> _Shape:
    names = dict(enumerate(("WIDTH", "HEIGHT", "DEPTH", "CHANNELS")))
    last = len(converted.shape) - 1
    axes = tuple(names[last - i] if size is None else size for i, size in enumerate(converted.shape))
    asked = "" if None not in converted.shape else ", but for what takes any size: write numbers there"
    says = f"# {cut(converted.file)} states the shape, ({ORDERS[len(axes)]}){asked}."
    return _Shape(axes, True, (says,))


def _of_layers(graph: Graph, blob: str) -> _Shape:
    known = known_shape(graph, blob)
    if known is None:
        return _Shape(
            UNKNOWN,
            True,
            (
                "# The .param does not state the shape: write numbers here. It may be [WIDTH] alone,",
                "# [HEIGHT, WIDTH] or [CHANNELS, DEPTH, HEIGHT, WIDTH] as well. No batch.",
            ),
        )
    _, axes = known
    missing = [axis for axis in axes if isinstance(axis, str)]
    if not missing:
        return _Shape(axes, True, ("# The shape is the one that fits all layers.",))
    asked = f"# The .param does not state {' and '.join(missing)}: write the size it was made for."
    return _Shape(axes, True, (asked,))


def _instead(graph: Graph, blob: str, line: Shape, comments: tuple[str, ...]) -> _Shape:
    """The shape that fits where that of the Input line does not."""
    other = corrected(graph, blob, line)
    if other is not None:
        return _Shape(other, True, (*comments, f"# {list(other)} fits all of them."))
    layers = _of_layers(graph, blob)
    return _Shape(layers.axes, True, (*comments, *layers.comments))


# -- values --------------------------------------------------------------------------------------


def _values(
    graph: Graph, blob: str, kind: Kind | None, axes: Axes, weights: Path
) -> tuple[str, tuple[str, ...]]:
    """The source without its shape, and the comments on it."""
    reader = integer_reader(graph, blob)
    if reader is not None or kind is WORDS:
        last = ((words(reader) if reader else None) or SOME_WORDS) - 1
        return f"random: integers, low: 0, high: {last}", ()
    if kind not in (PICTURE, VOLUME):
        return _of_numbers(graph, blob, kind)
    first = wants_bytes(graph, blob, weights)
    high = 255 if first or _takes_bytes(graph, blob) else 1
    comments = tuple(_of_pictures(axes))
    if first:
        why = f"# Values up to 1 are lost beside the biases of {printable(first)}: it is fed with bytes."
        comments = (why, *comments)
    return f"random: smooth, low: 0, high: {high}", comments


def _of_numbers(graph: Graph, blob: str, kind: Kind | None) -> tuple[str, tuple[str, ...]]:
    """Values of any sign, or positive ones such as a spectrum's magnitudes."""
    if kind is TURNED:
        return "random: uniform, low: -1, high: 1", ()
    signal = kind in (SIGNAL, WAVE)
    reader = positive_reader(graph, blob)
    if reader is None:
        return "random: smooth, low: -1, high: 1" if signal else "random: normal", ()
    why = (
        f"# Positive values, because {printable(reader.name)} ({reader.type}) is nan for negative ones."
    )
    return f"random: {'smooth' if signal else 'uniform'}, low: {LEAST}, high: 1", (why,)


def _of_pictures(axes: Axes) -> Iterator[str]:
    yield "# Noise with a photograph's spectrum; low and high are the range the network is fed with."
    if len(axes) == 3 and axes[0] in PIXELS:
        yield "# If it is a picture, a real one tests more; it is fed as (pixel - mean) * norm:"
        size, color = f"[{axes[2]}, {axes[1]}]", "gray" if axes[0] == 1 else "rgb"
        yield f"#   {{image: picture.png, color: {color}, size: {size}, mean: [...], norm: [...]}}"


def _takes_bytes(graph: Graph, blob: str) -> bool:
    """Whether the network itself scales values of 0 to 255, by a constant that fits nothing smaller."""
    return any(map(_scales_bytes, passed(graph, blob)))


def _scales_bytes(layer: Layer) -> bool:
    """Whether `layer` adds or divides by a constant of pixels."""
    if not has_number(layer):
        return False
    try:
        constant = abs(decimal(layer, 2, 0.0))
    except NotANumber:
        return False
    operation = op_type(layer)
    if operation == Binary.MUL:
        return 0.0 < constant <= 1.0 / LARGE
    return operation in (Binary.ADD, Binary.SUB, Binary.RSUB, Binary.DIV) and constant >= LARGE
