"""Recurrent layers in both directions: one layer, or one for each whose values are joined. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import RECURRENT
from pytest_ncnn_parity.network.versions.folding import lasting

DIRECTION_ID, BOTH = "2", "2"
_FORWARD, _BACKWARD = "0", "1"
_WEIGHTS_ID = "1"  # how many weights of the inputs there are, of both directions together
_ALONG_WIDTH = ("1", "-1")  # axes of a matrix (steps, outputs)


def are_in_both_directions(graph: Graph) -> bool:
    """Whether a recurrent layer of `graph` runs in both directions."""
    return any(_direction(one) == BOTH for one in graph.layers if one.type in RECURRENT)


def joined(
    layer: Layer, graph: Graph, sources: Mapping[str, str], readers: Mapping[str, Sequence[Layer]]
) -> tuple[Layer, ...]:
    """The forward layer, the backward one and their Concat, if `layer` is one of them, or nothing.

    `sources`: by blob, the one that it copies. `readers`: by such a one, the layers that read it.
    """
    concat = _only_reader(layer, readers)
    if layer.type not in RECURRENT or concat is None or concat.type != "Concat":
        return ()
    makers = [graph.producer[sources[blob]] for blob in concat.inputs]
    if len(makers) != 2 or concat.params.get("0", "0") not in _ALONG_WIDTH:
        return ()
    forward, backward = makers
    alike = forward.type == backward.type and _other_than_direction(forward) == _other_than_direction(
        backward
    )
    ends = [_only_reader(one, readers) == concat and len(one.inputs) == 1 for one in makers]
    if not (alike and all(ends) and sources[forward.inputs[0]] == sources[backward.inputs[0]]):
        return ()
    directions = _direction(forward), _direction(backward)
    return (forward, backward, concat) if directions == (_FORWARD, _BACKWARD) else ()


def in_both_directions(parameters: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The lasting `parameters` of the one layer that computes what two of one direction do."""
    found = dict(parameters) | {DIRECTION_ID: BOTH}
    found[_WEIGHTS_ID] = f"{2 * float(found.get(_WEIGHTS_ID, '0')):.6g}"
    return tuple(sorted(found.items()))


def _only_reader(layer: Layer, readers: Mapping[str, Sequence[Layer]]) -> Layer | None:
    """The only layer that reads the only output of `layer`."""
    found = readers.get(layer.outputs[0], ()) if len(layer.outputs) == 1 else ()
    return found[0] if len(found) == 1 else None


def _direction(layer: Layer) -> str:
    return layer.params.get(DIRECTION_ID, _FORWARD)


def _other_than_direction(layer: Layer) -> dict[str, str]:
    return {key: value for key, value in lasting(layer) if key != DIRECTION_ID}
