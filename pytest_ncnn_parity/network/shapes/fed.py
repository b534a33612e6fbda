"""Which shapes may be fed: those of the .param, or those of the weights where the two contradict.

ncnn ignores the sizes of an Input line, so nobody notices when they are wrong: old converters wrote
them in another order, and some files have those of another network.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.shapes import given
from pytest_ncnn_parity.network.shapes.flow import Misfit, flow


def misfit(graph: Graph, blob: str, shape: Sequence[int]) -> str:
    """Why an input of `shape` cannot be fed to `blob`; empty if it can.

    The shape may contradict the Input line if that line contradicts the weights, and the shape does
    not.
    """
    line = graph.shapes.get(blob)
    problem = given.misfit(shape, line, graph.has_volumes)
    alone = given.misfit(shape, None, graph.has_volumes)
    if not problem or alone or line is None:
        return problem
    of_line, own = at_odds(graph, blob, line), at_odds(graph, blob, shape)
    if of_line is None or (own is not None and own.layer.number <= of_line.layer.number):
        return problem if own is None else f"{problem}; {own}"
    return ""


def at_odds(graph: Graph, blob: str, shape: Sequence[int]) -> Misfit | None:
    """The first layer that does not fit a `blob` of `shape`; other inputs are as the file states.

    An input whose own line contradicts the weights says nothing of this one.
    """
    others = {other: graph.shapes[other] for other in graph.inputs if other in graph.shapes}
    fed = {**others, blob: tuple(shape)}
    if flow(graph, fed).misfit is None:
        return None
    wrong = {other for other, line in others.items() if flow(graph, {other: line}).misfit is not None}
    return flow(
        graph, {other: fed[other] for other in fed if other == blob or other not in wrong}
    ).misfit
