"""From red layers to masks worth a run: closed regions, the cheapest bits, and no mask for nothing."""

from itertools import pairwise

import pytest

from pytest_ncnn_parity import param
from pytest_ncnn_parity.param import Graph, parse
from pytest_ncnn_parity.repair import CURABLE, Fault, Proposal, Range, proposals

# x*1500 -> Split -> Reduction sumsq -> rsqrt -> mul, the case of GFPGAN
DEMODULATION = (
    "BinaryOp scale in0 big",
    "Split fork big left right",
    "Reduction sum left total",
    "UnaryOp rsqrt total root",
    "BinaryOp mul right,root scaled",
    "Convolution conv scaled out0",
)
# two branches of one input meet again
RESIDUAL = (
    "Split fork in0 left right",
    "Convolution conv left wide",
    "ReLU relu wide held",
    "BinaryOp add right,held joined",
    "Softmax prob joined out0",
)
# tiny values pass two copies on their way to the reader that cannot do without them
COPIED = (
    "Softmax prob in0 tiny",
    "Split fork tiny left right",
    "Reshape shape left flat",
    "Crop crop right part",
    "UnaryOp log flat out0",
    "ReLU relu part out1",
)


def network(*lines: str, **masks: int) -> Graph:
    """A network of lines `Type name inputs outputs...`, several inputs joined by commas."""
    made = ["Input in0 0 1 in0"]
    for line in lines:
        kind, name, inputs, *outputs = line.split()
        blobs = [*inputs.split(","), *outputs]
        counts = f"{len(blobs) - len(outputs)} {len(outputs)}"
        made.append(f"{kind} {name} {counts} {' '.join(blobs)} 31={masks.get(name, 0)}")
    return parse("\n".join(["7767517", f"{len(made)} 99", *made]), "net.param")


def tried(graph: Graph, *faults: Fault, **absmax: float) -> list[Proposal]:
    """The proposals, for blobs that reach `absmax` and small ones elsewhere."""
    values = {blob: Range(absmax.get(blob, 1.0), 0) for blob in graph.producer}
    return list(proposals(graph, faults, values))


def first(graph: Graph, *faults: Fault, **absmax: float) -> dict[str, int]:
    return dict(tried(graph, *faults, **absmax)[0].masks)


# -- regions -------------------------------------------------------------------------------------


def test_an_overflow_pulls_in_the_maker_and_every_reader() -> None:
    graph = network(*DEMODULATION)
    fault = Fault(graph.names["sum"], "storage-overflow")
    assert first(graph, fault, total=2.25e6) == {"sum": 18, "rsqrt": 18}


def test_a_region_goes_through_a_split_to_all_its_readers() -> None:
    graph = network(*DEMODULATION)
    fault = Fault(graph.names["scale"], "storage-overflow")
    masks = first(graph, fault, big=7e4, left=7e4, right=7e4, total=2.25e6)
    assert masks == dict.fromkeys(["scale", "fork", "sum", "rsqrt", "mul"], 18)


def test_a_region_takes_both_sides_of_a_residual() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], "storage-overflow")
    assert first(graph, fault, wide=1e5, held=1e5, joined=1e5) == dict.fromkeys(
        ["conv", "relu", "add", "prob"], 18
    )
    assert first(graph, fault, wide=1e5) == dict.fromkeys(["conv", "relu"], 18)


def test_a_region_ends_where_the_values_fit_again() -> None:
    graph = network("ReLU a in0 b1", "ReLU b b1 b2", "ReLU c b2 b3", "ReLU d b3 b4")
    fault = Fault(graph.names["a"], "storage-overflow")
    assert first(graph, fault, b1=65519.0) == {"a": 18}  # rounds to 65504
    assert first(graph, fault, b1=65520.0) == {"a": 18, "b": 18}  # rounds to inf


def test_an_input_beyond_fp16_masks_its_readers_and_never_itself() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["in0"], "storage-overflow")
    masks = first(graph, fault, in0=1e5, left=1e5, right=1e5)
    assert masks == dict.fromkeys(["fork", "conv", "add"], 18)


def test_one_overflow_pulls_in_every_region_of_the_network() -> None:
    """A second one was skipped as 'input not representable', and would be the next red layer."""
    graph = network("ReLU a in0 b1", "ReLU b b1 b2", "ReLU c b2 b3", "ReLU d b3 b4", "ReLU e b4 b5")
    fault = Fault(graph.names["a"], "storage-overflow")
    assert first(graph, fault, b1=1e5, b4=1e5) == dict.fromkeys(["a", "b", "d", "e"], 18)


def test_nan_is_treated_as_an_overflow_inside() -> None:
    graph = network(*RESIDUAL)
    assert first(graph, Fault(graph.names["conv"], "nan")) == {"conv": 18}


def test_large_values_without_an_overflow_are_left_alone() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], "accumulator-overflow", without_arithmetic=True)
    assert first(graph, fault, wide=1e5) == {"conv": 1}


# -- the cheapest bits ---------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["accumulator-overflow", "precision", "nan"])
def test_what_is_right_without_fp16_arithmetic_loses_just_that(cause: str) -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], cause, without_arithmetic=True)
    assert fault.curable
    assert first(graph, fault) == {"conv": 1}


def test_a_value_beyond_fp16_is_not_cured_by_arithmetic_alone() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], "storage-overflow", without_arithmetic=True)
    assert first(graph, fault, wide=1e5) == {"conv": 18, "relu": 18}


@pytest.mark.parametrize(("own", "cured"), [(2, 18), (3, 19)])
def test_an_unsafe_mask_moves_its_layer_to_the_cpu(own: int, cured: int) -> None:
    graph = network(*RESIDUAL, conv=own)
    assert param.unsafe_on_vulkan(graph.names["conv"].mask)
    assert first(graph, Fault(graph.names["conv"], "unsafe-mask")) == {"conv": cured}
    assert not param.unsafe_on_vulkan(graph.with_masks({"conv": cured}).names["conv"].mask)


def test_faults_of_several_kinds_are_cured_together() -> None:
    graph = network(*RESIDUAL, relu=2)
    faults = [
        Fault(graph.names["conv"], "storage-overflow"),
        Fault(graph.names["relu"], "unsafe-mask"),
        Fault(graph.names["prob"], "accumulator-overflow", without_arithmetic=True),
    ]
    assert first(graph, *faults, wide=1e5) == {"conv": 18, "relu": 18, "prob": 1}
    assert first(graph, *faults, wide=1e5, joined=1e5) == {
        "conv": 18, "relu": 18, "add": 18, "prob": 19,
    }  # fmt: skip


def test_masks_already_there_are_or_ed() -> None:
    graph = network(*DEMODULATION, sum=1, rsqrt=64, conv=32)
    fault = Fault(graph.names["sum"], "storage-overflow")
    assert first(graph, fault, total=1e6) == {"sum": 19, "rsqrt": 82}
    both = [fault, Fault(graph.names["conv"], "precision", without_arithmetic=True)]
    assert first(graph, *both, total=1e6) == {"sum": 19, "rsqrt": 82, "conv": 33}


# -- underflow -----------------------------------------------------------------------------------


def test_underflow_masks_the_way_from_the_maker_to_the_reader_that_breaks() -> None:
    graph = network(*COPIED)
    fault = Fault(graph.names["prob"], "underflow", reader="log")
    assert first(graph, fault) == dict.fromkeys(["prob", "fork", "shape", "log"], 18)


def test_underflow_leaves_readers_alone_that_can_do_without() -> None:
    graph = network(*COPIED)
    fault = Fault(graph.names["prob"], "underflow", reader="relu")
    assert first(graph, fault) == dict.fromkeys(["prob", "fork", "crop", "relu"], 18)


# -- what is tried, in which order ---------------------------------------------------------------


def test_the_region_grows_by_a_layer_on_each_side_while_it_does_not_help() -> None:
    chain = [f"ReLU r{i} b{i} b{i + 1}" for i in range(1, 7)]
    graph = network("ReLU r0 in0 b1", *chain)
    grown = tried(graph, Fault(graph.names["r3"], "storage-overflow"))
    assert [sorted(p.masks) for p in grown] == [
        ["r3"],
        ["r2", "r3", "r4"],
        ["r1", "r2", "r3", "r4", "r5"],
    ]
    assert all(p.why for p in grown)


def test_nothing_is_tried_twice() -> None:
    graph = network("ReLU a in0 b1", "ReLU b b1 b2")
    grown = tried(graph, Fault(graph.names["a"], "storage-overflow"), b1=1e5)
    assert [dict(p.masks) for p in grown] == [{"a": 18, "b": 18}]


def test_each_proposal_keeps_the_masks_of_the_one_before() -> None:
    graph = network(*DEMODULATION, conv=5)
    grown = tried(graph, Fault(graph.names["sum"], "storage-overflow"), total=1e6)
    for small, large in pairwise(grown):
        assert all(large.masks[name] & mask == mask for name, mask in small.masks.items())
    for proposal in grown:
        patched = graph.with_masks(proposal.masks)
        assert {name: patched.names[name].mask for name in proposal.masks} == proposal.masks


@pytest.mark.parametrize("cause", ["device", "precision", "crash", "timeout", "shader", "load"])
def test_what_no_mask_cures_gets_none(cause: str) -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], cause)
    assert not fault.curable
    assert tried(graph, fault, wide=1e5) == []


def test_every_curable_cause_gets_a_proposal() -> None:
    graph = network(*RESIDUAL, conv=2)
    for cause in CURABLE:
        arithmetic = cause == "accumulator-overflow"
        fault = Fault(graph.names["conv"], cause, arithmetic, reader="relu")
        assert fault.curable
        assert "conv" in first(graph, fault), cause


def test_no_fault_no_mask() -> None:
    assert tried(network(*RESIDUAL), wide=1e5) == []
