"""Which of several shapes that all fit is the one that a network was made for.

A size that is much too small may fit because what becomes 1 long is broadcast; and a map that is laid
out as rows, such as patches of an attention, is usually laid out as the same map again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.operator_kinds import VIEWS
from pytest_ncnn_parity.network.shapes.flow import flow
from pytest_ncnn_parity.network.shapes.rules.reading import Shape

MAP_AXES = 3

Fed = Mapping[str, Shape]  # shapes of inputs by their blobs


def most_plausible(graph: Graph, ways: Iterable[Fed]) -> list[Fed]:
    """Those of `ways` to feed the inputs, all of which fit, that speak for themselves most."""
    found = list(ways)
    if len(found) < 2:
        return found
    ranks = [_rank(graph, fed) for fed in found]
    return [fed for fed, rank in zip(found, ranks, strict=True) if rank == min(ranks)]


def _rank(graph: Graph, fed: Fed) -> tuple[int, int]:
    """How many values are broadcast, and how many Reshapes fail to give back a map."""
    shapes = flow(graph, fed).shapes
    repeated = restored = 0
    maps: set[Shape] = set()
    for layer in graph.layers:
        inputs = [shapes[blob] for blob in layer.inputs if blob in shapes]
        if layer.type == "BinaryOp" and len(inputs) == 2:
            repeated += inputs[0] != inputs[1]
        made = {shapes[blob] for blob in layer.outputs if blob in shapes}
        if layer.type == "Reshape":
            restored += not made.isdisjoint(maps)
        elif layer.type not in VIEWS:
            maps.update(shape for shape in made if len(shape) == MAP_AXES)
    return repeated, -restored
