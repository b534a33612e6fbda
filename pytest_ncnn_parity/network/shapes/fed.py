"""Which shapes may be fed: those of the .param, or those of the weights where the two contradict.

ncnn ignores the sizes of an Input line, so nobody notices when they are wrong: old converters wrote
them in another order, and some files have those of another network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.shapes import given
from pytest_ncnn_parity.network.shapes.flow import Misfit, flow
from pytest_ncnn_parity.network.shapes.rules.reading import Shape

MOST_TURNED = 4  # lines of which every order is tried


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

    An input whose own line contradicts the weights says nothing of this one. Nor do lines that do so
    only together, as those of two pictures that a Concat joins, if they fit in another order.
    """
    lines = {one: graph.shapes[one] for one in graph.inputs if one in graph.shapes}
    fed = {**lines, blob: tuple(shape)}
    if flow(graph, fed).misfit is None:
        return None
    wrong = {one for one, line in lines.items() if flow(graph, {one: line}).misfit is not None}
    found = flow(graph, {one: fed[one] for one in fed if one == blob or one not in wrong}).misfit
    if found is None or blob in wrong or blob not in lines:
        return found
    turned = _turned(graph, {one: line for one, line in lines.items() if one not in wrong})
    own = turned.get(blob)
    if own is None or own == fed[blob]:
        return None if own else found
    of_another_size = len(own) == len(shape) > 2 and own[0] == shape[0]
    return flow(graph, {blob: fed[blob]}).misfit if of_another_size else found


def _turned(graph: Graph, lines: Mapping[str, Shape]) -> Mapping[str, Shape]:
    """`lines` that do not fit together, with as few of them as possible reversed, so that they do.

    Empty if they fit as they are, or in no such order.
    """
    if len(lines) > MOST_TURNED or flow(graph, lines).misfit is None:
        return {}
    for count in range(1, len(lines) + 1):
        for some in combinations(lines, count):
            turned = {one: line[::-1] if one in some else line for one, line in lines.items()}
            if flow(graph, turned).misfit is None:
                return turned
    return {}
