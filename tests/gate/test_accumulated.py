"""The error of each value in the candidate's own run, beside that of the layer alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import networks
import pytest
from conftest import Gate
from workers import job, planned, talk

from pytest_ncnn_parity.diagnose.error_growth import lines
from pytest_ncnn_parity.engine.evidence import Growth, GrowthStep

ON = "--ncnn-parity-accumulated"
FP16 = "fp16-vs-fp32-vulkan"


@pytest.fixture
def drift(pytester: pytest.Pytester) -> None:
    networks.drift(pytester.path)
    text = "inputs: {ones: {in0: {constant: 1}}}\n"
    networks.spec(pytester.path, f"{text}compare: [{FP16}]\ntolerance: {{fp16: {{scaled: 0.005}}}}\n")


@pytest.fixture
def cancellation(pytester: pytest.Pytester) -> None:
    networks.cancellation(pytester.path)
    inputs = "inputs: {noise: {in0: {random: uniform, low: 1, high: 2}}}\n"
    networks.spec(pytester.path, f"{inputs}compare: [cpu-vs-vulkan, {FP16}]\n")


@pytest.mark.once
@pytest.mark.usefixtures("drift")
def test_errors_of_layers_that_are_all_right_add_up(gate: Gate) -> None:
    run = gate(ON, "--ncnn-parity-fix=off")
    assert run.ids("failed") == [f"ones::{FP16}::output:out0"]
    layers = [case for case in run.cases.values() if case["layer"] not in ("in0", None)]
    errors = [case["accumulated"]["scaled"] for case in layers]
    assert errors == sorted(errors)
    assert errors[0] < 0.0005
    output = run.cases[f"ones::{FP16}::output:out0"]
    assert output["metrics"]["scaled"] == errors[-1] > 0.01
    assert output["accumulated"]["max_abs"] == output["metrics"]["max_abs"]
    assert "it adds up: the error grows in 30 layers, in none by more than 0.0004" in output["message"]


@pytest.mark.once
@pytest.mark.usefixtures("drift")
def test_without_the_option_nothing_is_followed_and_the_failure_names_it(gate: Gate) -> None:
    run = gate("--ncnn-parity-fix=off")
    assert {case["accumulated"] for case in run.cases.values()} == {None}
    assert f"{ON} shows where the error grows on its way here" in run.output


@pytest.mark.once
@pytest.mark.usefixtures("cancellation")
def test_one_layer_that_amplifies_is_named(gate: Gate, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nncnn_parity_accumulated = true\n")
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == [f"noise::{FP16}::output:out0"]
    case = run.cases[f"noise::{FP16}::subtract"]
    assert float(case["metrics"]["scaled"]) < 1e-3, "by itself it is right"
    assert case["accumulated"]["scaled"] > 0.08
    before = run.cases[f"noise::{FP16}::scale"]["accumulated"]["scaled"]
    after = case["accumulated"]["scaled"]
    line = f"error grows from {before:.3g} to {after:.3g} at subtract (BinaryOp)"
    assert line in run.cases[f"noise::{FP16}::output:out0"]["message"]
    assert run.cases["noise::cpu-vs-vulkan::subtract"]["accumulated"]["scaled"] < 1e-3

    alone = gate("--ncnn-parity-fix=off", "-k", "output")
    assert line in alone.cases[f"noise::{FP16}::output:out0"]["message"]
    spread = gate("--ncnn-parity-fix=off", "-n", "2")
    assert {n: c["accumulated"] for n, c in spread.cases.items()} == {
        n: c["accumulated"] for n, c in run.cases.items()
    }


@pytest.mark.once
@pytest.mark.usefixtures("cancellation")
def test_a_known_failure_is_followed_as_well(gate: Gate, pytester: pytest.Pytester) -> None:
    with (pytester.path / "net.parity.yaml").open("a", encoding="utf-8") as spec:
        spec.write(f"known: [{{output: out0, comparison: {FP16}, reason: cancels}}]\n")
    run = gate(ON, "-k", f"output and {FP16}")
    assert run.result.ret == 0
    assert run.cases[f"noise::{FP16}::output:out0"]["accumulated"]["scaled"] > 0.08


@pytest.mark.once
def test_every_network_takes_each_layer_once_more_whoever_looks(tmp_path: Path) -> None:
    asked = job(planned(tmp_path, "[cpu-vs-vulkan, fp16-vs-fp32-vulkan, shipped, fp16-range]"))
    followed = [m["at"] for m in talk(replace(asked, accumulated=True)) if "at" in m]
    own = [step for step in followed if step.endswith("its own inputs")]
    expected = [
        f"layer {layer} on vulkan {precision}, its own inputs"
        for layer in ("1 c1", "2 c2", "3 c3")
        for precision in ("fp32", "fp16")
    ]
    assert Counter(own) == Counter(expected)


def test_only_the_layers_before_what_is_judged_are_followed(tmp_path: Path) -> None:
    asked = job(planned(tmp_path, "[cpu-vs-vulkan, shipped]"), "shipped::c2", "cpu-vs-vulkan::c1")
    messages = talk(replace(asked, accumulated=True))
    own = [m["at"] for m in messages if m.get("at", "").endswith("its own inputs")]
    assert own == [
        "layer 1 c1 on vulkan fp32, its own inputs",
        "layer 1 c1 on vulkan fp16, its own inputs",
        "layer 2 c2 on vulkan fp16, its own inputs",
    ]


@pytest.mark.since_ncnn("1.0.20260526", "some operators compute otherwise in a run than alone")
def test_the_last_layers_error_is_the_outputs(tmp_path: Path) -> None:
    """Each against its comparison's reference in that one's own run."""
    asked = job(planned(tmp_path, "[cpu-vs-vulkan, fp16-vs-fp32-vulkan, shipped, fp16-range]"))
    results = {
        message["case"]["id"]: message["case"]
        for message in talk(replace(asked, accumulated=True))
        if "case" in message
    }
    for comparison in ("cpu-vs-vulkan", FP16, "shipped"):
        output, layer = (results[f"{comparison}::{name}"] for name in ("output:c3", "c3"))
        assert layer["accumulated"] == output["accumulated"]
        for name in ("scaled", "max_abs", "cosine", "sqnr_db", "reference_absmax", "candidate_absmax"):
            assert layer["accumulated"][name] == output["metrics"][name]
        assert layer["accumulated"]["scaled"] > 0
    assert results["shipped::c3"]["accumulated"] != results[f"{FP16}::c3"]["accumulated"]
    assert "accumulated" not in results["fp16-range::c3"]


@pytest.mark.once
def test_a_run_that_dies_ends_there_and_says_so(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=2")  # kills the worker on Vulkan in fp16
    networks.spec(pytester.path, networks.NOISE + f"compare: [cpu-vs-vulkan, {FP16}]\n")
    run = gate(ON, "--ncnn-parity-fix=off")
    cases = {name.removeprefix("noise::"): case for name, case in run.cases.items()}
    assert cases[f"{FP16}::c1"]["accumulated"]["scaled"] < 0.01
    for name in ("c2", "c3", "output:c3"):
        assert cases[f"{FP16}::{name}"]["accumulated"] is None
        ended = cases[f"{FP16}::{name}"]["accumulated_ended"]
        assert ended.startswith("layer 2 c2 on vulkan fp16, its own inputs: killed by SIG")
    assert cases[f"{FP16}::c3"]["outcome"] == "passed", "what it is judged by is not that run"
    assert cases["cpu-vs-vulkan::output:c3"]["accumulated"]["scaled"] < 1e-3


@pytest.mark.since_ncnn("1.0.20260526", "a CPU in bf16 takes masks there as it likes")
def test_what_would_take_16_bits_for_fp32_is_not_run(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=4")
    bf16 = "{name: bf16, reference: {device: cpu}, candidate: {device: cpu, precision: bf16}}"
    networks.spec(pytester.path, networks.NOISE + f"compare: [{bf16}]\n")
    run = gate(ON, "--ncnn-parity-fix=off")
    assert run.cases["noise::bf16::c1"]["accumulated"]["scaled"] > 0
    ended = run.cases["noise::bf16::c3"]["accumulated_ended"]
    assert ended.endswith("31=4 makes it read the 16-bit values of c1 as fp32")


# -- in words ------------------------------------------------------------------------------------


def step(layer: str, before: float, after: float) -> GrowthStep:
    return GrowthStep(layer, "Convolution", before, after)


def test_one_large_step_is_reported_without_the_small_ones() -> None:
    growth = Growth(9, (step("conv_17", 0.004, 0.0312), step("conv_3", 0.001, 0.002)))
    assert list(lines(growth, 0.04)) == ["error grows from 0.004 to 0.0312 at conv_17 (Convolution)"]


def test_an_error_without_end_is_reported_where_it_begins() -> None:
    growth = Growth(2, (step("conv_1", 0.5, float("inf")), step("conv_0", 0.0, 0.5)))
    (line,) = lines(growth, float("inf"))
    assert line == "error grows from 0.5 to inf at conv_1 (Convolution)"


def test_a_run_that_ended_is_said_beside_what_it_showed() -> None:
    growth = Growth(1, (step("conv_1", 0.0, 0.1),), "layer 2: killed")
    assert list(lines(growth, 0.1))[-1].endswith("not be followed to its end: layer 2: killed")
