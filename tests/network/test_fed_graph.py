"""The network as it is run where inner blobs are fed."""

from __future__ import annotations

import graphs


def test_what_makes_a_fed_blob_is_an_input() -> None:
    network = graphs.network(*graphs.DEMODULATION)
    fed = network.fed({"left": None})
    fork = fed.producer["left"]
    assert (fork.type, fork.name, fork.number, fork.inputs) == ("Input", "fork", 2, ())
    assert [layer.number for layer in fed.layers] == list(range(len(network.layers)))
    assert [layer.name for layer in fed.running(["root"])] == ["fork", "sum", "rsqrt"]
    assert fed.text == network.text


def test_inputs_are_inputs_already() -> None:
    network = graphs.network(*graphs.DEMODULATION)
    assert network.fed({"in0": None}) is network
    assert network.fed({}) is network


def test_boxes_of_a_prior_depend_on_shapes_alone() -> None:
    net = graphs.network(
        "Split fork in0 left right",
        "PriorBox boxes left sizes",
        "Reshape flat sizes out0",
        "ReLU relu right out1",
    )
    assert net.depending == {"in0", "left", "right", "out1"}
