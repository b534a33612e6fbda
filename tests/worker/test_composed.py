"""The weights and biases of the one convolution that computes what several layers do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_layers import stored

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.versions.units import sources
from pytest_ncnn_parity.worker.weights.composed import Composed
from pytest_ncnn_parity.worker.weights.kernel import Kernel

RNG = np.random.RandomState(0)
WIDE, POINT = RNG.normal(0, 1, (4, 4, 3, 3)), RNG.normal(0, 1, (4, 4, 1, 1))
DEEP = RNG.normal(0, 1, (4, 1, 3, 3))
BIAS, OTHER = RNG.normal(0, 1, 4), RNG.normal(0, 1, 4)
FACTORS = np.array([0.5, 2.0, -1.0, 4.0])
LIKE = "Convolution like 1 1 in0 like 0=4 1=3 4=1 5=1 6=144"
DEEP_LIKE = "ConvolutionDepthWise like 1 1 in0 like 0=4 1=3 4=1 5=1 6=36 7=4"
FED = "Split fed 1 3 in0 x y z"


def composed(
    folder: Path, *lines: str, like: str = LIKE, numbers: dict[str, list[Array]] | None = None
) -> Kernel | None:
    """What the `lines` compute, as a kernel like `like`; `numbers` of the file by layer."""
    content = {
        name: b"".join(one.astype(np.float32).tobytes() for one in read)
        for name, read in (numbers or {}).items()
    }
    lines = (like, *lines)
    for kind, name in (line.split()[:2] for line in lines):
        if name in content and kind.startswith(("Convolution", "InnerProduct")):
            content[name] = bytes(4) + content[name]  # the tag of fp32
    graph, source = stored(folder, [*lines], content)
    return Composed(graph.layers[1], graph.layers[2:], sources(graph), source).kernel()


def is_kernel(found: Kernel | None, weights: Array, bias: Array) -> bool:
    assert found is not None
    close = np.allclose(found.weights, weights, atol=1e-6) and np.allclose(found.bias, bias, atol=1e-6)
    return close and found.weights.shape == weights.shape


NORM = [np.ones(4), OTHER, np.full(4, 0.25), BIAS]  # slope, mean, variance, bias
CONVOLUTION = "Convolution c 1 1 {} c 0=4 1=3 4=1 5=1 6=144"


@pytest.mark.parametrize(
    ("line", "held", "factors", "offsets"),
    [
        ("BatchNorm f 1 1 in0 f 0=4", NORM, np.full(4, 2.0), BIAS - 2.0 * OTHER),
        ("Scale f 1 1 in0 f 0=4 1=1", [FACTORS, OTHER], FACTORS, OTHER),
        ("BinaryOp f 2 1 in0 k f 0=2", [], FACTORS, np.zeros(4)),
        ("BinaryOp f 2 1 k in0 f 0=1", [], -np.ones(4), FACTORS),
        ("BinaryOp f 1 1 in0 f 0=2 1=1 2=0.5", [], np.full(4, 0.5), np.zeros(4)),
    ],
)
def test_what_stands_in_front_belongs_to_the_inputs(
    line: str, held: list[Array], factors: Array, offsets: Array, tmp_path: Path
) -> None:
    constant = ["MemoryData k 0 1 k 0=1 1=1 2=4"] if " k " in line else []
    numbers = {"f": held, "k": [FACTORS], "c": [WIDE, BIAS]}
    found = composed(tmp_path, *constant, line, CONVOLUTION.format("f"), numbers=numbers)
    bias = BIAS + (WIDE * offsets[None, :, None, None]).sum((1, 2, 3))
    assert is_kernel(found, WIDE * factors[None, :, None, None], bias)


@pytest.mark.parametrize(
    ("lines", "factors"),
    [
        (["BinaryOp k 2 1 a b k 0=2"], FACTORS * OTHER),
        (["BinaryOp k 2 1 a b k 0=7"], OTHER - FACTORS),
        (["BinaryOp one 1 1 a one 0=0 1=1 2=2.0", "BinaryOp k 2 1 b one k 0=3"], OTHER / (FACTORS + 2)),
        (["Split s 1 2 a left right", "BinaryOp k 2 1 left right k 0=2"], FACTORS**2),
    ],
)
def test_constants_may_be_computed(lines: list[str], factors: Array, tmp_path: Path) -> None:
    held = [f"MemoryData {name} 0 1 {name} 0=1 1=1 2=4" for name in "ab"]
    lines = [*held, *lines, "BinaryOp f 2 1 in0 k f 0=2", CONVOLUTION.format("f")]
    found = composed(tmp_path, *lines, numbers={"a": [FACTORS], "b": [OTHER], "c": [WIDE, BIAS]})
    assert is_kernel(found, WIDE * factors[None, :, None, None], BIAS)


def test_branches_that_are_added_up_are_one(tmp_path: Path) -> None:
    lines = (
        FED,
        CONVOLUTION.format("x"),
        "Convolution p 1 1 y p 0=4 1=1 5=1 6=16",
        "Scale f 1 1 z f 0=4",
        "BinaryOp one 2 1 c p one 0=0",
        "Eltwise two 2 1 one f two 0=1 -23301=2,1.0,0.5",
        "Scale g 1 1 two g 0=4",
        "ReLU r 1 1 g r",
    )
    numbers = {"c": [WIDE, BIAS], "p": [POINT, OTHER], "f": [FACTORS], "g": [FACTORS]}
    wanted = WIDE.copy()
    wanted[:, :, 1, 1] += POINT[:, :, 0, 0] + 0.5 * np.diag(FACTORS)
    found = composed(tmp_path, *lines, numbers=numbers)
    assert is_kernel(found, wanted * FACTORS[:, None, None, None], (BIAS + OTHER) * FACTORS)


def test_branches_of_groups_are_one_as_well(tmp_path: Path) -> None:
    lines = (
        FED,
        "ConvolutionDepthWise c 1 1 x c 0=4 1=3 4=1 6=36 7=4",
        "Scale f 1 1 y f 0=4",
        "BinaryOp one 2 1 c f one 0=0",
    )
    wanted = DEEP.copy()
    wanted[:, 0, 1, 1] += FACTORS
    found = composed(tmp_path, *lines, like=DEEP_LIKE, numbers={"c": [DEEP], "f": [FACTORS]})
    assert is_kernel(found, wanted, np.zeros(4))


@pytest.mark.parametrize("point_first", [True, False])
def test_two_in_a_row_are_one_if_either_is_of_a_point(point_first: bool, tmp_path: Path) -> None:
    wide, point = CONVOLUTION, "Convolution p 1 1 {} p 0=4 1=1 5=1 6=16"
    lines = (
        [point.format("in0"), wide.format("p")]
        if point_first
        else [wide.format("in0"), point.format("c")]
    )
    found = composed(tmp_path, *lines, numbers={"c": [WIDE, BIAS], "p": [POINT, OTHER]})
    matrix = POINT[:, :, 0, 0]
    if point_first:
        wanted, bias = np.einsum("omhw,mi->oihw", WIDE, matrix), BIAS + WIDE.sum((2, 3)) @ OTHER
    else:
        wanted, bias = np.einsum("om,mihw->oihw", matrix, WIDE), OTHER + matrix @ BIAS
    assert is_kernel(found, wanted, bias)


@pytest.mark.parametrize("count", [4, 16])
def test_a_factor_of_a_channel_belongs_to_all_its_elements_of_a_product(
    count: int, tmp_path: Path
) -> None:
    like = "InnerProduct like 1 1 in0 like 0=2 1=0 2=32"
    front = f"Scale f 1 1 in0 f 0={count}", "Flatten v 1 1 f v"
    weights, factors = RNG.normal(0, 1, (2, 16)), np.arange(1.0, count + 1)
    product = "InnerProduct c 1 1 v c 0=2 2=32"
    found = composed(tmp_path, *front, product, like=like, numbers={"f": [factors], "c": [weights]})
    wanted = weights * np.repeat(factors, 16 // count)
    assert is_kernel(found, wanted[:, :, None, None], np.zeros(2))


@pytest.mark.parametrize(
    "lines",
    [
        ("ReLU r 1 1 in0 r", CONVOLUTION.format("r")),  # nothing linear follows it
        ("Pooling r 1 1 in0 r 1=3 3=1", CONVOLUTION.format("r")),
        ("Convolution c 1 1 in0 c 0=4 1=3 3=2 4=1 5=1 6=144",),  # another stride
        ("Convolution c 1 1 in0 c 0=4 1=3 4=0 5=1 6=144",),  # another padding
        (FED, CONVOLUTION.format("x"), "BinaryOp m 2 1 c y m 0=2"),  # a product of values
        ("ReLU r 1 1 in0 r",),
        ("Noise k 0 1 k", "BinaryOp f 2 1 in0 k f 0=2", CONVOLUTION.format("f")),  # made of nothing
    ],
)
def test_what_is_no_such_convolution(lines: tuple[str, ...], tmp_path: Path) -> None:
    assert composed(tmp_path, *lines, numbers={"c": [WIDE, BIAS]}) is None
