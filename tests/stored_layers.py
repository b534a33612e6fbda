"""Layers behind one with weights, and the numbers that a .bin file has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from written_graphs import fed

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.weights.stored import StoredLayer


def stored(
    folder: Path, lines: list[str], content: Mapping[str, bytes]
) -> tuple[Graph, Callable[[Layer], StoredLayer]]:
    """The network of these `lines` behind an Input, and what of the file each layer reads.

    `content`: the bytes of the file, by layer.
    """
    graph = fed(*lines)
    path, spans, end = folder / "net.bin", {}, 0
    for layer in graph.layers:
        start, end = end, end + len(content.get(layer.name, b""))
        spans[layer.number] = (start, end)
    path.write_bytes(b"".join(content.get(layer.name, b"") for layer in graph.layers))
    return graph, lambda layer: StoredLayer(layer, str(path), spans[layer.number])
