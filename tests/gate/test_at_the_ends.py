"""Values that fp16 turns into inf, and functions whose kernels on the CPU do not know what inf is."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

COMPARE = "compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan, fp16-range]\n"


def attention(pytester: pytest.Pytester, heads: int) -> None:
    """Scores that reach 90,000 before they are scaled down, as those of few heads of large queries."""
    net = Network()
    q, k = (net.layer("Input", name, params=f"0=32 1=6 2={heads}") for name in "qk")
    x = net.layer("MatMul", "qk", [q, k], params="0=1")
    x = net.layer("BinaryOp", "scale", [x], params="0=2 1=1 2=0.17677669")
    net.layer("Softmax", "attention", [x], ["out0"], "0=2 1=1")
    net.write(pytester.path / "net")
    rng = np.random.RandomState(0)
    for name in "qk":
        array = rng.normal(0, 1, (heads, 6, 32)).astype(np.float32)
        array[0, 0] = 53.0
        np.save(pytester.path / f"{name}.npy", array)
    inputs = "inputs:\n  s: {q: {file: q.npy}, k: {file: k.npy}}\n"
    networks.spec(pytester.path, inputs + COMPARE)


@pytest.mark.parametrize("heads", [1, 3, 8])
def test_scores_that_become_inf_before_a_softmax_are_their_makers_fault(
    heads: int, gate: Gate, pytester: pytest.Pytester
) -> None:
    attention(pytester, heads)
    run = gate()
    for comparison in ("fp16-vs-fp32-vulkan", "fp16-range"):
        case = run.cases[f"s::{comparison}::qk"]
        assert (case["outcome"], case["cause"]) == ("failed", "storage-overflow")
        assert run.cases[f"s::{comparison}::attention"]["outcome"] != "failed"
        assert "scale" in run.fixes[comparison]["masks"]
    assert run.ids("failed", "cpu-vs-vulkan") == []


@pytest.mark.parametrize(("function", "clip"), [("0=14", None), ("0=6", 0.5)], ids=["atan", "rsqrt"])
@pytest.mark.parametrize("size", [1e5, 7e6])
def test_a_function_that_levels_off_is_right_with_inf(
    function: str, clip: float | None, size: float, gate: Gate, pytester: pytest.Pytester
) -> None:
    """The atan of 1e5 is that of inf, and its reciprocal root is as good as 0 beside larger ones."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=4")
    x = net.layer("BinaryOp", "big", [x], params="0=2 1=1 2=1000.0")
    x = net.layer("UnaryOp", "levels", [x], params=function)
    net.layer("Clip", "clip", [x], ["out0"], f"0=-5.0 1={clip or 5.0}")
    net.write(pytester.path / "net")
    array = np.linspace(size / 2000.0, size / 1000.0, 64, dtype=np.float32).reshape(4, 16)
    array[:, ::2] = 0.004
    np.save(pytester.path / "in0.npy", array)
    networks.spec(pytester.path, "inputs:\n  s: {in0: {file: in0.npy}}\n" + COMPARE)
    run = gate()
    assert run.ids("failed") == []
    assert run.cases["s::fp16-vs-fp32-vulkan::big"]["outcome"] == "passed"


@pytest.mark.since_ncnn("1.0.20261020", "before, some of these kernels gave inf")
@pytest.mark.parametrize("function", ["0=8", "0=6", "0=15"], ids=["log", "rsqrt", "reciprocal"])
def test_nan_for_0_is_the_cpu_kernels_fault(
    function: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    """The device gives inf, as it should; a mask would only make it as wrong as the CPU."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=4")
    x = net.layer("ReLU", "relu", [x])
    x = net.layer("UnaryOp", "function", [x], params=function)
    net.layer("Clip", "clip", [x], ["out0"], "0=-10.0 1=10.0")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE + COMPARE)
    run = gate()
    case = run.cases["noise::cpu-vs-vulkan::function"]
    assert (case["outcome"], case["cause"]) == ("failed", "reference")
    assert "gives nan where the function has a value" in case["message"]
    assert run.cases["noise::cpu-vs-vulkan::output:out0"]["cause"] in (None, "reference")
    assert not any(fix["masks"] for fix in run.fixes.values())


def test_a_power_of_e_beyond_fp32_is_inf_and_the_cpus_fault(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Of 88.6 it is 3.0e38, and of 95 inf; the CPU gives 2.4e38 for both, and no logarithm of inf."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=4")
    x = net.layer("UnaryOp", "exp", [x], params="0=7")
    net.layer("UnaryOp", "log", [x], ["out0"], "0=8")
    net.write(pytester.path / "net")
    for name, largest in (("end", 88.6), ("beyond", 95.0)):
        values = np.linspace(-5.0, largest, 64, dtype=np.float32)
        np.save(pytester.path / f"{name}.npy", values.reshape(4, 16))
    inputs = "".join(f"  {name}: {{in0: {{file: {name}.npy}}}}\n" for name in ("end", "beyond"))
    networks.spec(pytester.path, f"inputs:\n{inputs}compare: [cpu-vs-vulkan]\n")
    run = gate()
    red = {
        f"{sample}::cpu-vs-vulkan::{case}"
        for sample in ("end", "beyond")
        for case in ("exp", "output:out0")
    }
    assert set(run.ids("failed")) == red
    assert {run.cases[name]["cause"] for name in red} == {"reference"}
    assert "is far from its function" in run.cases["end::cpu-vs-vulkan::exp"]["message"]
    assert not any(fix["masks"] for fix in run.fixes.values())


def test_a_power_of_e_that_overflows_inside_a_kernel_is_the_cpus_fault(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The functions of 300 and -300 are 300 and 0; within 30 the kernels are right."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=4")
    *large, x = net.split(x, 4)
    x = net.layer("BinaryOp", "small", [x], params="0=2 1=1 2=0.02")
    for (glu, softplus, summed), at in ((large, "large"), (net.split(x, 3), "moderate")):
        net.layer("GLU", f"glu_{at}", [glu], params="0=1")
        net.layer("Softplus", f"softplus_{at}", [softplus])
        net.layer("Reduction", f"sum_{at}", [summed], params="0=10 1=0 -23303=1,1 5=1")
    net.write(pytester.path / "net")
    np.save(pytester.path / "in0.npy", np.linspace(300, -300, 64, dtype=np.float32).reshape(4, 16))
    networks.spec(pytester.path, "inputs:\n  s: {in0: {file: in0.npy}}\ncompare: [cpu-vs-vulkan]\n")
    run = gate()
    red = run.ids("failed")
    outputs = [f"s::cpu-vs-vulkan::output:{name}_large" for name in ("glu", "softplus", "sum")]
    assert set(outputs) <= set(red)
    assert not any("moderate" in case for case in red)
    for case in map(run.cases.get, red):
        assert case["cause"] == "reference"
        assert "gives nan or inf where the function has a value" in case["message"]


def test_a_mask_of_the_wrong_sign_is_no_devices_fault(gate: Gate, pytester: pytest.Pytester) -> None:
    """A Softmax of a row with inf is nan, as on the device; the CPU gives 0 and 1."""
    net = Network()
    mask, scores = (net.layer("Input", name, params="0=12 1=12") for name in ("mask", "scores"))
    x = net.layer("UnaryOp", "negative", [mask], params="0=1")
    x = net.layer("BinaryOp", "masked", [scores, x], params="0=0")
    net.layer("Softmax", "attention", [x], ["out0"], "0=1 1=1")
    net.write(pytester.path / "net")
    causal = np.triu(np.full((12, 12), -np.inf, np.float32), 1)
    np.save(pytester.path / "mask.npy", causal)
    inputs = "inputs:\n  s: {mask: {file: mask.npy}, scores: {random: normal}}\n"
    networks.spec(pytester.path, inputs + "compare: [cpu-vs-vulkan]\n")
    run = gate()
    assert run.ids("failed") == ["s::cpu-vs-vulkan::attention", "s::cpu-vs-vulkan::output:out0"]
    assert {run.cases[name]["cause"] for name in run.ids("failed")} == {"reference"}
    said = run.cases["s::cpu-vs-vulkan::attention"]["message"]
    assert "gives numbers where its function is nan or inf" in said
    assert "it may be wrong as well" not in said
    assert not any(fix["masks"] for fix in run.fixes.values())


@pytest.mark.parametrize("divide", ["UnaryOp 0=15", "BinaryOp 0=8 1=1 2=1.0"])
@pytest.mark.parametrize("finds", ["nothing", "something"])
def test_a_sigmoid_in_layers_of_its_own_may_find_nothing(
    divide: str, finds: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    """exp(12.5) is inf in fp16, and 4e-6 becomes 0: that is no error of a probability."""
    kind, _, params = divide.partition(" ")
    net = Network()
    x = net.layer("Input", "in0", params="0=10 1=10 2=3")
    x = net.layer("UnaryOp", "minus", [x], params="0=1")
    x = net.layer("UnaryOp", "exp", [x], params="0=7")
    x = net.layer("BinaryOp", "plus", [x], params="0=0 1=1 2=1.0")
    net.layer(kind, "sigmoid", [x], ["out0"], params)
    net.write(pytester.path / "net")
    logits = np.random.RandomState(0).normal(-12.5, 0.3, (3, 10, 10)).astype(np.float32)
    if finds == "something":
        logits[1, 2, 3] = 1.5
    np.save(pytester.path / "in0.npy", logits)
    networks.spec(pytester.path, "inputs:\n  s: {in0: {file: in0.npy}}\n" + COMPARE)
    assert gate().ids("failed") == []


def test_what_a_power_of_e_is_needed_for_is_red(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=10 1=10 2=3")
    x = net.layer("UnaryOp", "exp", [x], params="0=7")
    x = net.layer("BinaryOp", "plus", [x], params="0=0 1=1 2=1.0")
    x = net.layer("BinaryOp", "share", [x], params="0=8 1=1 2=1.0")
    net.layer("UnaryOp", "log", [x], ["out0"], "0=8")
    net.write(pytester.path / "net")
    logits = np.random.RandomState(0).normal(12.5, 0.3, (3, 10, 10)).astype(np.float32)
    np.save(pytester.path / "in0.npy", logits)
    networks.spec(pytester.path, "inputs:\n  s: {in0: {file: in0.npy}}\n" + COMPARE)
    run = gate()
    assert run.ids("failed", "fp16-range")
    assert "s::fp16-vs-fp32-vulkan::output:out0" in run.ids("failed")
