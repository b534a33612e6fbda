"""Values beyond fp16 that are meant to be: no fault where every reader is right with inf for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

COMPARE = "compare: [fp16-vs-fp32-vulkan, shipped, fp16-range]\n"
LOWEST = float(np.finfo(np.float32).min)


def masked_attention(folder: Path, hidden: float, scale: float = 1.0, masks: int = 1) -> None:
    """softmax(scale * x + mask), where each of the masks holds `hidden` above the diagonal."""
    net = Network()
    names = [f"mask{number}" for number in range(masks)]
    x, *rows = (net.layer("Input", name, params="0=16 1=16") for name in ("x", *names))
    x = net.layer("BinaryOp", "scale", [x], params=f"0=2 1=1 2={scale}")
    for name, row in zip(["add", "again"], rows, strict=False):
        x = net.layer("BinaryOp", name, [x, row], params="0=0")
    net.layer("Softmax", "prob", [x], ["out0"], "0=1 1=1")
    net.write(folder / "net")
    np.save(folder / "mask.npy", np.triu(np.full((16, 16), hidden, np.float32), 1))
    files = ", ".join(f"{name}: {{file: mask.npy}}" for name in names)
    networks.spec(folder, f"inputs:\n  s: {{x: {{random: normal}}, {files}}}\n{COMPARE}")


@pytest.mark.parametrize("hidden", [LOWEST, -1e9, -1e5, -1e4])
def test_what_a_mask_hides_is_meant_to_be_out_of_range(
    hidden: float, gate: Gate, pytester: pytest.Pytester
) -> None:
    masked_attention(pytester.path, hidden)
    run = gate()
    assert run.ids("failed") == []
    for comparison in ("fp16-vs-fp32-vulkan", "shipped", "fp16-range"):
        assert f"s::{comparison}::prob" in run.ids("passed"), "the layer behind is tested, not skipped"
        assert f"s::{comparison}::add" in run.ids("passed")


BOUNDED = {"Sigmoid": "", "TanH": "", "Clip": "0=-1.0 1=1.0", "HardSigmoid": ""}


def bounded(folder: Path, kind: str, factor: float) -> None:
    """x * 1e6 or so by two factors, or by one that fp16 cannot hold itself: it makes inf of all."""
    net = Network()
    x = net.layer("Input", "in0", params="0=60")
    x = net.layer("BinaryOp", "some", [x], params=f"0=2 1=1 2={300_000.0 / factor}")
    x = net.layer("BinaryOp", "large", [x], params=f"0=2 1=1 2={factor}")
    a, b = net.split(x, 2)
    net.layer(kind, "bounded", [a], ["out0"], BOUNDED[kind])
    net.layer("Sigmoid", "beside", [b], ["out1"])
    name = f"{kind}_{factor:.0f}"
    net.write(folder / name)
    networks.spec(folder, networks.NOISE + COMPARE, name)


def test_what_bounded_layers_read_may_overflow(gate: Gate, pytester: pytest.Pytester) -> None:
    for kind in BOUNDED:
        for factor in (500.0, 1e5):
            bounded(pytester.path, kind, factor)
    run = gate()
    cases = [case for model in run.report["models"] for case in model["cases"]]
    assert [case["nodeid"] for case in cases if case["outcome"] == "failed"] == []
    passed = [case["nodeid"] for case in cases if case["outcome"] == "passed"]
    assert sum(node.endswith("shipped::bounded") for node in passed) == 2 * len(BOUNDED)


# what may stand between, and the layers that are red
BETWEEN = {
    "moved": (["Reshape 0=10 1=6", "Permute 0=1"], []),
    "rectified": (["ReLU", "Padding 2=2 3=2"], []),
    "leaky": (["ReLU 0=0.1", "Reshape 0=10 1=6", "ReLU 0=0.5"], []),
    "needed": (["Reshape 0=60", "BinaryOp 0=2 1=1 2=0.00001"], ["large"]),
    "leaky_needed": (["ReLU 0=0.1", "Reshape 0=60", "BinaryOp 0=2 1=1 2=0.00001"], ["large"]),
    "dropped": (["Dropout", "ReLU"], []),
    "scaled": (["Dropout 0=0.25", "BinaryOp 0=2 1=1 2=0.00001"], ["large"]),
    "nan": (["HardSwish"], ["large"]),
}


def test_inf_of_the_candidate_alone_is_followed_to_who_is_right_or_wrong(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A factor of 1e5 is inf in fp16, and so are products that fp16 could hold."""
    for name, (layers, _) in BETWEEN.items():
        net = Network()
        x = net.layer("Input", "in0", params="0=60")
        x = net.layer("BinaryOp", "some", [x], params="0=2 1=1 2=3.0")
        x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=100000.0")
        for i, layer in enumerate(layers):
            kind, _, params = layer.partition(" ")
            x = net.layer(kind, f"between_{i}", [x], params=params)
        net.layer("Sigmoid", "bounded", [x], ["out0"])
        net.write(pytester.path / name)
        networks.spec(pytester.path, networks.NOISE + COMPARE, name)
    run = gate("--ncnn-parity-fix=off")
    for model in run.report["models"]:
        _, red = BETWEEN[Path(model["param"]).stem]
        failed = [case["layer"] for case in model["cases"] if case["outcome"] == "failed"]
        assert [layer for layer in failed if layer is not None] == 3 * red, model["param"]
    assert len(run.report["models"]) == len(BETWEEN)


# by what is made of e = exp(100 x): whether inf in its place is right, as the CPU's exp ends at 2.4e38
BY_HAND = {
    "sigmoid": (["BinaryOp 0=0 1=1 2=1.0", "UnaryOp 0=15"], True),
    "silu": (["BinaryOp 0=0 1=1 2=1.0", "BinaryOp 0=3"], True),
    "moved": (["BinaryOp 0=0 1=1 2=1.0", "Reshape 0=10 1=6", "BinaryOp 0=8 1=1 2=1.0"], True),
    "smallest": (["BinaryOp 0=5 1=1 2=100.0"], True),
    "softplus": (["BinaryOp 0=0 1=1 2=1.0", "UnaryOp 0=8"], False),
    "given_out": ([], False),
}


def test_what_saturates_in_fp32_is_a_fault_only_where_a_reader_is_wrong(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """1 / (1 + exp(x)) is right with inf and with 2.4e38, log(1 + exp(x)) with neither."""
    for name, (layers, _) in BY_HAND.items():
        net = Network()
        x = net.layer("Input", "in0", params="0=60")
        value, x = net.split(net.layer("BinaryOp", "scale", [x], params="0=2 1=1 2=100.0"), 2)
        x = net.layer("UnaryOp", "exp", [x], params="0=7")
        for i, layer in enumerate(layers):
            kind, _, params = layer.partition(" ")
            read = [value, x] if layer == "BinaryOp 0=3" else [x]
            x = net.layer(kind, f"step_{i}", read, params=params)
        net.write(pytester.path / name)
        networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan, shipped]\n", name)
    run = gate("--ncnn-parity-fix=off")
    for model in run.report["models"]:
        _, right = BY_HAND[Path(model["param"]).stem]
        red = {
            (case["comparison"], case["layer"], case["cause"])
            for case in model["cases"]
            if case["outcome"] == "failed" and case["layer"] is not None
        }
        faults = {("cpu-vs-vulkan", "exp", "reference"), ("shipped", "exp", "storage-overflow")}
        assert red == (set() if right else faults), model["param"]
    assert len(run.report["models"]) == len(BY_HAND)


def test_inf_that_a_reader_misses_the_value_of_is_a_fault(gate: Gate, pytester: pytest.Pytester) -> None:
    """A Sigmoid can live with inf, a factor that takes the values back cannot."""
    net = Network()
    x = net.layer("Input", "in0", params="0=60")
    x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=1000000.0")
    a, b = net.split(x, 2)
    net.layer("Sigmoid", "bounded", [a], ["out0"])
    net.layer("BinaryOp", "back", [b], ["out1"], "0=2 1=1 2=0.000001")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE + COMPARE)
    run = gate()
    for comparison in ("fp16-vs-fp32-vulkan", "shipped", "fp16-range"):
        assert run.cases[f"noise::{comparison}::large"]["cause"] == "storage-overflow"
    for comparison in ("shipped", "fp16-range"):
        assert run.fixes[comparison]["verified"]
        assert "large" in run.fixes[comparison]["masks"], "a copy of inf is inf, wherever it is kept"


@pytest.mark.parametrize(("hidden", "masks"), [(LOWEST, 1), (-1e9, 2), (-np.inf, 1)])
def test_a_value_that_matters_is_a_fault_and_the_mask_that_is_added_to_it_is_none(
    hidden: float, masks: int, gate: Gate, pytester: pytest.Pytester
) -> None:
    """Scores beyond fp16 become inf as well, and softmax makes nan of two of them."""
    masked_attention(pytester.path, hidden, scale=100_000.0, masks=masks)
    run = gate()
    layers = {name for name in run.ids("failed") if "output" not in name}
    comparisons = ("fp16-vs-fp32-vulkan", "shipped", "fp16-range")
    assert layers == {f"s::{comparison}::scale" for comparison in comparisons}
    assert {run.cases[name]["cause"] for name in layers} == {"storage-overflow"}
    assert "made by scale (BinaryOp)" in run.cases["s::shipped::add"]["message"]
    assert run.fixes["shipped"]["verified"]
    assert "scale" in run.fixes["shipped"]["masks"]


def test_masks_that_hide_all_only_together_are_both_at_fault(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Each hides half of a row. In fp32 the larger one decides; in fp16 softmax is given -inf alone."""
    net = Network()
    x, first, second = (net.layer("Input", name, params="0=16 1=4") for name in ("x", "first", "second"))
    masks = net.layer("BinaryOp", "both", [first, second], params="0=0")
    x = net.layer("BinaryOp", "add", [x, masks], params="0=0")
    net.layer("Softmax", "prob", [x], ["out0"], "0=1 1=1")
    net.write(pytester.path / "net")
    half = np.zeros((4, 16), np.float32)
    half[:, :8] = -1e9
    np.save(pytester.path / "first.npy", half)
    np.save(pytester.path / "second.npy", half[:, ::-1] / 2)
    files = "first: {file: first.npy}, second: {file: second.npy}"
    networks.spec(pytester.path, f"inputs:\n  s: {{x: {{random: normal}}, {files}}}\n{COMPARE}")
    run = gate("-k", "fp16-range")
    assert run.ids("failed") != []


def test_a_value_that_breaks_a_later_reader_is_the_fault_of_the_first_maker(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """inf + eps is inf, as the true sum is in fp16; but rsqrt makes 0 of it."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64")
    x = net.layer("BinaryOp", "square", [x], params="0=2 1=1 2=300000.0")
    x = net.layer("UnaryOp", "abs", [x], params="0=0")
    x = net.layer("BinaryOp", "eps", [x], params="0=0 1=1 2=1.0")
    net.layer("UnaryOp", "rsqrt", [x], ["out0"], "0=6")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE + COMPARE)
    run = gate("-k", "fp16-range")
    assert run.ids("failed") == ["noise::fp16-range::square"]
    alone = gate("-k", "fp16-range and square")
    assert alone.ids("failed") == ["noise::fp16-range::square"], "whatever else is selected"


def test_an_output_beyond_fp16_is_always_a_fault(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=64")
    net.layer("BinaryOp", "large", [x], ["out0"], "0=2 1=1 2=300000.0")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE + COMPARE)
    assert "noise::fp16-range::large" in gate().ids("failed")


def test_what_both_sides_lose_is_no_difference_and_what_one_loses_is(
    gate: Gate, pytester: pytest.Pytester, example: Callable[[str], Path]
) -> None:
    halves = (
        "reference: {device: vulkan, precision: fp16-storage}",
        "candidate: {device: vulkan, precision: fp16}",
    )
    compare = f"compare: [{{name: halves, {', '.join(halves)}}}]\n"
    networks.overflow_beside(pytester.path, "ReLU", "")
    networks.spec(pytester.path, f"inputs: {{five: {{in0: {{constant: 5}}}}}}\n{compare}")
    example("accumulate")  # its sum overflows in fp16 arithmetic alone
    random = "inputs: {noise: {in0: {random: uniform, seed: 3}}}\n"
    networks.spec(pytester.path, random + compare, "accumulate")
    run = gate()
    alike = [f"five::halves::{layer}" for layer in ("split_in0", "up", "down", "other", "output:out1")]
    assert set(alike) <= set(run.ids("passed"))
    assert {run.cases[name]["metrics"]["max_abs"] for name in alike} == {0}
    assert {name: run.cases[name]["cause"] for name in run.ids("failed")} == {
        "five::halves::output:out0": "inf",  # given out it is useless, though the same on both sides
        "noise::halves::average": "accumulator-overflow",
        "noise::halves::output:out0": "accumulator-overflow",
    }
