"""What masks cost: trips between GPU and CPU, layers off the GPU, milliseconds."""

from __future__ import annotations

import pytest
from graphs import CHAIN, RESIDUAL, network

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.param import parse
from pytest_ncnn_parity.repair import search_space
from pytest_ncnn_parity.repair.cost import Cost, cost, crossings
from pytest_ncnn_parity.repair.problem import Profile
from pytest_ncnn_parity.repair.search import Masks

pytestmark = pytest.mark.once

# a Split, whose copies are read on both sides of what is masked
FORKED = (
    "ReLU first in0 x",
    "Split fork x left right",
    "ReLU near left a",
    "ReLU far right b",
    "BinaryOp add a,b out0",
)
TWO_INPUTS = """\
7767517
5 5
Input    in0   0 1 in0
Input    in1   0 1 in1
BinaryOp add   2 1 in0 in1 sum
BinaryOp again 2 1 in0 sum out0
ReLU     relu  1 1 in1 out1
"""


def where(graph: Graph, *on_cpu: str) -> list[str]:
    """Everything on the GPU, as ncnn says it of an Input layer too, but the layers named."""
    return ["cpu" if layer.name in on_cpu else "vulkan" for layer in graph.layers]


def crossed(graph: Graph, *on_cpu: str) -> tuple[int, int]:
    return crossings(graph, where(graph, *on_cpu))


# -- trips ---------------------------------------------------------------------------------------


def test_a_run_on_the_gpu_uploads_its_input_and_downloads_its_output() -> None:
    assert crossed(network(*CHAIN)) == (1, 1)
    assert crossed(network(*CHAIN), "in0") == (1, 1)


def test_a_run_on_the_cpu_crosses_nothing() -> None:
    assert crossed(network(*CHAIN), "a", "b", "c", "d", "e") == (0, 0)


@pytest.mark.parametrize(
    ("on_cpu", "trips"),
    [
        ("a", (1, 1)),  # the input is where it is read
        ("e", (1, 1)),  # and so is the output
        ("c", (2, 2)),
        ("b c d", (2, 2)),
        ("b d", (3, 3)),
        ("a c e", (2, 2)),
    ],
)
def test_each_region_on_the_cpu_is_a_trip_there_and_back(on_cpu: str, trips: tuple[int, int]) -> None:
    assert crossed(network(*CHAIN), *on_cpu.split()) == trips


@pytest.mark.parametrize(
    ("on_cpu", "trips"),
    [
        ("near", (2, 2)),
        ("near far", (3, 3)),  # each copy of a Split is a blob of its own
        ("fork near far", (3, 2)),
        ("fork", (3, 2)),
        ("near far add", (1, 2)),
        ("fork near far add", (1, 1)),
    ],
)
def test_copies_of_a_split_cross_one_by_one(on_cpu: str, trips: tuple[int, int]) -> None:
    assert crossed(network(*FORKED), *on_cpu.split()) == trips


def test_a_value_read_twice_on_the_other_side_crosses_once() -> None:
    graph = network("ReLU a in0 x", "ReLU b x y", "ReLU c x z")
    assert crossed(graph, "b", "c") == (1, 1)
    assert crossed(graph, "b") == crossed(graph, "c") == (1, 2), "x, and the other one's output"
    assert crossed(graph, "a") == (1, 2)


def test_inputs_are_on_the_cpu_wherever_they_are_read() -> None:
    graph = parse(TWO_INPUTS, "net.param")
    assert crossed(graph) == (2, 2)
    assert crossed(graph, "add") == (3, 2), "in0, in1 and the sum"
    assert crossed(graph, "add", "relu") == (2, 1), "in0 is read on both sides"
    assert crossed(graph, "add", "again") == (1, 1)


# -- before and after ----------------------------------------------------------------------------


def test_cost_is_medians_and_what_has_moved() -> None:
    graph = network(*CHAIN)
    before = ([9.0, 1.0, 2.0], where(graph, "e"))
    after = ([3.0, 30.0, 4.0, 5.0], where(graph, "b", "c", "e"))
    assert cost(graph, before, after) == Cost(
        before_ms=2.0,
        after_ms=4.5,
        rounds=3,
        moved=2,
        left=2,
        uploads=(1, 2),
        downloads=(1, 2),
    )


def test_masks_that_take_arithmetic_alone_move_nothing() -> None:
    graph = network(*CHAIN)
    measured = cost(graph, ([1.0], where(graph)), ([1.5], where(graph)))
    assert (measured.moved, measured.left) == (0, 5)
    assert (measured.uploads, measured.downloads) == ((1, 1), (1, 1))


def test_what_the_gpu_never_ran_has_not_moved() -> None:
    graph = network(*CHAIN)
    measured = cost(graph, ([1.0], where(graph, "a", "b")), ([1.0], where(graph, "b", "c")))
    assert (measured.moved, measured.left) == (1, 3)


# -- the price by which the search chooses -------------------------------------------------------


def price(graph: Graph, masks: Masks) -> float:
    space = search_space.space(graph, [], Profile({}), Setup("vulkan", "fp16"), 0.04)
    return space.price(masks)


def test_a_mask_that_leaves_a_layer_on_the_gpu_is_the_cheapest() -> None:
    graph = network(*CHAIN)
    prices = [price(graph, masks) for masks in ({3: 1}, {2: 1, 3: 64}, {3: 18}, {3: 19, 4: 65})]
    assert prices == sorted(set(prices))


def test_neighbours_off_the_gpu_cost_less_than_two_trips() -> None:
    graph = network(*CHAIN)
    assert price(graph, {3: 18}) < price(graph, {3: 18, 4: 18}) < price(graph, {2: 18, 4: 18})


def test_a_layer_is_the_dearer_the_more_it_reads_and_is_read() -> None:
    graph = network(*RESIDUAL)
    fork, conv, relu, add = 1, 2, 3, 4
    assert price(graph, {conv: 18}) < price(graph, {add: 18}) < price(graph, {fork: 18, add: 18})
    assert price(graph, {conv: 18, relu: 18}) < price(graph, {add: 18})
