"""A failure that many cases share is told by one of them, whichever of them are run."""

from __future__ import annotations

from pathlib import Path

import faulty_driver
import networks
import numpy as np
import pytest
import verdicts
from conftest import Gate
from network import Network
from own_layers import OPS, affine, project

from pytest_ncnn_parity.engine.settings import Settings, share_of_cores
from pytest_ncnn_parity.engine.spec_run import SpecRun

pytestmark = pytest.mark.once

MADE = "made = np.array(bottom)"
FAULTS = {
    "raises": "if (np.array(bottom) == 0).any(): raise ValueError('no zeros')\n            ",
    "kills": "if (np.array(bottom) == 0).any(): import os; os.kill(os.getpid(), 11)\n            ",
}
CHANGED = "inputs: {some: {in0: {constant: 1.0}}}\ncompare: [cpu-vs-vulkan, fp16-range]\n"


def tiny_in_front_of_its_own(folder: Path) -> None:
    """1e-9, which is 0 in fp16, is read by a layer of the project's own."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8")
    x = net.layer("BinaryOp", "tiny", [x], params="0=2 1=1 2=1e-9")
    x = net.layer("Affine", "own", [x], params="0=3.0", weights=[np.ones(8)], flagged=False)
    net.layer("BinaryOp", "after", [x], ["out0"], params="0=2 1=1 2=0.5")
    net.write(folder / "net")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reader_that_fails_on_changed_values_alone_costs_no_other_case_its_verdict(
    fault: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    """Whether zeros matter is tried on the CPU; the network itself never has any in fp32."""
    tiny_in_front_of_its_own(pytester.path)
    project(pytester.path, OPS.replace(MADE, FAULTS[fault] + MADE))
    networks.spec(pytester.path, f"setup: nets.ops:register\n{CHANGED}")
    run = gate("--ncnn-parity-fix=off")
    tiny = run.cases["some::fp16-range::tiny"]
    assert (tiny["outcome"], tiny["cause"]) == ("failed", "underflow")
    assert "8 values become 0 in fp16, and own (Affine) cannot be run on that" in tiny["message"]
    assert run.ids("failed") == ["some::fp16-range::tiny"]
    for name in ("tiny", "after", "output:out0"):
        assert run.cases[f"some::cpu-vs-vulkan::{name}"]["outcome"] == "passed"
    assert "made by tiny, which fails itself" in run.cases["some::fp16-range::own"]["message"]
    assert run.cases["some::fp16-range::after"]["outcome"] == "passed"


@pytest.mark.parametrize("selected", [["before", "after"], ["before", "own", "after"]])
def test_a_layer_that_kills_the_reference_is_told_by_the_first_case_that_needs_it(
    selected: list[str], gate: Gate, pytester: pytest.Pytester
) -> None:
    affine(pytester.path)
    project(pytester.path, OPS.replace(MADE, "import os; os.kill(os.getpid(), 11); " + MADE))
    names = [f"net.parity.yaml::noise::cpu-vs-vulkan::{name}" for name in selected]
    run = gate("--ncnn-parity-fix=off", *names)
    assert run.cases["noise::cpu-vs-vulkan::before"]["outcome"] == "passed"
    first = run.cases[f"noise::cpu-vs-vulkan::{selected[1]}"]
    assert (first["outcome"], first["cause"]) == ("failed", "crash")
    assert "own on cpu fp32" in first["message"]
    assert run.ids("failed") == [f"noise::cpu-vs-vulkan::{selected[1]}"]


# -- a network that cannot be loaded ---------------------------------------------------------------

LOADS_FP16 = "vkCreateComputePipelines:1:11"
BOTH = "[fp16-range, fp16-vs-fp32-vulkan]"


def of_chosen(folder: Path, chosen: dict[str, str]) -> tuple[SpecRun, dict[str, str]]:
    """The run of one comparison in each sample, and the outcomes."""
    plan = verdicts.plan(folder, BOTH, samples=len(chosen))
    by_name = {one.name: plan.cases(one) for one in plan.spec.comparisons}
    cases = {sample: by_name[name] for sample, name in chosen.items()}
    run = SpecRun(plan, Settings(60.0, share_of_cores(1)), cases)
    return run, {f"{s}::{c.name}": run.result(s, c).outcome for s, some in cases.items() for c in some}


def test_a_load_that_only_a_later_sample_needs_is_told_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, tmp_path, LOADS_FP16, once=False)
    networks.convolution(tmp_path)
    other = {"s0": "fp16-range", "s1": "fp16-vs-fp32-vulkan", "s2": "fp16-vs-fp32-vulkan"}
    run, outcomes = of_chosen(tmp_path, other)
    run.close()
    failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
    assert failed == ["s1::in0"]
    assert {outcome for name, outcome in outcomes.items() if name[:2] == "s2"} == {"skipped"}


def test_a_case_that_is_run_again_tells_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be green otherwise: what it told was taken back."""
    faulty_driver.install(monkeypatch, tmp_path, LOADS_FP16, once=False)
    networks.convolution(tmp_path)
    run, outcomes = of_chosen(tmp_path, {"s0": "fp16-vs-fp32-vulkan"})
    case = run.selected["s0"][0]
    assert (case.name, outcomes["s0::in0"]) == ("in0", "failed")
    again = run.result_of_rerun("s0", case)
    run.close()
    assert (again.outcome, again.evidence.death is None) == ("failed", False)


def test_a_case_that_is_expected_to_fail_tells_nothing(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pytest counts it as an expected failure, and would be green if all others were skipped."""
    faulty_driver.install(monkeypatch, pytester.path, LOADS_FP16, once=False)
    networks.convolution(pytester.path)
    known = "known: [{layer: in0, comparison: fp16-vs-fp32-vulkan, reason: of old}]\n"
    networks.spec(pytester.path, f"{networks.NOISE}compare: {BOTH}\n{known}")
    run = gate("--ncnn-parity-fix=off")
    case = "noise::fp16-vs-fp32-vulkan"
    assert run.ids("failed") == [f"{case}::c1"]
    assert run.cases[f"{case}::in0"]["known"] is True
    assert run.cases[f"{case}::c1"]["cause"] == "crash"


def test_a_sample_that_cannot_be_run_is_told_by_a_case_that_is_not_expected_to_fail(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.convolution(pytester.path)
    np.save(pytester.path / "in.npy", np.full((8, 24, 24), np.nan, np.float32))
    known = "known: [{layer: in0, reason: of old}, {layer: c1, reason: of old}]\n"
    fed = "inputs: {s: {in0: {file: in.npy}}}\n"
    networks.spec(pytester.path, f"{fed}compare: [fp16-range]\n{known}")
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == ["s::fp16-range::c2"]
    assert "nan" in run.cases["s::fp16-range::c2"]["message"]


def test_comparisons_may_be_called_as_what_else_is_told_once(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    names = ["model", "masks", "unread", "fix", "network"]
    networks.overflow_beside(pytester.path, "ReLU", "")
    setups = "reference: {device: cpu}, candidate: {device: vulkan, precision: fp16}"
    compared = "".join(f"  - {{name: {name}, {setups}}}\n" for name in names)
    networks.spec(pytester.path, f"inputs: {{some: {{in0: {{constant: 4.0}}}}}}\ncompare:\n{compared}")
    run = gate()
    (model,) = run.report["models"]
    assert [layer["name"] for layer in model["layers"]][-1] == "other"
    assert model["param"] == "net.param"
    assert [fix["comparison"] for fix in model["fixes"]] == names
