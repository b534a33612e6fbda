"""On a software device layers are judged in the run of the whole network, which is needed anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import faulty_driver
import networks
import pytest
import verdicts
from network import Network

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.protocol import Judge, Result
from pytest_ncnn_parity.engine.steps import Step

COMPARE = "[cpu-vs-vulkan, fp16-vs-fp32]"


def judging(folder: Path) -> Judge:
    plan = verdicts.plan(folder, COMPARE)
    cases = [case for one in plan.spec.comparisons for case in plan.cases(one, "s0")]
    return jobs.judge(plan, "s0", cases, threads=2)


def judged(job: Judge) -> tuple[dict[str, Result], list[Step]]:
    """The results by the id of their cases, and the native steps that were taken."""
    engine = Engine(60.0)
    steps: list[Step] = []
    engine.watch = steps.append
    try:
        results = {result.id: result for result in engine.run(job)}
    finally:
        engine.close()
    if not any("llvmpipe" in device["name"] for device in engine.facts.devices):
        pytest.skip("a GPU runs each layer alone as fast")
    return results, steps


def in_own_run(results: Mapping[str, Result], comparison: str) -> set[str]:
    """The layers that were judged in their own run."""
    return {
        name.split("::")[1]
        for name, result in results.items()
        if name.startswith(comparison) and result.evidence.own_inputs
    }


def test_a_healthy_network_is_run_once_on_each_side(tmp_path: Path) -> None:
    networks.chain(tmp_path, 4)
    results, steps = judged(judging(tmp_path))
    assert {result.outcome for result in results.values() if "vulkan" in result.id} == {"passed"}
    layers = {"l1", "l2", "l3", "l4"}
    assert in_own_run(results, "cpu-vs-vulkan") == layers
    assert in_own_run(results, "fp16-vs-fp32-vulkan") == layers
    on_vulkan = [(s.kind, s.label, s.name, s.on) for s in steps if s.label.startswith("vulkan")]
    assert sorted(taken for taken in on_vulkan if taken[0] != "load") == [
        ("layer", f"vulkan {precision}", name, "own")
        for precision in ("fp16", "fp32")
        for name in sorted(layers)
    ]


def test_behind_a_red_layer_each_runs_alone(tmp_path: Path) -> None:
    """`big` overflows in fp16, so that nothing behind it in that run says anything about itself."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("BinaryOp", "before", [x], params="0=2 1=1 2=2.0")
    x = net.layer("BinaryOp", "big", [x], params="0=2 1=1 2=300000.0")
    x = net.layer("BinaryOp", "small", [x], params="0=2 1=1 2=0.000001")
    net.layer("BinaryOp", "behind", [x], ["out0"], params="0=2 1=1 2=3.0")
    net.write(tmp_path / "net")
    results, _ = judged(judging(tmp_path))
    assert in_own_run(results, "cpu-vs-vulkan") == {"before", "big", "small", "behind"}
    assert in_own_run(results, "fp16-vs-fp32-vulkan") == {"before"}
    outcomes = {
        name.split("::")[1]: result.outcome
        for name, result in results.items()
        if name.startswith("fp16-vs-fp32-vulkan")
    }
    assert outcomes["big"] == "failed"
    assert outcomes["behind"] == "passed"


@pytest.mark.once
def test_behind_a_layer_whose_values_are_wrong_but_finite_each_runs_alone(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    job = judging(tmp_path)
    exact = Tolerance(scaled=0.0)
    cases = tuple(
        replace(case, tolerance=exact) if case.id == "fp16-vs-fp32-vulkan::c1" else case
        for case in job.cases
    )
    results, _ = judged(replace(job, cases=cases))
    assert results["fp16-vs-fp32-vulkan::c1"].outcome == "failed"
    assert results["fp16-vs-fp32-vulkan::c3"].outcome == "passed"
    assert in_own_run(results, "fp16-vs-fp32-vulkan") == set()


@pytest.mark.once
def test_a_death_in_the_own_run_is_that_of_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of a driver that goes on well when the layer is run again, alone."""
    networks.convolution(tmp_path)
    job = judging(tmp_path)
    faulty_driver.install(monkeypatch, tmp_path, "vkQueueSubmit:6:11", once=True)
    results, _ = judged(job)
    [failed] = [result for result in results.values() if result.outcome == "failed"]
    death = failed.evidence.death
    assert death is not None
    assert death.step is not None
    assert (death.kind, death.step.on, death.step.name) == ("crash", "own", failed.id.split("::")[1])


@pytest.mark.once
def test_where_a_layer_is_not_judged_each_runs_alone(tmp_path: Path) -> None:
    """For what lies behind it nothing shows whether it got right values."""
    networks.chain(tmp_path, 4)
    job = judging(tmp_path)
    cases = tuple(case for case in job.cases if case.id != "cpu-vs-vulkan::l2")
    results, steps = judged(replace(job, cases=cases))
    assert in_own_run(results, "cpu-vs-vulkan") == set()
    assert in_own_run(results, "fp16-vs-fp32-vulkan") == {"l1", "l2", "l3", "l4"}
    assert [step.name for step in steps if step.on == "own" and step.label == "vulkan fp32"] == []
