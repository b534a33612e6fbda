"""Winograd in fp16: what its transforms overflow with is predicted, seen on the device, and fixed."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate, Run
from network import Network

RANGE, FP16 = "fp16-range", "fp16-vs-fp32-vulkan"
BOTH = f"compare: [{RANGE}, {FP16}]\n"
SEEDS = 2  # samples on each side, of three convolutions each


def verdicts(run: Run, comparison: str, sample: str) -> dict[str, tuple[str, str | None]]:
    """Outcome and cause of each layer that computes."""
    return {
        case["layer"]: (case["outcome"], case["cause"])
        for nodeid, case in run.cases.items()
        if nodeid.split("::")[:2] == [sample, comparison] and case["type"] == "Convolution"
    }


def overflowing_before_a_sigmoid(folder: Path, side: int) -> None:
    """Winograd makes nan of what a Sigmoid reads; without it the layer is off by rounding."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params=f"0={side} 1={side} 2=32")
    weights = [rng.normal(0, 20.0, (32, 32, 3, 3)), np.zeros(32)]
    net.layer("Convolution", "conv", [x], ["out0"], "0=32 1=3 4=1 5=1 6=9216 9=4", weights)
    net.write(folder / "sharp")
    text = f"inputs: {{sharp: {{in0: {{random: normal, std: 200}}}}}}\n{BOTH}"
    networks.spec(folder, text, "sharp")


@pytest.mark.parametrize(
    ("side", "kernel", "over", "under"),
    [(33, "winograd F(4,3)", 5000, 1000), (10, "winograd F(2,3)", 13000, 4000)],
)
def test_the_device_overflows_where_that_is_predicted_and_nowhere_else(
    gate: Gate, pytester: pytest.Pytester, side: int, kernel: str, over: int, under: int
) -> None:
    """Values of which fp16 holds each, and each result of a convolution that does without winograd."""
    networks.convolutions_side_by_side(pytester.path, side)
    samples = [(f"{name}_{seed}", std, seed) for name, std in (("over", over), ("under", under))
               for seed in range(SEEDS)]  # fmt: skip
    lines = (
        f"  {name}: {{in0: {{random: normal, std: {std}, seed: {seed}}}}}\n"
        for name, std, seed in samples
    )
    networks.spec(pytester.path, f"inputs:\n{''.join(lines)}{BOTH}")
    overflowing_before_a_sigmoid(pytester.path, side)
    run = gate("--ncnn-parity-fix=off")
    for comparison in (RANGE, FP16):
        red = verdicts(run, comparison, "sharp")["conv"]
        assert red == ("failed", "winograd-overflow"), f"{comparison}: whatever else is wrong with it"
    by_winograd = [f"w{i}" for i in range(len(networks.BY_WINOGRAD))]
    for name, _, _ in samples:
        predicted, seen = (verdicts(run, comparison, name) for comparison in (RANGE, FP16))
        assert len(predicted) == len(by_winograd) + len(networks.DIRECTLY)
        for layer, (outcome, cause) in predicted.items():
            red = name.startswith("over") and layer in by_winograd
            assert (outcome, cause) == (("failed", "winograd-overflow") if red else ("passed", None))
            assert seen[layer] == (outcome, cause), f"{layer} of {name} on the device"
            if red:
                case = run.cases[f"{name}::{RANGE}::{layer}"]
                assert case["inside"]["kernel"] == kernel
                assert case["inside"]["stored"] > 65504 > case["metrics"]["reference_absmax"]
                metrics = run.cases[f"{name}::{FP16}::{layer}"]["metrics"]
                assert metrics["nan"] + metrics["inf"] > 0


@pytest.mark.once
@pytest.mark.parametrize("comparison", [RANGE, FP16])
def test_an_overflow_inside_winograd_is_fixed_on_the_gpu(
    gate: Gate, pytester: pytest.Pytester, comparison: str
) -> None:
    """Inputs and results up to 35000 fit fp16; what winograd's transform makes of them does not."""
    networks.winograd(pytester.path)
    text = f"inputs:\n  large: {{in0: {{random: normal, std: 8000}}}}\ncompare: [{comparison}]\n"
    networks.spec(pytester.path, text)
    run = gate()
    red = [name.split("::")[2] for name in run.ids("failed")]
    assert red == (["conv"] if comparison == RANGE else ["conv", "output:out0"])
    assert run.cases[run.ids("failed")[0]]["cause"] == "winograd-overflow"
    fix = run.fixes[comparison]
    assert fix["masks"] == {"conv": 64}
    assert (fix["verified"], fix["minimal"]) == (True, True)
    if comparison == FP16:
        assert (fix["cost"]["moved"], fix["errors"][1] < 0.004) == (0, True)
    networks.spec(pytester.path, text + "masks: {conv: 64}\n")
    assert gate().ids("failed") == []


def test_headroom_is_that_of_the_transforms_too(gate: Gate, pytester: pytest.Pytester) -> None:
    """A third of what overflows is no fault; but it is what is nearest to fp16's end."""
    networks.winograd(pytester.path)
    samples = "inputs:\n  some: {in0: {random: normal, std: 1000}}\n"
    networks.spec(pytester.path, f"{samples}compare: [{RANGE}]\n")
    run = gate()
    assert run.ids("failed") == []
    inside = run.cases[f"some::{RANGE}::conv"]["inside"]
    assert 16376 < inside["stored"] < 65504
    assert f"conv reaches {inside['stored']:.9g} in winograd F(4,3)" in run.result.stdout.str()


def weights_decide(folder: Path) -> None:
    """Weights so large that what overflows, if anything, is the transform of the outputs."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=33 1=33 2=32")
    weights = [rng.normal(0, 1, (32, 32, 3, 3)), np.zeros(32)]
    net.layer("Convolution", "conv", [x], ["out0"], "0=32 1=3 4=1 5=1 6=9216", weights)
    net.write(folder / "net")


def test_what_depends_on_the_order_of_terms_is_said_and_not_red(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    weights_decide(pytester.path)
    samples = "inputs:\n  some: {in0: {random: normal, std: 250}}\n"
    networks.spec(pytester.path, f"{samples}compare: [{RANGE}]\n")
    run = gate()
    case = run.cases[f"some::{RANGE}::conv"]
    assert case["outcome"] == "passed"
    assert case["inside"]["stored"] < 65504 < case["inside"]["bound"]
    assert "31=64 avoids it" in case["message"]
