"""What kind of values an input holds, such as a picture or words, by the first layers that read it."""

from __future__ import annotations

from collections.abc import Container, Iterator

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import VIEWS
from pytest_ncnn_parity.network.parameters import NotANumber, number, numbers
from pytest_ncnn_parity.network.shapes.rules.outcomes import UNCHANGED


class Kind(Frozen):
    """What an input is, by the first layer that shows it. `counted`: the axis its weights give."""

    name: str
    axes: tuple[str, ...]
    counted: int | None


PICTURE = Kind("picture", ("CHANNELS", "HEIGHT", "WIDTH"), 0)
VOLUME = Kind("volume", ("CHANNELS", "DEPTH", "HEIGHT", "WIDTH"), 0)
SIGNAL = Kind("signal", ("CHANNELS", "LENGTH"), 0)
WAVE = Kind("wave", ("LENGTH",), None)  # a signal of one channel, which the network may add itself
MAP = Kind("map", ("HEIGHT", "WIDTH"), None)  # a spectrogram, say, that the network makes a channel
ROWS = Kind("rows", ("LENGTH", "SIZE"), 1)
VECTOR = Kind("vector", ("SIZE",), 0)
WORDS = Kind("words", ("LENGTH",), None)
HEADS = Kind("heads", ("HEADS", "LENGTH", "SIZE"), None)  # of an attention
TURNED = Kind(
    "turned", ("HEADS", "LENGTH", "SIZE"), None
)  # heads, or the cosines and sines that turn them

_KINDS = {
    PICTURE: "Convolution ConvolutionDepthWise Deconvolution DeconvolutionDepthWise Pooling Interp "
    "PixelShuffle Reorg DeformableConv2D GroupNorm InstanceNorm LRN",
    VOLUME: "Convolution3D ConvolutionDepthWise3D Deconvolution3D DeconvolutionDepthWise3D Pooling3D",
    SIGNAL: "Convolution1D ConvolutionDepthWise1D Deconvolution1D DeconvolutionDepthWise1D Pooling1D",
    ROWS: "LSTM GRU RNN MultiHeadAttention LayerNorm RMSNorm Gemm",
    VECTOR: "InnerProduct",
    WAVE: "Spectrogram",
    WORDS: "Embed",
    HEADS: "SDPA",
    TURNED: "RotaryEmbed",
}
_KIND_OF = {operator: kind for kind, operators in _KINDS.items() for operator in operators.split()}
# operators before a layer that keep the kind of its input and its channels
_PASSED = UNCHANGED | {"BinaryOp", "Padding"}
# operators that show a kind and have no weights: a layer behind them tells the number of channels
UNCOUNTED = {"Pooling", "Interp", "PixelShuffle", "Reorg", "LRN", "Pooling1D", "Pooling3D"}


class Telling(Frozen):
    """A layer that shows what an input is."""

    layer: Layer
    kind: Kind


def first_telling(graph: Graph, blob: str) -> Telling | None:
    """The first layer that shows what `blob` is, behind layers that keep its shape.

    If there is none, a layer behind a Concat: a NeRF's Gemm reads the sines of all coordinates joined.
    """
    return next(all_telling(graph, blob), None)


def all_telling(graph: Graph, blob: str) -> Iterator[Telling]:
    """The layers that show what `blob` is, of one kind; those behind a resize may tell its channels."""
    first = None
    for passing in (_PASSED | VIEWS, _PASSED | VIEWS | {"Concat"}):
        for telling in _telling(graph, blob, passing | UNCOUNTED):
            first = first or telling
            if telling.kind == first.kind:
                yield telling
        if first is not None:
            return


def _telling(graph: Graph, blob: str, passing: Container[str]) -> Iterator[Telling]:
    flat = row = axis = False
    for layer in graph.readers_behind(blob, lambda one: one.type in passing):
        kind = _KIND_OF.get(layer.type)
        if row and kind is SIGNAL:
            yield Telling(layer, WAVE)
        elif axis and kind is PICTURE:
            yield Telling(layer, MAP)
        elif kind is not None and (not flat or kind is VECTOR):
            yield Telling(layer, kind)
        flat |= layer.type in VIEWS
        row |= _is_one_row(layer)
        axis |= layer.type == "ExpandDims" and row


def _is_one_row(layer: Layer) -> bool:
    """Whether `layer` makes one row of a vector, as `x.unsqueeze(0)` does."""
    try:
        if layer.type == "ExpandDims":
            return numbers(layer, 3) == (0,)
        stated = [number(layer, axis, 0) for axis in (1, 2, 11)]
    except NotANumber:
        return False
    return layer.type == "Reshape" and len(layer.inputs) == 1 and stated == [1, 0, 0]


def passed(graph: Graph, blob: str) -> Iterator[Layer]:
    """The layers that read `blob`, and those behind layers that keep its shape."""
    return graph.readers_behind(blob, lambda one: one.type in _PASSED)
