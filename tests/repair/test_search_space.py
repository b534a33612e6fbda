"""From red layers to where a search for masks starts: closed regions, and bits that may do."""

from __future__ import annotations

import pytest
from graphs import CHAIN, COPIED, DEMODULATION, RESIDUAL, network

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.masks import strong_mask, unsafe_on_vulkan, weak_mask
from pytest_ncnn_parity.repair import search_space
from pytest_ncnn_parity.repair.problem import Fault, Profile
from pytest_ncnn_parity.repair.search import Space

VULKAN = Setup("vulkan", "fp16")
OUTPUT_TOLERANCE = 0.04


def space(
    graph: Graph,
    *faults: Fault,
    candidate: Setup | None = VULKAN,
    sensitivity: dict[str, float] | None = None,
    fp32: str = "",
    **absmax: float,
) -> Space:
    """The space, for blobs that reach `absmax` and small ones elsewhere."""
    values = {blob: absmax.get(blob, 1.0) for blob in graph.producer}
    number = {name: layer.number for name, layer in graph.names.items()}
    profile = Profile(
        values,
        {number[name]: share for name, share in (sensitivity or {}).items()},
        frozenset(number[name] for name in fp32.split()),
    )
    return search_space.space(graph, faults, profile, candidate, OUTPUT_TOLERANCE)


def named(graph: Graph, masks: dict[int, int]) -> dict[str, int]:
    return {graph.layers[number].name: mask for number, mask in masks.items()}


def seed(graph: Graph, *faults: Fault, **about: object) -> dict[str, int]:
    return named(graph, dict(space(graph, *faults, **about).seed))  # type: ignore[arg-type]


def required(graph: Graph, *faults: Fault, **about: object) -> dict[str, int]:
    return named(graph, dict(space(graph, *faults, **about).required))  # type: ignore[arg-type]


# -- regions -------------------------------------------------------------------------------------


def test_an_overflow_pulls_in_the_maker_and_every_reader() -> None:
    graph = network(*DEMODULATION)
    fault = Fault(graph.names["sum"], "storage-overflow")
    assert seed(graph, fault, total=2.25e6) == {"sum": 18, "rsqrt": 18}


@pytest.mark.parametrize(
    ("candidate", "mask"),
    [
        (VULKAN, 16),
        (None, 16),
        (Setup("vulkan", "bf16"), 20),
        (Setup("cpu", "bf16"), 4),
        (Setup("cpu", "fp16"), 2),
    ],
)
def test_integers_are_fixed_where_they_are_handed_on(candidate: Setup | None, mask: int) -> None:
    graph = network("Split fork in0 a b", "Embed tok a x", "Embed pos b out0")
    fault = Fault(graph.names["fork"], "precision", integers=True)
    assert seed(graph, fault, candidate=candidate) == {"fork": mask}


def test_a_region_goes_through_a_split_to_all_its_readers() -> None:
    graph = network(*DEMODULATION)
    fault = Fault(graph.names["scale"], "storage-overflow")
    masks = seed(graph, fault, big=7e4, left=7e4, right=7e4, total=2.25e6)
    assert masks == dict.fromkeys(["scale", "fork", "sum", "rsqrt", "mul"], 18)


def test_a_region_takes_both_sides_of_a_residual() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], "storage-overflow")
    assert seed(graph, fault, wide=1e5, held=1e5, joined=1e5) == dict.fromkeys(
        ["conv", "relu", "add", "prob"], 18
    )
    assert seed(graph, fault, wide=1e5) == dict.fromkeys(["conv", "relu"], 18)


def test_a_region_ends_where_the_values_fit_again() -> None:
    graph = network(*CHAIN)
    fault = Fault(graph.names["a"], "storage-overflow")
    assert seed(graph, fault, b1=65519.0) == {"a": 18}  # rounds to 65504
    assert seed(graph, fault, b1=65520.0) == {"a": 18, "b": 18}  # rounds to inf


def test_an_input_beyond_fp16_masks_its_readers_and_never_itself() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["in0"], "storage-overflow")
    masks = seed(graph, fault, in0=1e5, left=1e5, right=1e5)
    assert masks == dict.fromkeys(["fork", "conv", "add"], 18)


def test_one_overflow_pulls_in_every_region_of_the_network() -> None:
    """A second one was skipped as 'input not representable', and would be the next red layer."""
    graph = network(*CHAIN)
    fault = Fault(graph.names["a"], "storage-overflow")
    assert seed(graph, fault, b1=1e5, b4=1e5) == dict.fromkeys(["a", "b", "d", "e"], 18)


def test_nan_is_treated_as_an_overflow_inside() -> None:
    graph = network(*RESIDUAL)
    assert seed(graph, Fault(graph.names["conv"], "nan")) == {"conv": 18}


def test_large_values_without_an_overflow_are_left_alone() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], "accumulator-overflow", without_arithmetic=True)
    assert seed(graph, fault, wide=1e5) == {"conv": 1}


# -- which bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["accumulator-overflow", "precision", "nan"])
def test_what_is_right_without_fp16_arithmetic_loses_just_that(cause: str) -> None:
    graph = network(*RESIDUAL)
    assert seed(graph, Fault(graph.names["conv"], cause, without_arithmetic=True)) == {"conv": 1}


def test_a_value_beyond_fp16_is_not_fixed_by_arithmetic_alone() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], "storage-overflow", without_arithmetic=True)
    assert seed(graph, fault, wide=1e5) == {"conv": 18, "relu": 18}


@pytest.mark.parametrize("cause", ["precision", "device", "shader", "nondeterministic"])
def test_what_arithmetic_does_not_fix_leaves_the_device(cause: str) -> None:
    graph = network(*RESIDUAL)
    assert seed(graph, Fault(graph.names["conv"], cause)) == {"conv": 18}


def test_faults_of_several_kinds_are_fixed_together() -> None:
    graph = network(*RESIDUAL, relu=2)
    faults = [
        Fault(graph.names["conv"], "storage-overflow"),
        Fault(graph.names["relu"], "unsafe-mask"),
        Fault(graph.names["prob"], "accumulator-overflow", without_arithmetic=True),
    ]
    searched = space(graph, *faults, wide=1e5)
    assert named(graph, dict(searched.seed)) == {"conv": 18, "relu": 18, "prob": 1}
    assert named(graph, dict(searched.required)) == {"relu": 16}
    assert seed(graph, *faults, wide=1e5, joined=1e5) == {
        "conv": 18, "relu": 18, "add": 18, "prob": 19,
    }  # fmt: skip


@pytest.mark.parametrize(
    "setup", [VULKAN, Setup("vulkan", "bf16"), Setup("vulkan"), Setup("cpu", "fp16"), None], ids=str
)
def test_the_bits_are_those_the_candidate_has(setup: Setup | None) -> None:
    graph = network(*RESIDUAL)
    strong, weak = strong_mask(setup), weak_mask(setup)
    searched = space(graph, Fault(graph.names["conv"], "precision"), candidate=setup)
    assert searched.strong == strong
    assert set(map(tuple, searched.light.values())) == {() if weak is None else (weak,)}
    assert named(graph, dict(searched.seed)) == {"conv": strong}
    cured = Fault(graph.names["conv"], "precision", without_arithmetic=True)
    predicted = setup is None  # there is no other run to ask: the prediction itself names the bit
    assert seed(graph, cured, candidate=setup) == ({"conv": 1} if predicted or weak else {})


# -- winograd ------------------------------------------------------------------------------------

CONVOLUTIONS = (
    "Convolution wide in0 a 0=32 1=3 4=1 6=9216",
    "Convolution strided a b 0=32 1=3 3=2 6=9216",
    "Convolution point b out0 0=32 1=1 6=1024",
)


def light(graph: Graph, **about: object) -> dict[str, list[int]]:
    masks = space(graph, **about).light  # type: ignore[arg-type]
    return {graph.layers[number].name: list(some) for number, some in masks.items()}


def test_what_may_run_winograd_may_lose_it() -> None:
    assert light(network(*CONVOLUTIONS)) == {"wide": [64, 1, 65], "strided": [1], "point": [1]}


@pytest.mark.parametrize(
    "setup", [Setup("vulkan"), Setup("cpu", "bf16"), Setup("vulkan", "fp16-storage")], ids=str
)
def test_it_may_without_fp16_arithmetic_too(setup: Setup) -> None:
    assert light(network(*CONVOLUTIONS), candidate=setup) == {"wide": [64], "strided": [], "point": []}


def test_that_is_not_tried_where_it_cannot_help() -> None:
    assert light(network(*CONVOLUTIONS), a=1e5)["wide"] == [1], "its result is beyond fp16 itself"
    assert light(network(*CONVOLUTIONS, wide=64))["wide"] == [1], "it has lost it already"
    assert light(network(*CONVOLUTIONS), candidate=None)["wide"] == [], "nothing is run"


def test_values_beyond_fp16_are_no_matter_to_fp32() -> None:
    assert light(network(*CONVOLUTIONS), candidate=Setup("vulkan"), a=1e5)["wide"] == [64]


def test_what_is_right_without_winograd_loses_just_that() -> None:
    graph = network(*CONVOLUTIONS)
    cured = Fault(graph.names["wide"], "nan", without_winograd=True)
    assert seed(graph, cured) == {"wide": 64}
    either = Fault(graph.names["wide"], "precision", without_arithmetic=True, without_winograd=True)
    assert seed(graph, either) == {"wide": 64}
    beyond = Fault(graph.names["wide"], "storage-overflow", without_winograd=True)
    assert seed(graph, beyond, a=1e5) == {"wide": 18, "strided": 18}


def test_a_prediction_names_the_kernel_that_is_to_go() -> None:
    graph = network(*CONVOLUTIONS)
    wide, point = graph.names["wide"], graph.names["point"]
    faults = [
        Fault(wide, "winograd-overflow", without_winograd=True),
        Fault(point, "headroom", without_arithmetic=True),
    ]
    assert seed(graph, *faults, candidate=None) == {"wide": 64, "point": 1}
    lights = space(graph, *faults, candidate=None).light
    assert {graph.layers[n].name: list(some) for n, some in lights.items()} == {
        "wide": [64], "strided": [], "point": [1],
    }  # fmt: skip


def test_what_comes_too_near_takes_its_readers_along() -> None:
    graph = network(*CONVOLUTIONS)
    near = Fault(graph.names["wide"], "headroom", near=True)
    assert seed(graph, near, candidate=None) == {"wide": 18, "strided": 18}
    both = Fault(graph.names["wide"], "headroom", near=True, without_winograd=True)
    assert seed(graph, both, candidate=None) == {"wide": 82, "strided": 18}


def test_where_nothing_is_pointed_at_arithmetic_goes_first_and_then_winograd() -> None:
    starts = space(network(*CONVOLUTIONS)).starts
    assert [(name, dict(masks)) for name, masks in starts] == [
        ("every layer without fp16 arithmetic", {1: 1, 2: 1, 3: 1}),
        ("every layer without fp16 arithmetic and winograd", {1: 65, 2: 1, 3: 1}),
    ]
    assert [name for name, _ in space(network(*CHAIN)).starts] == ["every layer without fp16 arithmetic"]
    fp32 = space(network(*CONVOLUTIONS), candidate=Setup("vulkan")).starts
    assert [(name, dict(masks)) for name, masks in fp32] == [("every layer without winograd", {1: 64})]


# -- what a mask must be -------------------------------------------------------------------------


@pytest.mark.parametrize("own", [2, 3])
def test_an_unsafe_mask_moves_its_layer_to_the_cpu(own: int) -> None:
    graph = network(*RESIDUAL, conv=own)
    fault = Fault(graph.names["conv"], "unsafe-mask", died=own == 2)
    assert unsafe_on_vulkan(graph.names["conv"].mask, "fp16")
    assert required(graph, fault) == {"conv": 16}
    assert seed(graph, fault) == {}
    assert not unsafe_on_vulkan(graph.names["conv"].mask | 16, "fp16")


@pytest.mark.parametrize("setup", [VULKAN, Setup("vulkan"), Setup("vulkan", "bf16")], ids=str)
def test_a_layer_that_killed_the_worker_on_the_gpu_leaves_it(setup: Setup) -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["add"], "crash", died=True)
    assert required(graph, fault, candidate=setup) == {"add": 16}
    assert seed(graph, fault, candidate=setup) == {}


def test_nothing_is_required_on_a_cpu() -> None:
    graph = network(*RESIDUAL, conv=2)
    faults = [Fault(graph.names["add"], "crash", died=True), Fault(graph.names["conv"], "unsafe-mask")]
    assert required(graph, *faults, candidate=Setup("cpu", "fp16")) == {}


def test_a_mask_that_misreads_its_input_is_followed_up_to_the_maker() -> None:
    graph = network(*RESIDUAL, relu=18)
    fault = Fault(graph.names["relu"], "unsafe-mask", misread="wide")
    for candidate, bits in ((Setup("cpu", "fp16"), 2), (VULKAN, 18)):
        assert seed(graph, fault, candidate=candidate) == {"conv": bits}
        assert required(graph, fault, candidate=candidate) == {}


# -- underflow -----------------------------------------------------------------------------------


def test_underflow_masks_the_way_from_the_maker_to_the_reader_that_breaks() -> None:
    graph = network(*COPIED)
    fault = Fault(graph.names["prob"], "underflow", reader="log")
    assert seed(graph, fault) == dict.fromkeys(["prob", "fork", "shape", "log"], 18)


def test_underflow_leaves_readers_alone_that_can_do_without() -> None:
    graph = network(*COPIED)
    fault = Fault(graph.names["prob"], "underflow", reader="relu")
    assert seed(graph, fault) == dict.fromkeys(["prob", "fork", "crop", "relu"], 18)


def test_a_difference_that_is_lost_masks_the_makers_of_its_terms_as_well() -> None:
    graph = network(*COPIED)
    fault = Fault(graph.names["log"], "underflow", reader="", cancels=True)
    assert seed(graph, fault) == dict.fromkeys(["prob", "fork", "shape", "log"], 18)


# -- outputs that are red alone ------------------------------------------------------------------


def test_red_outputs_alone_point_at_what_rounded_inputs_put_off_and_its_makers() -> None:
    graph = network(*RESIDUAL)
    assert seed(graph, sensitivity={"add": 0.03}) == dict.fromkeys(["fork", "relu", "add"], 18)
    assert seed(graph, sensitivity={"fork": 0.03}) == {"fork": 18}, "the maker is the input"
    assert seed(graph, sensitivity={"add": OUTPUT_TOLERANCE / 2}) == {}, (
        "half of what an output may be off is allowed"
    )


def test_where_a_layer_is_red_others_that_lose_are_left_alone() -> None:
    graph = network(*RESIDUAL)
    fault = Fault(graph.names["conv"], "precision")
    assert seed(graph, fault, sensitivity={"add": 1.0}) == {"conv": 18}


def test_no_fault_no_seed() -> None:
    assert seed(network(*RESIDUAL), wide=1e5) == {}


# -- what there is to choose from ----------------------------------------------------------------


def test_every_layer_that_computes_may_be_masked() -> None:
    graph = network(*RESIDUAL)
    assert [graph.layers[n].name for n in space(graph).layers] == ["fork", "conv", "relu", "add", "prob"]


def test_what_runs_on_the_cpu_in_fp32_already_needs_no_mask() -> None:
    graph = network(*DEMODULATION)
    fault = Fault(graph.names["sum"], "storage-overflow")
    searched = space(graph, fault, total=2.25e6, fp32="sum conv")
    assert [graph.layers[n].name for n in searched.layers] == ["scale", "fork", "rsqrt", "mul"]
    assert named(graph, dict(searched.seed)) == {"rsqrt": 18}


def test_masks_already_there_are_no_matter() -> None:
    """The search adds bits to a layer's own."""
    bare, masked = network(*DEMODULATION), network(*DEMODULATION, sum=1, rsqrt=64, conv=32)
    spaces = [space(g, Fault(g.names["sum"], "storage-overflow"), total=1e6) for g in (bare, masked)]
    assert spaces[0].seed == spaces[1].seed == {3: 18, 4: 18}


def test_neighbours_are_those_a_layer_reads_from_and_is_read_by() -> None:
    graph = network(*RESIDUAL)
    around = {
        graph.layers[n].name: sorted(graph.layers[m].name for m in near)
        for n, near in space(graph).neighbours.items()
    }
    assert around == {
        "in0": ["fork"],
        "fork": ["add", "conv", "in0"],
        "conv": ["fork", "relu"],
        "relu": ["add", "conv"],
        "add": ["fork", "prob", "relu"],
        "prob": ["add"],
    }
