"""By which scales values in int8 are given and read."""

from __future__ import annotations

import math

import pytest
from written_graphs import fed

from pytest_ncnn_parity.engine.int8_evidence import OtherScale
from pytest_ncnn_parity.network.int8 import int8_blobs
from pytest_ncnn_parity.worker.networks.int8 import Int8Values

GRAPH = fed(
    "Convolution maker 1 1 in0 a 8=102",
    "Split s 1 2 a left right",
    "Convolution x 1 1 left b 8=2",
    "Convolution y 1 1 right c 8=2",
    "Pooling p 1 1 right d 0=1",
)
MAKER, SPLIT, X, Y, _ = GRAPH.layers[1:]


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        (20.0, 20.0, None),
        (20.01, 20.0000001, None),
        (22.0, 22.0, OtherScale(20.0, "x", 22.0, of_all=True)),
        (20.0, 20.1, OtherScale(20.0, "y", 20.1, of_all=False)),  # as by ncnn2table's method eq
        (0.0, 20.0, None),  # its own case says so
        (math.inf, math.nan, None),
    ],
)
def test_the_scale_by_which_int8_is_given_is_that_of_the_readers(
    x: float, y: float, found: OtherScale | None
) -> None:
    values = Int8Values(GRAPH, int8_blobs(GRAPH), {X.number: x, Y.number: y}, {MAKER.number: 20.0})
    assert values.read_otherwise(MAKER) == found
    assert values.read_otherwise(SPLIT) is None


def test_a_scale_is_as_exact_as_the_text_of_a_table() -> None:
    own = 0.0002  # "%f" leaves 0.000200
    for x, differs in ((0.0002009, False), (0.0002011, True)):
        values = Int8Values(GRAPH, int8_blobs(GRAPH), {X.number: x, Y.number: x}, {MAKER.number: own})
        assert (values.read_otherwise(MAKER) is not None) is differs


def test_another_layer_may_change_the_scale() -> None:
    maker, reader = "Convolution a 1 1 in0 a 8=102", "Convolution x 1 1 b out0 8=2"
    graph = fed(maker, "Pooling p 1 1 a b 0=1", reader)
    values = Int8Values(graph, int8_blobs(graph), {3: 30.0}, {1: 20.0})
    assert values.read_otherwise(graph.layers[1]) is None
