"""Two inputs that changed their names: no layer is to blame, and it is told which inputs they are."""

from __future__ import annotations

import pytest
from written_graphs import named, network

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts

INPUTS = ("Input {0} 0 1 {0}", "Input {1} 0 1 {1}")


def siamese(left: str, right: str, join: str = "1", inputs: tuple[str, str] = ("in0", "in1")) -> Graph:
    """A convolution of each of two inputs, and their difference, or their sum if `join` is 0."""
    return network(
        *(line.format(*inputs) for line in INPUTS),
        f"Convolution conv_l 1 1 {left} a 0=8 1=3 5=1 6=216",
        f"Convolution conv_r 1 1 {right} b 0=8 1=3 5=1 6=216",
        f"BinaryOp join 2 1 a b out0 0={join}",
    )


def test_layers_are_fed_with_what_they_read_and_the_networks_by_name() -> None:
    found = counterparts(siamese("in0", "in1"), siamese("in1", "in0"))
    assert found.exchanged == ["in0", "in1"]
    assert found.inputs == {"in0": "in0", "in1": "in1"}
    assert named(found) == {
        "conv_l": (["conv_l"], ["conv_l"], {"in1": "in0"}),
        "conv_r": (["conv_r"], ["conv_r"], {"in0": "in1"}),
        "join": (["join"], ["join"], {"a": "a", "b": "b"}),
    }


@pytest.mark.parametrize("join", ["0", "1"])
@pytest.mark.parametrize("names", [("in0", "in1"), ("x", "y")])
def test_other_names_and_another_order_of_lines_are_no_exchange(
    join: str, names: tuple[str, str]
) -> None:
    here = siamese("in0", "in1", join)
    for inputs in (names, names[::-1]):
        found = counterparts(here, siamese(*names, join, inputs))
        assert found.exchanged == []
        assert found.inputs == dict(zip(("in0", "in1"), names, strict=True))
