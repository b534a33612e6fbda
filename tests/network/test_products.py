"""A fully connected layer is found again in whatever operator a converter writes it."""

from __future__ import annotations

from itertools import permutations

import pytest
from written_graphs import named, network

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts

INPUT = "Input in0 0 1 in0 0=32"
PRODUCT = "InnerProduct fc 1 1 {} {} 0=8 1=1 2=256"
WRITTEN = {
    "InnerProduct": (PRODUCT,),
    "Gemm": ("Gemm gemm 1 1 {} {} 2=0 3=1 4=0 5=1 6=1 7=0 8=8 9=32 10=4",),
    "Gemm of columns": ("Gemm gemm 1 1 {} {} 0=0.5 3=0 5=1 6=1 8=8 9=32 10=4",),
    "Convolution": ("Convolution conv 1 1 {} {} 0=8 1=1 5=1 6=256",),
    "MatMul": ("MemoryData weights 0 1 w 0=8 1=32", "MatMul matmul 2 1 {} w {}"),
    "MatMul of rows": ("MemoryData weights 0 1 w 0=32 1=8", "MatMul matmul 2 1 {} w {} 0=1"),
}


def classifier(lines: tuple[str, ...]) -> Graph:
    """A product, its activation, and one more product whose weights are half as many."""
    last = PRODUCT.replace("fc", "last").replace("0=8", "0=4").replace("256", "32")
    lines = tuple(line.format("in0", "a") for line in lines)
    return network(INPUT, *lines, "ReLU relu 1 1 a b", last.format("b", "out0"))


@pytest.mark.parametrize(("own", "other"), [*permutations(WRITTEN, 2)])
def test_a_product_is_judged_by_itself_whatever_its_operator_is(own: str, other: str) -> None:
    found = counterparts(classifier(WRITTEN[own]), classifier(WRITTEN[other]))
    (name, *_), (there, *_) = (lines[-1].split()[1:] for lines in (WRITTEN[own], WRITTEN[other]))
    judged = named(found)
    assert judged[name][0][-1] == there
    assert {"relu", "last"} <= judged.keys()
    assert judged["relu"][0] == ["relu"]
    assert found.restructured == set()


@pytest.mark.parametrize(
    "other",
    [
        "Gemm g 1 1 {} {} 3=1 5=1 6=1 8=8 9=16 10=4",  # fewer inputs
        "Gemm g 1 1 {} {} 2=1 3=1 5=1 6=1 8=8 9=32 10=4",  # of columns
        "Gemm g 1 1 {} {} 3=1 5=1 6=1 7=8 8=8 9=32 10=1",  # a bias for each row
        "Gemm g 1 1 {} {} 3=1 5=1 6=1 8=8 9=32 10=4 14=1",  # the result is transposed
        "Convolution g 1 1 {} {} 0=8 1=1 3=2 5=1 6=256",
        "Convolution g 1 1 {} {} 0=8 1=2 5=1 6=256",
        "Convolution g 1 1 {} {} 0=8 1=1 4=1 5=1 6=256",
    ],
)
def test_what_computes_something_else_is_no_such_product(other: str) -> None:
    found = counterparts(classifier(WRITTEN["InnerProduct"]), classifier((other,)))
    assert "fc" not in named(found)


@pytest.mark.parametrize(("own", "other"), [*permutations(("InnerProduct", "Gemm", "Convolution"), 2)])
def test_a_number_behind_a_product_is_not_folded_into_it(own: str, other: str) -> None:
    """It is folded into the weights of a convolution, so that units differ where it is in neither."""
    graphs = []
    for kind in (own, other):
        (line,) = WRITTEN[kind]
        scaled = "BinaryOp half 1 1 a b 0=2 1=1 2=0.5", "Softmax last 1 1 b out0"
        graphs.append(network(INPUT, line.format("in0", "a"), *scaled))
    judged = named(counterparts(*graphs))
    name = WRITTEN[own][0].split()[1]
    assert judged[name][:2] == ([WRITTEN[other][0].split()[1]], [name])


def test_two_products_in_a_row_may_be_one() -> None:
    """The last has other inputs than the one that computes what both do."""
    last = "ReLU relu 1 1 b out0"
    first = "InnerProduct first 1 1 in0 a 0=16 1=1 2=512"
    here = network(INPUT, first, "InnerProduct fc 1 1 a b 0=8 1=1 2=128", last)
    there = network(INPUT, PRODUCT.format("in0", "b"), last)
    assert named(counterparts(here, there))["fc"][:2] == (["fc"], ["first", "fc"])


def test_a_convolution_of_a_map_is_not_one_with_the_product_of_its_places() -> None:
    """The values of that are transposed; they are the same again behind a Permute."""
    first = "TanH first 1 1 in0 x"
    here = network(INPUT, first, WRITTEN["Convolution"][0].format("x", "a"), "ReLU relu 1 1 a out0")
    rows = "Reshape v 1 1 x v 0=64 1=32", "Permute t 1 1 v t 0=1"
    back = "Permute t2 1 1 g t2 0=1", "Reshape v2 1 1 t2 a 0=8 1=8 2=8"
    gemm = WRITTEN["Gemm"][0].format("t", "g")
    there = network(INPUT, first, *rows, gemm, *back, "ReLU relu 1 1 a out0")
    assert "conv" not in named(counterparts(here, there))
