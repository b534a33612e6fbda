"""The inputs of a first spec: values of the expected kind, in the shapes of `first_shapes`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network.domains import mask_reader, positive_reader
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.input_kinds import (
    MAP,
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
from pytest_ncnn_parity.network.integers import integer_reader, words
from pytest_ncnn_parity.network.operator_kinds import Binary, has_number, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimal
from pytest_ncnn_parity.network.shapes.sizes import Axes
from pytest_ncnn_parity.spec.first_shapes import first_shapes
from pytest_ncnn_parity.spec.first_weights import wants_bytes

PIXELS = (1, 3)  # numbers of channels that an image source can give: gray, or colours
COLOURS = 3  # a number of channels that suggests a picture without further evidence
SOME_WORDS = 100  # used if the network does not say how many words it has
LEAST = 0.001  # of positive values; fp16 holds it, and its logarithm, with all digits
LARGE = 16.0  # a constant from here on is subtracted from pixels' values, or divides them


class FirstInput(Frozen):
    """One input of the first sample: its source as the spec writes it, and comments on it."""

    blob: str
    source: str
    comments: tuple[str, ...]


def first_inputs(graph: Graph, param: Path) -> Iterator[FirstInput]:
    """What to feed to each input of `graph`, which was read from `param`."""
    for blob, shape in first_shapes(graph, param).items():
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
    mask = mask_reader(graph, blob)
    if mask is not None:
        why = f"# A mask: {printable(mask.name)} ({mask.type}) hides what is 0 and keeps what is 1."
        return "random: integers, low: 0, high: 1", (why,)
    signal = kind in (SIGNAL, WAVE, MAP)
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
