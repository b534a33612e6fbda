"""`tolerance: {headroom: N}`: what comes near to fp16's end is red in fp16-range before it overflows."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate, Run
from network import FP32_WEIGHTS, Network

RANGE = "fp16-range"
OFF = f"compare: [{RANGE}]\n"


def red(run: Run) -> dict[str, str]:
    """The cause of each red case."""
    return {name.split("::")[2]: run.cases[name]["cause"] for name in run.ids("failed")}


@pytest.mark.once
@pytest.mark.parametrize(
    ("tolerance", "names"),
    [
        ("", []),
        ("tolerance: {headroom: 1}", []),
        ("tolerance: {headroom: 1.6}", []),
        ("tolerance: {headroom: 2}", ["up", "copy"]),
        ("tolerance: {headroom: 2, layers: {up: {headroom: 1.5}, copy: {headroom: 1}}}", []),
        ("tolerance: {layers: {up: {headroom: 2}}}", ["up"]),
    ],
)
def test_a_value_within_the_factor_is_red_and_fixed(
    gate: Gate, pytester: pytest.Pytester, tolerance: str, names: list[str]
) -> None:
    """40000 of 65504, a factor of 1.64."""
    net = Network()
    x = net.layer("Input", "in0", params="0=12")
    x = net.layer("BinaryOp", "up", [x], params="0=2 1=1 2=200.0")
    x = net.layer("ReLU", "copy", [x])
    net.layer("BinaryOp", "down", [x], ["out0"], "0=2 1=1 2=0.005")
    net.write(pytester.path / "net")
    sample = "inputs:\n  high: {in0: {constant: 200.0}}\n"
    networks.spec(pytester.path, f"{sample}{OFF}{tolerance}\n")
    run = gate()
    assert red(run) == dict.fromkeys(names, "headroom")
    if not names:
        return
    fix = run.fixes[RANGE]
    masked = names if names == ["up"] else ["up", "copy", "down"]
    assert fix["verified"]
    assert set(masked) <= fix["masks"].keys() | {"copy"}
    assert set(fix["masks"].values()) == {18}


def test_winograd_counts_with_what_its_transforms_may_reach(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Inputs and results are 14 times below the end, and the transform of the inputs is not twice."""
    networks.winograd(pytester.path)
    sample = "inputs:\n  some: {in0: {random: normal, std: 1000}}\n"
    networks.spec(pytester.path, f"{sample}{OFF}tolerance: {{headroom: 2}}\n")
    run = gate()
    assert red(run) == {"conv": "headroom"}
    case = run.cases[f"some::{RANGE}::conv"]
    assert case["tolerance"]["headroom"] == 2
    assert case["inside"]["bound"] > 32752 > 4 * case["metrics"]["reference_absmax"]
    fix = run.fixes[RANGE]
    assert (fix["masks"], fix["verified"], fix["minimal"]) == ({"conv": 64}, True, True)


def accumulating(folder: Path) -> None:
    """Layers whose inputs and results are small, and whose sums are not."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=20 1=20 2=16")
    averaged, pooled, meant, convolved, multiplied, few = net.split(x, 6)
    net.layer("Pooling", "windows", [averaged], ["a"], "0=1 1=15 2=1 3=7 5=1 6=1")
    net.layer("Pooling", "all", [pooled], ["b"], "0=1 4=1")
    net.layer("Reduction", "mean", [meant], ["c"], "0=3 1=0 -23303=2,0,1 4=1 5=1")
    weights = [rng.choice([-1.0, 1.0], (8, 16, 5, 5)), np.zeros(8)]
    net.layer("Convolution", "conv", [convolved], ["d"], "0=8 1=5 4=2 5=1 6=3200", weights)
    weights = [rng.choice([-0.1, 0.1], (8, 6400)), np.zeros(8)]
    net.layer("InnerProduct", "dense", [multiplied], ["e"], "0=8 1=1 2=51200", weights)
    few, channelwise, spread, rows = net.split(few, 4)
    net.layer("Pooling", "small", [few], ["f"], "0=1 1=2 2=2")
    weights = [rng.choice([-1.0, 1.0], (16, 20, 20)), np.zeros(16)]
    params = "0=16 1=20 5=1 6=6400 7=16"
    net.layer("ConvolutionDepthWise", "depthwise", [channelwise], ["g"], params, weights)
    weights = [rng.choice([-1.0, 1.0], (8, 16, 6, 6)), np.zeros(8)]
    params = "0=8 1=6 3=1 4=2 5=1 6=4608"
    net.layer("Deconvolution", "transposed", [spread], ["h"], params, weights)
    rows = net.layer("Reshape", "rows", [rows], params="0=400 1=16")
    params = "3=1 5=1 6=1 7=0 8=8 9=400 10=-1"
    rows, paired, multiplied, attended = net.split(rows, 4)
    net.layer("Gemm", "gemm", [rows], ["i"], params, [rng.choice([-1.0, 1.0], (8, 400))])
    signs = [rng.choice([-1.0, 1.0], (8, 400))]
    held = net.layer("MemoryData", "held", [], params="0=400 1=8", weights=signs, flagged=False)
    held, other = net.split(held, 2)
    net.layer("Gemm", "pair", [paired, held], ["k"], "3=1")
    net.layer("MatMul", "product", [multiplied, other], ["l"], "0=1")
    projections = [
        (*signs, 8),
        (*signs, 8),
        (np.full((8, 400), 1e-3), 8),
        (np.full((400, 8), 0.01), 400),
    ]
    weights = [tensor for one, biases in projections for tensor in (FP32_WEIGHTS, one, np.zeros(biases))]
    params = "0=8 1=2 2=3200 3=400 4=400 6=1e-6"
    net.layer("MultiHeadAttention", "attention", [attended], ["m"], params, weights[1:])
    many = net.layer("Input", "many", params="0=40000")
    net.layer("Softmax", "softmax", [many], ["j"], "0=0 1=1")
    net.write(folder / "net")


@pytest.mark.once
def test_sums_count_in_the_worst_order_of_their_terms(gate: Gate, pytester: pytest.Pytester) -> None:
    accumulating(pytester.path)
    inputs = "in0: {random: uniform, low: 150, high: 200}, many: {constant: 3.0}"
    sample = f"inputs:\n  some: {{{inputs}}}\n"
    networks.spec(pytester.path, f"{sample}{OFF}tolerance: {{headroom: 2}}\n")
    run = gate()
    layers = ["windows", "all", "mean", "conv", "dense", "depthwise", "transposed", "gemm"]
    layers += ["pair", "product", "attention"]
    assert red(run) == dict.fromkeys([*layers, "softmax"], "headroom")
    assert run.cases[f"some::{RANGE}::softmax"]["inside"]["bound"] == 40_000
    for layer in layers:
        inside = run.cases[f"some::{RANGE}::{layer}"]["inside"]
        assert (inside["kernel"], inside["bound"] > 32752) == ("fp16 arithmetic", True)
    fix = run.fixes[RANGE]
    assert (fix["masks"], fix["verified"]) == (dict.fromkeys(layers, 1) | {"softmax": 18}, True)
    networks.spec(pytester.path, f"{sample}{OFF}")
    # its sum stops growing at 4 times 2048, on Vulkan too, though it would reach 40,000
    assert red(gate()) == {"softmax": "precision"}


# by layer: its input is as large as it takes for a sum of so many terms to be 62000, or 70000
SUMS = {
    "mean": ("Reduction", "0=3 1=0 -23303=2,1,2 4=1 5=1", 256),
    "norm": ("Reduction", "0=8 1=0 -23303=1,0 4=1 5=1", 8),
    "log": ("Reduction", "0=10 1=1", 2048),
    "windows": ("Pooling", "0=1 1=5 2=3 3=2 5=1", 25),
    "whole": ("Pooling", "0=1 4=1", 256),  # in fp32, whatever the size
    "unit": ("Normalize", "0=1 1=1 2=0.001 3=1", 2048),
    "unit_each": ("Normalize", "0=1 1=1 2=0.001 3=1 4=0", 256),
    "unit_places": ("Normalize", "0=0 1=1 2=0.001 3=1", 8),
}
SQUARED = ("norm", "unit", "unit_each", "unit_places")


@pytest.mark.once
def test_a_sum_that_surely_overflows_is_predicted_where_the_device_has_it_so(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Means, norms and the like, whose inputs and results fit."""
    net = Network()
    blobs = net.split(net.layer("Input", "in0", params="0=16 1=16 2=8"), 2 * len(SUMS))
    for i, (name, (kind, params, count)) in enumerate(SUMS.items()):
        for blob, (size, total) in zip(
            blobs[2 * i :], {"less": 62000.0, "more": 70000.0}.items(), strict=False
        ):
            value = total / count
            value = np.sqrt(value) if name in SQUARED else np.log(value) if name == "log" else value
            scale = f"0=2 1=1 2={value:.5f}"
            x = net.layer("BinaryOp", f"{name}_{size}_scaled", [blob], params=scale)
            weights = [np.ones(1)] if kind == "Normalize" else []
            net.layer(
                kind, f"{name}_{size}", [x], [f"{name}_{size}_out"], params, weights, flagged=False
            )
    net.write(pytester.path / "net")
    sample = "inputs:\n  one: {in0: {constant: 1}}\n"
    networks.spec(pytester.path, f"{sample}compare: [{RANGE}, fp16-vs-fp32-vulkan]\n")
    run = gate("--ncnn-parity-fix=off", "-k", "not output")
    for name in (f"{name}_{size}" for name in SUMS for size in ("less", "more")):
        predicted, seen = (
            run.cases[f"one::{comparison}::{name}"] for comparison in (RANGE, "fp16-vs-fp32-vulkan")
        )
        if seen["outcome"] == "skipped":  # as a Reduction, which an old ncnn runs on the CPU
            assert predicted["outcome"] == "passed"
            continue
        assert (predicted["outcome"], predicted["cause"]) == (seen["outcome"], seen["cause"]), name
    assert run.cases[f"one::{RANGE}::windows_more"]["cause"] == "accumulator-overflow"
    assert run.cases[f"one::{RANGE}::windows_more"]["inside"]["stored"] > 65504
    names = [name for name in SUMS if name != "whole"]
    masked = f"masks: {{{', '.join(f'{name}_more: 1' for name in names)}}}\n"
    networks.spec(pytester.path, f"{sample}compare: [{RANGE}, fp16-vs-fp32-vulkan]\n{masked}")
    assert gate("--ncnn-parity-fix=off", "-k", "more and not output").ids("failed") == []
