"""Which shapes may be fed where the Input line and the weights do not agree."""

from __future__ import annotations

import pytest
from written_graphs import fed

from pytest_ncnn_parity.network.param import parse
from pytest_ncnn_parity.network.shapes.fed import at_odds, misfit
from pytest_ncnn_parity.network.shapes.flow import flow
from pytest_ncnn_parity.network.shapes.search import overruled

CONVOLUTION = "Convolution conv 1 1 in0 out0 0=10 1=3 6=270"
OLD_ORDER = fed(CONVOLUTION, size="0=3 1=12 2=12")  # 3 channels of 12x12, read as 12 of 12x3


def test_the_weights_overrule_an_input_line_of_old_converters() -> None:
    assert str(at_odds(OLD_ORDER, "in0", (12, 12, 3))) == (
        "conv (Convolution) gets [12, 12, 3], of 12 channels; its weights are for 3"
    )
    assert misfit(OLD_ORDER, "in0", (3, 12, 12)) == ""
    assert misfit(OLD_ORDER, "in0", (3, 24, 20)) == ""


def test_what_fits_neither_is_reported_with_both_reasons() -> None:
    assert misfit(OLD_ORDER, "in0", (4, 12, 12)) == (
        "shape [4, 12, 12] has other channels than the network's Input line, [12, 12, 3]; "
        "conv (Convolution) gets [4, 12, 12], of 4 channels; its weights are for 3"
    )


def test_an_input_line_that_the_weights_agree_with_is_not_overruled() -> None:
    right = fed(CONVOLUTION, size="0=12 1=12 2=3")
    assert misfit(right, "in0", (3, 5, 7)) == ""
    for shape in ((4, 12, 12), (12, 12), (12, 12, 3)):
        assert "than the network's Input line, [3, 12, 12]" in misfit(right, "in0", shape)


@pytest.mark.parametrize(
    "layers",
    [
        ("Concat both 2 1 a b x 0=0", "Convolution conv 1 1 x out0 0=8 1=3 6=432"),
        ("BinaryOp both 2 1 a b x 0=1", "Convolution conv 1 1 x out0 0=8 1=3 6=216"),
    ],
)
@pytest.mark.parametrize(("of_a", "of_b"), [("old", "old"), ("new", "old"), ("new", "new")])
def test_lines_that_contradict_the_weights_only_together_are_overruled_as_well(
    layers: tuple[str, str], of_a: str, of_b: str
) -> None:
    """Two pictures of 3 channels, one or both of them in the order of old converters."""
    sizes = {"old": "0=3 1=32 2=30", "new": "0=30 1=32 2=3"}
    read = [f"Input {blob} 0 1 {blob} {sizes[order]}" for blob, order in (("a", of_a), ("b", of_b))]
    graph = parse("\n".join(["7767517", "4 9", *read, *layers]), "net.param")
    for blob, order in (("a", of_a), ("b", of_b)):
        assert (at_odds(graph, blob, graph.shapes[blob]) is not None) is (order == "old")
        assert misfit(graph, blob, (3, 32, 30)) == misfit(graph, blob, (3, 48, 64)) == ""
        if of_a == of_b:
            assert "than the network's Input line" in misfit(graph, blob, (4, 32, 30))


def test_a_batch_is_refused_whatever_the_line_says() -> None:
    assert "starts with a batch of 1" in misfit(OLD_ORDER, "in0", (1, 3, 12, 12))


@pytest.mark.parametrize(
    ("line", "layers", "shape", "fits"),
    [
        ("0=1 1=1 2=784", ["InnerProduct fc 1 1 in0 out0 0=10 2=7840"], (784,), False),  # both do
        ("0=28 1=30", ["InnerProduct fc 1 1 in0 out0 0=10 2=7840"], (784,), True),
        ("0=80 1=100", ["Convolution1D conv 1 1 in0 out0 0=8 1=3 6=1920"], (80, 100), True),
        ("0=3 1=40 2=40", ["BatchNorm bn 1 1 in0 a 0=3", "Convolution conv 1 1 a out0 0=8 1=1 6=24"]
         , (3, 40, 40), True),
    ],
)  # fmt: skip
def test_any_weights_count(line: str, layers: list[str], shape: tuple[int, ...], fits: bool) -> None:
    assert (misfit(fed(*layers, size=line), "in0", shape) == "") is fits


def test_a_layer_behind_the_first_weights_overrules_as_well() -> None:
    """A line of 60x60 where a window only fits what 80x80 leaves."""
    graph = fed(
        "Pooling half 1 1 in0 a 0=0 1=16 2=16",
        "ConvolutionDepthWise window 1 1 a out0 0=3 1=5 6=75 7=3",
        size="0=60 1=60 2=3",
    )
    assert at_odds(graph, "in0", (3, 60, 60)).layer.name == "window"
    assert at_odds(graph, "in0", (3, 80, 80)) is None


# -- an Input line that gives way -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "layer", "shape"),
    [
        ("0=3 1=12 2=12", CONVOLUTION, (3, 12, 12)),
        ("0=12 1=12 2=4", CONVOLUTION, (3, 12, 12)),  # as of another network
        ("0=3 1=12 2=20", "ConvolutionDepthWise dw 1 1 in0 out0 0=3 1=3 6=27 7=3", (3, 12, 20)),
        ("0=3 1=12 2=12", "Deconvolution up 1 1 in0 out0 0=8 1=2 6=96", (3, 12, 12)),
        ("0=80 1=100", "Convolution1D conv 1 1 in0 out0 0=8 1=3 6=2400", None),  # it fits
        ("0=100 1=80", "Convolution1D conv 1 1 in0 out0 0=8 1=3 6=2400", (100, 80)),
        ("0=40 1=80", "Convolution1D conv 1 1 in0 out0 0=8 1=3 6=2400", (100, 40)),
        ("0=12", "InnerProduct fc 1 1 in0 out0 0=10 2=200", (20,)),
        ("0=20 1=7", "Gemm gemm 1 1 in0 out0 4=0 5=1 6=1 7=0 8=8 9=20", None),  # rows of 20
        ("0=7 1=20", "Gemm gemm 1 1 in0 out0 3=1 5=1 8=8 9=20", (7, 20)),
        ("0=3 1=7", "Embed tok 1 1 in0 out0 0=4 1=100", None),  # any shape of words will do
        ("0=4 1=4 2=3", "Convolution conv 1 1 in0 out0 0=2 1=5 6=150", None),  # too small, and said so
        ("0=12 1=12 2=12", "Pooling pool 1 1 in0 out0 1=20", None),  # no weights
    ],
)
def test_the_first_weights_decide_what_is_fed_where_the_line_does_not_fit(
    line: str, layer: str, shape: tuple[int, ...] | None
) -> None:
    gives_way = overruled(fed(layer, size=line), "in0")
    assert (gives_way and gives_way.shape) == shape


def test_layers_behind_the_first_weights_do_not_overrule_the_line() -> None:
    """A misfit there is reported at that layer: an error of the file, or the wrong size."""
    graph = fed(CONVOLUTION, "InnerProduct fc 1 1 out0 out1 0=2 2=400", size="0=12 1=12 2=3")
    assert at_odds(graph, "in0", (3, 12, 12)).layer.name == "fc"
    assert overruled(graph, "in0") is None


def test_each_of_two_inputs_gives_way_by_itself() -> None:
    graph = fed(
        "Input in1 0 1 in1 0=3 1=8 2=8",
        "Convolution a 1 1 in0 a 0=8 1=1 6=24",
        "Convolution b 1 1 in1 b 0=8 1=1 6=24",
        "Concat both 2 1 a b out0",
        size="0=3 1=12 2=12",
    )
    assert [overruled(graph, blob).shape for blob in graph.inputs] == [(3, 12, 12), (3, 8, 8)]


# -- the flow of shapes --------------------------------------------------------------------------


def test_the_wrong_line_of_one_input_is_not_held_against_another() -> None:
    line, right = (16, 16, 3), (3, 16, 16)
    graph = fed(
        "Input in1 0 1 in1 0=16 1=16 2=3",
        "Convolution conv 1 1 in0 a 0=8 1=3 4=1 6=216",
        "Convolution other 1 1 in1 b 0=8 1=3 4=1 6=216",
        "BinaryOp sum 2 1 a b out0 0=0",
        size="0=3 1=16 2=16",
    )
    assert at_odds(graph, "in0", line).layer.name == "conv"
    assert at_odds(graph, "in0", right) is None
    assert at_odds(graph, "in1", right) is None
    assert at_odds(graph, "in1", line).layer.name == "other"


def test_shapes_flow_to_the_first_misfit() -> None:
    graph = fed(CONVOLUTION, "ReLU relu 1 1 out0 a", "InnerProduct fc 1 1 a out1 0=2 2=20")
    known = flow(graph, {"in0": (3, 3, 3)})
    assert known.shapes == {"in0": (3, 3, 3), "out0": (10, 1, 1), "a": (10, 1, 1), "out1": (2,)}
    assert known.misfit is None
    assert flow(graph, {"in0": (3, 4, 3)}).misfit.layer.name == "fc"
    assert flow(graph, {"in0": (3, 4, 3)}, last=graph.names["relu"]).misfit is None


def test_behind_an_unknown_shape_everything_fits() -> None:
    graph = fed("OfMyOwn mine 1 1 in0 a", "Convolution conv 1 1 a out0 0=10 1=3 6=270")
    assert flow(graph, {"in0": (5, 5)}).misfit is None
    assert flow(graph, {}).shapes == {}


def test_an_inner_blob_is_fed_over_what_its_layer_makes() -> None:
    graph = fed("ReLU relu 1 1 in0 a", "Convolution conv 1 1 a out0 0=10 1=3 6=270")
    assert flow(graph, {"a": (3, 3, 3)}).shapes["out0"] == (10, 1, 1)
    assert flow(graph, {"in0": (9, 9), "a": (4, 3, 3)}).misfit.layer.name == "conv"
