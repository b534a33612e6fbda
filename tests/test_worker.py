"""The worker by its protocol: what it runs, how often, and what it tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import networks
import pytest

from pytest_ncnn_parity import check
from pytest_ncnn_parity import spec as specs
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.plan import Plan


def planned(folder: Path, compare: str) -> Plan:
    networks.convolution(folder)
    return check.plan(specs.load(networks.spec(folder, f"{networks.NOISE}compare: {compare}\n")))


def talk(*jobs: Job) -> list[dict[str, Any]]:
    """All messages of a worker that is given `jobs`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_ncnn_parity.engine.worker"],
        input="".join(job.encode() + "\n" for job in jobs),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def job(plan: Plan, *names: str, **kwargs: Any) -> Job:
    cases = [case for c in plan.spec.comparisons for case in plan.cases(c)]
    chosen = [case for case in cases if not names or case.id in names]
    return plan.job("noise", chosen, 1, first=True, **kwargs)


def test_each_step_is_taken_once_for_all_comparisons(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan, fp16-vs-fp32, shipped, fp16-range]")
    steps = [message["at"] for message in talk(job(plan)) if "at" in message]
    taken = [step for step in steps if step.startswith(("layer", "network", "load"))]
    assert len(taken) == len(set(taken)), "nothing is run twice"
    for layer in ("1 c1", "2 c2", "3 c3"):
        assert [step for step in taken if step.startswith(f"layer {layer} ")] == [
            f"layer {layer} on cpu fp32",
            f"layer {layer} on vulkan fp32",
            f"layer {layer} on vulkan fp32, fp16 inputs",
            f"layer {layer} on vulkan fp16, fp16 inputs",
            f"layer {layer} on cpu fp32, fp16 inputs",
        ]
    # the CPU's outputs are the trajectory's own; the others run as a whole, once
    assert [step for step in taken if step.startswith("network")] == [
        "network on vulkan fp32",
        "network on vulkan fp16",
    ]


def test_only_what_is_selected_runs(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan, fp16-vs-fp32-vulkan]")
    steps = [m["at"] for m in talk(job(plan, "cpu-vs-vulkan::c2")) if "at" in m]
    assert [step for step in steps if step.startswith(("layer", "network"))] == [
        "layer 1 c1 on cpu fp32",
        "layer 2 c2 on cpu fp32",
        "layer 2 c2 on vulkan fp32",
    ]
    assert "load on vulkan fp16" not in steps
    outputs = [m["at"] for m in talk(job(plan, "cpu-vs-vulkan::output:c3")) if "at" in m]
    assert [step for step in outputs if step.startswith("layer")] == []


def test_networks_are_loaded_once_for_all_samples(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan]")
    steps = [m["at"] for m in talk(job(plan), job(plan)) if "at" in m]
    assert steps.count("load on cpu fp32") == steps.count("load on vulkan fp32") == 1
    assert steps.count("layer 1 c1 on cpu fp32") == 2


def test_results_are_streamed_as_they_stand(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan]")
    kinds = [
        m["case"]["id"].split("::")[1] if "case" in m else m["at"]
        for m in talk(job(plan))
        if "case" in m or "at" in m
    ]
    assert kinds.index("c1") < kinds.index("layer 2 c2 on cpu fp32")


def test_what_ran_where_is_read_back(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-vs-fp32-vulkan]")
    found = {m["case"]["id"]: m["case"]["evidence"] for m in talk(job(plan)) if "case" in m}
    evidence = found["fp16-vs-fp32-vulkan::c1"]
    assert evidence["execution"] == "vulkan, fp16 storage, fp16 arithmetic"
    assert evidence["device"].startswith("llvmpipe")


def test_an_error_of_ours_is_told_and_is_no_crash(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan]")
    broken = Job.decode(job(plan).encode().replace('"defaults": {', '"defaults": {"x": {}, '))
    (tmp_path / "net.param").unlink()
    engine = Engine(30)
    try:
        with pytest.raises(EngineError, match=r"internal error in the worker at .*FileNotFoundError"):
            list(engine.run(broken))
    finally:
        engine.close()


def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(EngineError, match="cannot start the worker /nonexistent"):
        list(Engine(30, ("/nonexistent/python",)).run(Job((), (), 0, {}, (), {}, 1)))
    failing = (sys.executable, "-c", "import sys; sys.exit('no ncnn here')")
    with pytest.raises(EngineError, match=r"(?s)did not start.*no ncnn here"):
        list(Engine(30, failing).run(Job((), (), 0, {}, (), {}, 1)))
