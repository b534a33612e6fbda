"""Which values of a network are whole numbers: ncnn reads their 32 bits as integers, whatever they are.

A float there is no rounded word but its bits: 1.0 is word 1065353216, which ncnn cuts to the last.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ncnn_parity.network.param import COPYING, Graph, Layer

# src/layer: embed.cpp, dequantize.cpp and requantize.cpp take their input by `const int*`
READ_INTEGERS = frozenset({"Embed", "Dequantize", "Requantize"})
_WORDS = "1"  # Embed's input_dim


def computing_readers(graph: Graph, blob: str) -> Iterator[Layer]:
    """The layers that compute with the values of `blob`, also behind layers that only copy them."""
    seen = {blob}
    waiting = [blob]
    while waiting:
        for layer in graph.consumers[waiting.pop()]:
            if layer.type not in COPYING:
                yield layer
                continue
            copies = [copy for copy in layer.outputs if copy not in seen]
            seen.update(copies)
            waiting.extend(copies)


def integer_reader(graph: Graph, blob: str) -> Layer | None:
    """A layer that takes the values of `blob` for integers: of several the one with the fewest words."""
    layers = [layer for layer in computing_readers(graph, blob) if layer.type in READ_INTEGERS]
    return min(layers, key=lambda layer: words(layer) or 2**31, default=None)


def words(layer: Layer) -> int | None:
    """How many words an Embed knows: 0 to one less. None where any number will do, or none is told."""
    written = layer.params.get(_WORDS, "") if layer.type == "Embed" else ""
    return int(written) if written.isascii() and written.isdigit() and int(written) > 0 else None
