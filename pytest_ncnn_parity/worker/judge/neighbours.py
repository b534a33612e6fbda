"""Layers beside each other in a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_ncnn_parity.network.graph import Graph, Layer


def makers(graph: Graph, layer: Layer) -> Iterator[int]:
    return (graph.producer[blob].number for blob in layer.inputs)


def readers(graph: Graph, layer: Layer) -> Iterator[Layer]:
    return (reader for blob in layer.outputs for reader in graph.consumers[blob])


def connected(graph: Graph, numbers: Iterable[int]) -> Iterator[set[int]]:
    """The layers of `numbers` in groups whose layers are connected through layers of the group."""
    left = set(numbers)
    while left:
        group, reached = set(), {left.pop()}
        while reached:
            layer = graph.layers[reached.pop()]
            group.add(layer.number)
            beside = {*makers(graph, layer), *(one.number for one in readers(graph, layer))}
            reached |= beside & left
            left -= beside
        yield group
