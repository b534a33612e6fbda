"""What another converter writes otherwise is no difference between two files of a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once


def classifier(path: Path, pooling: str, dropout: float, factor: float = 1.0) -> None:
    """A convolution, a `pooling` of its 8x8 map, and scores that a Dropout multiplies by `dropout`.

    `factor`: of the weights of the scores. Without a Dropout, these are multiplied instead.
    """
    rng = np.random.RandomState(0)
    kernel, weights = rng.normal(0.0, 0.2, (16, 3, 3, 3)), rng.normal(0.0, 0.3, (4, 16)) * factor
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=3")
    convolution = "0=16 1=3 4=1 5=1 6=432"
    x = net.layer("Convolution", "conv", [x], params=convolution, weights=[kernel, np.ones(16)])
    x = net.layer("Pooling", "pool", [x], params=pooling)
    folded = dropout == 1.0
    last = ["out0"] if folded else ["raw"]
    x = net.layer("InnerProduct", "scores", [x], last, "0=4 1=1 2=64", [weights, np.zeros(4)])
    if not folded:
        net.layer("Dropout", "drop", [x], ["out0"], f"0={dropout:g}")
    net.write(path)


GLOBAL = ("0=1 4=1", 1.0)
AS_A_WINDOW = ("0=1 1=8 2=8", 1.0)
WITH_DROPOUT = ("0=1 4=1", 0.5)


@pytest.mark.parametrize(
    ("own", "others", "wrong", "swapped"),
    [
        (GLOBAL, AS_A_WINDOW, 1.0, False),
        (GLOBAL, AS_A_WINDOW, 1.1, True),
        (WITH_DROPOUT, GLOBAL, 1.0, True),
        (WITH_DROPOUT, GLOBAL, 1.1, False),
    ],
    ids=["a global pooling is a window", "-wrong", "a dropout is folded", "-wrong"],
)
def test_what_is_written_otherwise_is_no_difference_and_a_wrong_weight_is(
    own: tuple[str, float],
    others: tuple[str, float],
    wrong: float,
    swapped: bool,
    gate: Gate,
    pytester: pytest.Pytester,
) -> None:
    names = ("other", "net") if swapped else ("net", "other")
    classifier(pytester.path / names[0], *own)
    classifier(pytester.path / names[1], *others, factor=wrong * own[1] / others[1])
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    run = gate("--ncnn-parity-fix=off")
    red = {name.rpartition("::")[2] for name in run.ids("failed")}
    assert red == (set() if wrong == 1.0 else red & {"scores", "drop"} | {"output:out0"})
    assert len(red) in (0, 2)
    assert len(run.ids("passed")) >= 2


def halves(path: Path, parts: int, wrong: float = 1.0) -> None:
    """A pointwise convolution, in as many `parts` that are joined, in front of a depthwise one.

    `wrong`: a factor of some depthwise weights.
    """
    rng = np.random.RandomState(0)
    first, pointwise, depthwise = (
        rng.normal(0.0, 0.3, shape) for shape in ((8, 3, 3, 3), (8, 8, 1, 1), (8, 1, 3, 3))
    )
    depthwise[3] *= wrong
    net = Network()
    x = net.layer("Input", "in0", params="0=12 1=12 2=3")
    x = net.layer("Convolution", "first", [x], params="0=8 1=3 4=1 6=216 9=1", weights=[first])
    copies = net.split(x, parts) if parts > 1 else [x]
    made = []
    for n, (blob, weights) in enumerate(zip(copies, np.split(pointwise, parts), strict=True)):
        params = f"0={8 // parts} 1=1 6={weights.size} 9=1"
        made.append(net.layer("Convolution", f"point_{n}", [blob], params=params, weights=[weights]))
    x = net.layer("Concat", "joined", made, params="0=0") if parts > 1 else made[0]
    params = "0=8 1=3 4=1 6=72 7=8"
    x = net.layer("ConvolutionDepthWise", "depth", [x], params=params, weights=[depthwise])
    weights = rng.normal(0.0, 0.3, (4, 8, 1, 1))
    net.layer("Convolution", "last", [x], ["out0"], "0=4 1=1 6=32", [weights])
    net.write(path)


@pytest.mark.parametrize("parts", [(1, 2), (2, 1), (1, 4)])
@pytest.mark.parametrize("wrong", [1.0, 1.5], ids=["right", "wrong"])
def test_a_convolution_in_parts_is_no_difference(
    gate: Gate, pytester: pytest.Pytester, parts: tuple[int, int], wrong: float
) -> None:
    halves(pytester.path / "net", parts[0])
    halves(pytester.path / "other", parts[1], wrong)
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    red = {name.rpartition("::")[2] for name in gate("--ncnn-parity-fix=off").ids("failed")}
    assert red == (set() if wrong == 1.0 else {"depth", "output:out0"})


def attention(
    path: Path, scaled: str, packed: bool, wrong: float = 1.0, beside: float = 1.0, front: float = 0.0
) -> None:
    """A head of attention over 6 rows of 16 values, whose layers are numbered by operator.

    `scaled`: whether the queries, the scores or the weights of the queries are divided by 4. `packed`:
    one product gives queries, keys and values, not three. `wrong`: a factor of the weights of the
    values. The input times `beside` is added to the result. `front`: of the weights of a product in
    front of it, if there is one.
    """
    rng = np.random.RandomState(0)
    folded = 0.25 if scaled == "weights" else 1.0
    weights = [rng.normal(0.0, 0.3, (16, 16)) * factor for factor in (folded, 1.0, wrong)]
    net = Network()
    numbers: dict[str, int] = {}

    def layer(operator: str, *inputs: str, params: str = "", weights: Sequence[np.ndarray] = ()) -> str:
        numbers[operator] = numbers.get(operator, -1) + 1
        name = f"{operator.lower()}_{numbers[operator]}"
        return net.layer(operator, name, list(inputs), params=params, weights=list(weights))

    def product(blob: str, weights: np.ndarray) -> str:
        params = f"0={len(weights)} 1=1 2={weights.size}"
        return layer("InnerProduct", blob, params=params, weights=[weights, np.zeros(len(weights))])

    x = net.layer("Input", "in0", params="0=16 1=6")
    if front:
        x = net.layer(
            "Gemm", "front", [x], params="3=1 5=1 6=1 8=16 9=16 10=-1", weights=[weights[1] * front]
        )
    x, residual = net.split(x, 2)
    if packed:
        x = product(x, np.concatenate(weights))
        names = [f"part_{i}" for i in range(3)]
        net.layer("Slice", "slice_0", [x], names, "-23300=3,16,16,-233 1=1")
        queries, keys, values = names
    else:
        queries, keys, values = map(product, net.split(x, 3), weights)
    if scaled == "queries":
        queries = layer("BinaryOp", queries, params="0=2 1=1 2=0.25")
    scores = layer("MatMul", queries, keys, params="0=1")
    if scaled == "scores":
        scores = layer("BinaryOp", scores, params="0=2 1=1 2=0.25")
    scores = layer("Softmax", scores, params="0=1 1=1")
    x = layer("MatMul", scores, values)
    residual = layer("BinaryOp", residual, params=f"0=2 1=1 2={beside:g}")
    net.layer("BinaryOp", "sum", [x, residual], ["out0"], "0=0")
    net.write(path)


def red(gate: Gate, pytester: pytest.Pytester) -> set[str]:
    """The names of the cases that are red where `other` is compared with `net`."""
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    return {name.rpartition("::")[2] for name in gate("--ncnn-parity-fix=off").ids("failed")}


ATTENTION = {
    "the queries or the scores are scaled": (("queries", False), ("scores", False)),
    "the scores are scaled or the weights are": (("scores", False), ("weights", False)),
    "three products are one": (("scores", False), ("scores", True)),
    "both": (("queries", False), ("scores", True)),
    "both, with scaled weights": (("scores", False), ("weights", True)),
}


@pytest.mark.parametrize(
    ("own", "others", "swapped"),
    [
        *((own, others, False) for own, others in ATTENTION.values()),
        (*ATTENTION["the queries or the scores are scaled"], True),
        (*ATTENTION["both, with scaled weights"], True),
    ],
)
def test_an_attention_that_is_written_otherwise_is_right_and_a_wrong_weight_in_it_is_not(
    own: tuple[str, bool],
    others: tuple[str, bool],
    swapped: bool,
    gate: Gate,
    pytester: pytest.Pytester,
) -> None:
    names = ("other", "net") if swapped else ("net", "other")
    attention(pytester.path / names[0], *own)
    attention(pytester.path / names[1], *others)
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    run = gate("--ncnn-parity-fix=off")
    assert not run.ids("failed")
    skipped = [case for case in run.cases.values() if case["outcome"] == "skipped"]
    otherwise = any("computes this otherwise" in case["message"] for case in skipped)
    assert otherwise or "judged where they are folded to: innerproduct_0" in run.output
    attention(pytester.path / names[1], *others, wrong=1.05)
    run = gate("--ncnn-parity-fix=off")
    red = [case for case in run.cases.values() if case["outcome"] == "failed"]
    assert "out0" in {case["output"] for case in red}
    assert len(red) > 1
    assert {case["cause"] for case in red} <= {"model", "nondeterministic"}


@pytest.mark.parametrize(("own", "others"), list(ATTENTION.values())[:2], ids=list(ATTENTION)[:2])
def test_what_is_written_otherwise_behind_a_fault_is_no_fault(
    own: tuple[str, bool], others: tuple[str, bool], gate: Gate, pytester: pytest.Pytester
) -> None:
    attention(pytester.path / "net", *own, front=1.0)
    attention(pytester.path / "other", *others, front=1.3)
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    run = gate("--ncnn-parity-fix=off")
    red = {name.rpartition("::")[2] for name in run.ids("failed")}
    assert red == {"front", "output:out0"}
    skipped = [case for case in run.cases.values() if case["outcome"] == "skipped"]
    assert any("computes this otherwise" in case["message"] for case in skipped)


def test_a_fault_in_what_is_written_otherwise_behind_another_is_red_too(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    attention(pytester.path / "net", "scores", False, front=1.0)
    attention(pytester.path / "other", "weights", False, wrong=1.1, front=1.3)
    assert red(gate, pytester) == {"front", "innerproduct_2", "output:out0"}


def test_a_wrong_weight_of_small_effect_next_to_what_is_written_otherwise_is_red(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    attention(pytester.path / "net", "scores", False, beside=30000.0)
    attention(pytester.path / "other", "scores", True, wrong=1.05, beside=30000.0)
    found = red(gate, pytester)
    assert "matmul_1" in found
    assert "output:out0" not in found


def test_an_inner_blob_is_fed_to_both_models(gate: Gate, pytester: pytest.Pytester) -> None:
    attention(pytester.path / "net", "scores", True)
    attention(pytester.path / "other", "queries", True)
    inputs = ", ".join(f"part_{i}: {{random: normal, shape: [6, 16], seed: {i}}}" for i in range(3))
    text = f"inputs: {{inner: {{in0: {{random: normal}}, {inputs}}}}}\n{networks.WITH_OTHER}"
    networks.spec(pytester.path, text)
    run = gate("--ncnn-parity-fix=off")
    assert not run.ids("failed")
    assert run.ids("passed")


def convolutions(path: Path, factors: np.ndarray, taken_back: np.ndarray, order: Sequence[int]) -> None:
    """Two convolutions with a ReLU between, whose channels stand in this `order`, times `factors`."""
    rng = np.random.RandomState(0)
    first, second = rng.normal(0.0, 0.3, (8, 3)), rng.normal(0.0, 0.3, (4, 8))
    weights = [(first * factors[:, None])[order], np.zeros(8)]
    net = Network()
    x = net.layer("Input", "in0", params="0=6 1=6 2=3")
    x = net.layer("Convolution", "first", [x], params="0=8 1=1 5=1 6=24", weights=weights)
    x = net.layer("ReLU", "relu", [x])
    weights = [(second / taken_back)[:, order], np.zeros(4)]
    x = net.layer("Convolution", "second", [x], params="0=4 1=1 5=1 6=32", weights=weights)
    net.layer("Sigmoid", "last", [x], ["out0"])
    net.write(path)


ONES = np.ones(8)
MOVED = {
    "a factor": (np.full(8, 1 / 16), range(8)),
    "the factors of channels": (2.0 ** np.arange(-4, 4), range(8)),
    "the channels": (ONES, [3, 1, 4, 0, 5, 2, 7, 6]),
}


@pytest.mark.parametrize("wrong", [1.0, 1.05], ids=["right", "wrong"])
@pytest.mark.parametrize(("factors", "order"), MOVED.values(), ids=MOVED)
def test_what_one_layer_is_given_and_a_later_one_takes_back_is_no_difference(
    gate: Gate, pytester: pytest.Pytester, factors: np.ndarray, order: Sequence[int], wrong: float
) -> None:
    convolutions(pytester.path / "net", ONES, ONES, range(8))
    taken_back = factors * np.where(np.arange(8) == 2, wrong, 1.0)
    convolutions(pytester.path / "other", factors, taken_back, order)
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    run = gate("--ncnn-parity-fix=off")
    red = {name.rpartition("::")[2] for name in run.ids("failed")}
    assert red == (set() if wrong == 1.0 else {"first", "second", "output:out0"})
    if wrong == 1.0:
        skipped = {case["layer"] for case in run.cases.values() if case["outcome"] == "skipped"}
        assert skipped == {"first"} | ({"relu"} & skipped)
        assert run.cases["noise::other::second"]["own_inputs"]


@pytest.mark.parametrize("first", ["Convolution", "MemoryData"])
def test_a_wrong_weight_whose_effect_a_layer_hides_is_red(
    gate: Gate, pytester: pytest.Pytester, first: str
) -> None:
    """The layer that hides it is right by itself, so it takes nothing back."""
    for name, bias in (("net", -50.0), ("other", -60.0)):
        net = Network()
        x = net.layer("Input", "in0", params="0=6 1=6 2=3")
        if first == "Convolution":
            weights = [np.ones((4, 3)), np.full(4, bias)]
            x = net.layer(first, "first", [x], params="0=4 1=1 5=1 6=12", weights=weights)
        else:
            constant = [np.full((3, 6, 6), bias)]
            one = net.layer(first, "first", params="0=6 1=6 2=3", weights=constant, flagged=False)
            x = net.layer("BinaryOp", "sum", [x, one], params="0=0")
        net.layer("ReLU", "relu", [x], ["out0"])
        net.write(pytester.path / name)
    assert red(gate, pytester) == {"first"}


def two_branches(path: Path, pooled_first: bool, wrong: float = 1.0) -> None:
    """A maximum that is taken before or after a ReLU, and beside it a ReLU that gives 0.

    `wrong`: a factor of the weights in front of the latter.
    """
    rng = np.random.RandomState(0)
    net = Network()
    low, high = net.split(net.layer("Input", "in0", params="0=8 1=8 2=3"), 2)
    for name, factor, bias in (("low", wrong, -100.0), ("high", 1.0, 0.0)):
        x = low if name == "low" else high
        weights = [rng.normal(0.0, 0.2, (4, 3)) * factor, np.full(4, bias)]
        x = net.layer("Convolution", name, [x], params="0=4 1=1 5=1 6=12", weights=weights)
        order = [("ReLU", "relu", ""), ("Pooling", "pool", "0=0 1=2 2=2")]
        for operator, kind, params in order[::-1] if name == "high" and pooled_first else order:
            x = net.layer(operator, f"{name}_{kind}", [x], params=params)
        low, high = (x, high) if name == "low" else (low, x)
    net.layer("BinaryOp", "sum", [low, high], ["out0"], "0=0")
    net.write(path)


@pytest.mark.parametrize("wrong", [1.0, 1.1], ids=["right", "wrong"])
def test_a_wrong_weight_without_effect_beside_what_is_written_otherwise_is_red(
    wrong: float, gate: Gate, pytester: pytest.Pytester
) -> None:
    two_branches(pytester.path / "net", False)
    two_branches(pytester.path / "other", True, wrong)
    assert red(gate, pytester) == (set() if wrong == 1.0 else {"low"})
