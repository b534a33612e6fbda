"""Which values of a network are integers, because a layer reads their 32 bits as an integer.

A float in such a place is not rounded to a word but read bit by bit: 1.0 is word 1065353216, which ncnn
clips to the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import (
    Binary,
    Eltwise,
    Reduction,
    Unary,
    copies,
    op_type,
)

BITS, FLOATS = "bits", "floats"  # how a blob holds integers

# src/layer: embed.cpp, dequantize.cpp and requantize.cpp take their input by `const int*`
READ_INTEGERS = frozenset({"Embed", "Dequantize", "Requantize"})
# Integers below 2^23 are subnormal floats. These operators leave them as they are, or limit them to 0
# and above, as torch.clamp does; a bound such as 99.0 is larger than all of them.
_LIMITING = frozenset({"Clip", "ReLU"})
# Subnormal floats are in the order of their bits, and these compute no others.
_CHOOSING = frozenset({"ArgMax", "Interp", "Pooling", "Pooling1D", "Pooling3D"})
_CHOOSING_OPERATIONS = {
    "BinaryOp": (Binary.MAX, Binary.MIN),
    "Eltwise": (Eltwise.MAX,),
    "Reduction": (Reduction.MAX, Reduction.MIN),
    "UnaryOp": (Unary.ABS,),
}
_CONSTANT = "MemoryData"
AS_FLOATS = "integers where it reads floats"  # what is said of words that a layer computes with
BEYOND_TABLE = "beyond its table"  # what is said of words that an Embed does not have
_WORDS = "1"  # the id of Embed's input_dim
_FROM_INPUT = "-233"  # a Crop's offset of this value: its second input decides (src/layer/crop.cpp)


HandsOn = Callable[[Layer], bool]


def _copies_or_limits(layer: Layer) -> bool:
    return copies(layer) or layer.type in _LIMITING


def computing_readers(graph: Graph, blob: str, hands_on: HandsOn = copies) -> Iterator[Layer]:
    """The layers that compute with the values of `blob`, also behind layers that hand them on."""
    seen = {blob}
    waiting = [blob]
    while waiting:
        for layer in graph.consumers[waiting.pop()]:
            if not hands_on(layer):
                yield layer
                continue
            further = [copy for copy in layer.outputs if copy not in seen]
            seen.update(further)
            waiting.extend(further)


def integer_reader(graph: Graph, blob: str) -> Layer | None:
    """A layer that reads the values of `blob` as integers; of several, the one with the fewest words."""
    readers = computing_readers(graph, blob, _copies_or_limits)
    layers = [layer for layer in readers if layer.type in READ_INTEGERS]
    return min(layers, key=lambda layer: words(layer) or 2**31, default=None)


def words(layer: Layer) -> int | None:
    """How many words an Embed has; None if any integer will do, or no number is stated."""
    written = layer.params.get(_WORDS, "") if layer.type == "Embed" else ""
    return int(written) if written.isascii() and written.isdigit() and int(written) > 0 else None


def integers(graph: Graph) -> dict[str, str]:
    """The blobs that hold integers, and how: as integer `bits`, or as whole `floats`."""
    return {
        **dict.fromkeys(whole_numbers(graph), FLOATS),
        **dict.fromkeys(integer_bits(graph), BITS),
    }


def copying_integers(graph: Graph) -> frozenset[int]:
    """The numbers of layers that only copy integers, or hold them as constants.

    A device may store these in another format.
    """
    held = integers(graph)
    handing_on = (n for n in graph.layers if _copied(n) or n.type == _CONSTANT)
    return frozenset(n.number for n in handing_on if held.keys() >= set(n.outputs))


def integer_bits(graph: Graph) -> frozenset[str]:
    """The blobs whose 32 bits are integers: words, sums of int8, or offsets for a Crop, and copies.

    A device that stores them in 16 bits turns all of them into 0.
    """
    read = (blob for layer in graph.layers for blob in _read_as_integers(layer))
    sources = {source for blob in read for source in _sources(graph, blob)}
    return _copies(graph, sources, _copies_or_limits)


def whole_numbers(graph: Graph) -> frozenset[str]:
    """The blobs of floats that are always whole: the indices of an ArgMax, and copies of them."""
    known = {
        blob
        for layer in graph.layers
        # without out_max_val: the output has indices only
        if layer.type == "ArgMax" and layer.params.get("0", "0") == "0"
        for blob in layer.outputs
    }
    return _copies(graph, known, copies)


def keeps_integers(layer: Layer) -> bool:
    """Whether what `layer` gives of integers are some of these, as the larger one of two is."""
    chooses = layer.type in _CHOOSING or op_type(layer) in _CHOOSING_OPERATIONS.get(layer.type, ())
    return chooses or _copies_or_limits(layer)


def _read_as_integers(layer: Layer) -> Iterable[str]:
    if layer.type in READ_INTEGERS:
        return layer.inputs
    return layer.inputs[1:] if layer.type == "Crop" and layer.params.get("0") == _FROM_INPUT else ()


def _sources(graph: Graph, blob: str) -> Iterator[str]:
    """The blobs of which `blob` is a copy; several, where a Concat joins them."""
    seen = {blob}
    waiting = [blob]
    while waiting:
        blob = waiting.pop()
        copied = _copied(graph.producer[blob])
        if not copied:
            yield blob
        waiting += [source for source in copied if source not in seen]
        seen.update(copied)


def _copied(layer: Layer, hands_on: HandsOn = _copies_or_limits) -> tuple[str, ...]:
    """The inputs that `layer` hands on; the further inputs of a Reshape or a Crop only state shapes."""
    if not hands_on(layer):
        return ()
    return tuple(layer.inputs if layer.type == "Concat" else layer.inputs[:1])


def _copies(graph: Graph, sources: set[str], hands_on: HandsOn) -> frozenset[str]:
    """`sources`, and the outputs of layers that hand them on and have no other inputs."""
    held = set(sources)
    for layer in graph.layers:
        copied = _copied(layer, hands_on)
        if copied and held.issuperset(copied):
            held.update(layer.outputs)
    return frozenset(held)
