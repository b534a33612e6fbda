"""A sum inside a layer that fp16 cannot hold, and a region in fp32 behind what it cannot hold."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

FP16, RANGE = "fp16-vs-fp32-vulkan", "fp16-range"
BOTH = f"compare: [{FP16}, {RANGE}]\n"
needs_sums = pytest.mark.since_ncnn("1.0.20260526", "a Reduction runs on the CPU, in fp32")


def root_mean_square(folder: Path, bound: float) -> None:
    """min(sqrt(mean(x * x)), bound) of rows; the mean itself is beyond 65504 as well."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64 1=4")
    x = net.layer("UnaryOp", "squares", [x], params="0=4")
    x = net.layer("Reduction", "mean", [x], params="0=3 1=0 -23303=1,1 4=1 5=1")
    x = net.layer("UnaryOp", "root", [x], params="0=5")
    net.layer("Clip", "bounded", [x], ["out0"], f"0=0.0 1={bound:g}")
    net.write(folder / "net")
    networks.fed(folder, BOTH, in0=np.random.RandomState(0).normal(0, 1000, (4, 64)))


@needs_sums
@pytest.mark.parametrize(("bound", "right"), [(300.0, True), (2000.0, False)])
def test_a_mean_of_inf_is_a_fault_only_where_a_reader_is_wrong_with_it(
    gate: Gate, pytester: pytest.Pytester, bound: float, right: bool
) -> None:
    root_mean_square(pytester.path, bound)
    run = gate()
    assert (run.ids("failed") == []) is right
    if right:
        message = run.cases[f"s::{RANGE}::mean"]["message"]
        assert "a sum inside is inf in fp16, and no reader is wrong for it" in message
    else:
        assert f"s::{RANGE}::squares" in run.ids("failed")
        assert f"s::{FP16}::output:out0" in run.ids("failed")


@needs_sums
@pytest.mark.parametrize(("large", "guilty"), [(200.0, "mean"), (1000.0, "squares")])
def test_what_is_next_to_nothing_beside_others_is_followed_too(
    gate: Gate, pytester: pytest.Pytester, large: float, guilty: str
) -> None:
    """x / sqrt(mean(x * x)): of one row of four the reciprocal is 0, where it is 0.001 beside 1."""
    net = Network()
    a, b, c = net.split(net.layer("Input", "in0", params="0=64 1=4"), 3)
    x = net.layer("BinaryOp", "squares", [a, b], params="0=2")
    x = net.layer("Reduction", "mean", [x], params="0=3 1=0 -23303=1,1 4=1 5=1")
    x = net.layer("UnaryOp", "rsqrt", [x], params="0=6")
    net.layer("BinaryOp", "product", [c, x], ["out0"], "0=2")
    net.write(pytester.path / "net")
    values = np.random.RandomState(0).uniform(0.5, 1.0, (4, 64))
    values[2] *= large
    networks.fed(pytester.path, BOTH, in0=values)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed", RANGE)[0] == f"s::{RANGE}::{guilty}"
    assert f"s::{FP16}::{guilty}" in run.ids("failed", FP16)
    assert f"s::{FP16}::output:out0" in run.ids("failed", FP16)


@pytest.mark.parametrize(("factor", "right"), [(0.01, True), (1e-5, False)])
def test_an_average_whose_sum_overflows_is_judged_by_its_readers(
    gate: Gate, pytester: pytest.Pytester, factor: float, right: bool
) -> None:
    """Averages of 40,000, which fp16 holds: TanH of them * 0.01 is 1, also of inf."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=4")
    x = net.layer("Pooling", "average", [x], params="0=1 1=2 2=2")
    x = net.layer("BinaryOp", "factor", [x], params=f"0=2 1=1 2={factor:g}")
    net.layer("TanH", "bounded", [x], ["out0"])
    net.write(pytester.path / "net")
    networks.fed(pytester.path, BOTH, in0=np.random.RandomState(0).uniform(39e3, 41e3, (4, 8, 8)))
    run = gate("--ncnn-parity-fix=off")
    red = [f"s::{FP16}::average", f"s::{FP16}::output:out0", f"s::{RANGE}::average"]
    assert sorted(run.ids("failed")) == ([] if right else sorted(red))
    if right:
        assert "no reader is wrong for it" in run.cases[f"s::{FP16}::average"]["message"]


def leaky(folder: Path) -> None:
    """Large values, a leaky ReLU of them, and a Clip that is right with inf in place of 390,000."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=6 2=8")
    x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=1e5")
    x = net.layer("ReLU", "leaky", [x], params="0=0.01")
    net.layer("Clip", "bounded", [x], ["out0"], "0=-10000.0 1=10000.0")
    net.write(folder / "net")


def test_a_region_in_fp32_hands_on_what_it_computed(gate: Gate, pytester: pytest.Pytester) -> None:
    """Of -390,000 the leaky ReLU makes -3,900 in fp32, and -inf only if it is fed with -inf."""
    leaky(pytester.path)
    values = np.random.RandomState(0).normal(0, 1, (8, 6, 16))
    networks.fed(pytester.path, BOTH, in0=values)
    run = gate()
    assert run.ids("failed", RANGE) == [f"s::{RANGE}::large"]
    for comparison in (FP16, RANGE):
        assert run.fixes[comparison]["masks"] == {"large": 18, "leaky": 18}
        assert run.fixes[comparison]["verified"] is True
    networks.fed(pytester.path, BOTH + "masks: {large: 18, leaky: 18}\n", in0=values)
    assert gate().ids("failed") == []
    networks.fed(pytester.path, BOTH + "masks: {leaky: 18}\n", in0=values)
    assert f"s::{RANGE}::large" in gate("--ncnn-parity-fix=off").ids("failed", RANGE)


@pytest.mark.parametrize(
    ("hidden", "reader"), [(-65504.0, "Softmax"), (-4e4, "Softmax"), (-4e4, "ReLU")]
)
def test_a_mask_needs_no_headroom_where_inf_in_its_place_is_right(
    gate: Gate, pytester: pytest.Pytester, hidden: float, reader: str
) -> None:
    """The lowest float of fp16 hides scores as well as inf does; a leaky ReLU of it is another value."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16")
    mask = net.layer("Input", "mask", params="0=16 1=16")
    x = net.layer("BinaryOp", "add", [x, mask], params="0=0")
    net.layer(reader, "reader", [x], ["out0"], "0=1 1=1" if reader == "Softmax" else "0=0.1")
    net.write(pytester.path / "net")
    np.save(pytester.path / "mask.npy", np.triu(np.full((16, 16), hidden, np.float32), 1))
    inputs = "inputs:\n  s: {in0: {random: normal}, mask: {file: mask.npy}}\n"
    text = f"{inputs}compare: [{RANGE}]\ntolerance: {{headroom: 2}}\n"
    networks.spec(pytester.path, text)
    run = gate("--ncnn-parity-fix=off")
    red = [f"s::{RANGE}::mask", f"s::{RANGE}::add"]
    assert sorted(run.ids("failed")) == ([] if reader == "Softmax" else sorted(red))
    if reader == "Softmax":
        message = run.cases[red[0]]["message"]
        assert f"{-hidden:.6g} may be inf on another input, and no reader is wrong for it" in message


ACTIVATIONS = {"Sigmoid": "9=4", "Mish": "9=5", "HardSwish": "9=6 -23310=2,0.166667,0.5"}


# each value of one with each of another
@pytest.mark.parametrize(
    ("activation", "kind", "signs"),
    [
        ("Sigmoid", "InnerProduct", "both"),
        ("Sigmoid", "Convolution", "one"),
        ("Mish", "InnerProduct", "one"),
        ("Mish", "Convolution", "both"),
        ("HardSwish", "InnerProduct", "both"),
        ("HardSwish", "Convolution", "one"),
    ],
)
def test_an_activation_does_not_hide_the_nan_of_the_sum_in_front_of_it(
    gate: Gate, pytester: pytest.Pytester, activation: str, kind: str, signs: str
) -> None:
    """The gates of a squeeze-and-excitation block: the first layer gives 300,000, the second shuts them.

    On x86 a Sigmoid makes 0 of nan, as it does of the right sum. Where all weights have `one` sign, the
    sum is -inf, which is right.
    """
    net = Network()
    x = net.layer("Input", "in0", params="0=16" if kind == "InnerProduct" else "0=1 1=1 2=16")
    squeezed = np.full((8, 16), 20000.0)
    excited = np.random.RandomState(0).normal(0.0, 0.1, (16, 8)) - 0.2
    excited = -np.abs(excited) - 0.01 if signs == "one" else excited
    size = "1=0 2=128" if kind == "InnerProduct" else "1=1 5=0 6=128"
    x = net.layer(kind, "squeeze", [x], params=f"0=8 {size} 9=1", weights=[squeezed])
    x = net.layer(
        kind, "excite", [x], params=f"0=16 {size} {ACTIVATIONS[activation]}", weights=[excited]
    )
    net.layer("BinaryOp", "shifted", [x], ["out0"], "0=0 1=1 2=1.0")
    net.write(pytester.path / "net")
    shape = (16,) if kind == "InnerProduct" else (16, 1, 1)
    networks.fed(pytester.path, BOTH, in0=np.random.RandomState(1).uniform(0.5, 1.5, shape))
    run = gate("--ncnn-parity-fix=off")
    right = signs == "one" and activation == "Sigmoid"  # -inf * 0 is nan
    assert run.ids("failed", RANGE) == ([] if right else [f"s::{RANGE}::squeeze"])
    if right:
        assert run.ids("failed") == []
    else:
        assert run.cases[f"s::{FP16}::squeeze"]["cause"] == "storage-overflow"
