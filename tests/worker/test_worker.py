"""The worker by its protocol: what it runs, how often, and what it reports."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import pytest
from network import Network
from workers import job, planned, talk

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.protocol import Judge
from pytest_ncnn_parity.engine.trust import Fingerprint
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec


def test_each_step_is_taken_once_for_all_comparisons(tmp_path: Path) -> None:
    """Layers alone; where outputs are wanted, see test_own_runs."""
    plan = planned(tmp_path, "[cpu-vs-vulkan, fp16-vs-fp32, shipped, fp16-range]")
    names = [case.id for one in plan.spec.comparisons for case in plan.cases(one) if case.output is None]
    steps = [message["at"] for message in talk(job(plan, *names)) if "at" in message]
    taken = [step for step in steps if step.startswith(("layer", "network", "load"))]
    assert len(taken) == len(set(taken)), "nothing is run twice"
    for layer in ("1 c1", "2 c2", "3 c3"):
        assert [step for step in taken if step.startswith(f"layer {layer} ")] == [
            f"layer {layer} on cpu fp32",
            f"layer {layer} on vulkan fp32",
            f"layer {layer} on cpu fp32, fp16 inputs",  # for fp16-range, and in the place of llvmpipe's
            f"layer {layer} on vulkan fp16, fp16 inputs",
        ]
    names = [case.id for one in plan.spec.comparisons for case in plan.cases(one) if case.output]
    steps = [message["at"] for message in talk(job(plan, *names)) if "at" in message]
    assert [step for step in steps if step.startswith("network")] == [
        "network on cpu fp32",
        "network on vulkan fp32",
        "network on vulkan fp16",
    ]


def test_a_worker_says_what_it_runs_on() -> None:
    environment = talk()[0]["environment"]
    assert environment["system"] == platform.platform()
    assert environment["machine"] == platform.machine()
    assert environment["python"] == platform.python_version()


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


def test_what_is_asked_about_a_red_case_finds_its_networks_loaded(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan, fp16-vs-fp32-vulkan]")
    comparison = plan.spec.comparisons[1]
    asked = (
        job(plan),
        jobs.fingerprint(plan, "noise", 1),
        jobs.profile(plan, "noise", comparison, 1, sensitivity=True),
        job(plan, "fp16-vs-fp32-vulkan::output:c3"),
        jobs.time(plan, "noise", [(Setup("vulkan", "fp16"), 0)], [], 1),
    )
    loads = [m["at"] for m in talk(*asked) if m.get("at", "").startswith("load on")]
    assert sorted(loads) == ["load on cpu fp32", "load on vulkan fp16", "load on vulkan fp32"]


def test_the_last_job_drops_the_networks_that_its_cases_do_not_use(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan, fp16-vs-fp32-vulkan]")
    whole = job(plan)
    part = replace(whole, cases=tuple(c for c in whole.cases if c.comparison == "cpu-vs-vulkan"))
    for last, times in ((False, 1), (True, 2)):
        messages = talk(whole, replace(part, last=last), whole)
        loads = [m["at"] for m in messages if m.get("at", "").startswith("load on")]
        assert loads.count("load on vulkan fp16") == times
        assert loads.count("load on cpu fp32") == loads.count("load on vulkan fp32") == 1


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
    by_case = {m["case"]["id"]: m["case"]["evidence"] for m in talk(job(plan)) if "case" in m}
    evidence = by_case["fp16-vs-fp32-vulkan::c1"]
    assert evidence["execution"] == "vulkan, fp16 storage, fp16 arithmetic"
    assert evidence["device"].startswith("llvmpipe")


# -- other questions than cases ---------------------------------------------------------------------


def trial(plan: Plan, masks: dict[str, int]) -> Judge:
    """The network under `masks` that it is not loaded with."""
    (comparison,) = plan.spec.comparisons
    cases = [case for case in plan.cases(comparison) if case.output is not None]
    whole = plan.graph.with_masks(masks).masks
    return jobs.trial(plan, "noise", cases, whole, 1)


def layer_steps(messages: list[dict[str, Any]]) -> list[list[str]]:
    """The layers run, job by job."""
    runs: list[list[str]] = [[]]
    for message in messages:
        if "end" in message:
            runs.append([])
        elif message.get("at", "").startswith("layer"):
            runs[-1].append(message["at"].split(" ", 2)[2])
    return runs[:-1]


def test_a_trial_takes_only_steps_that_no_trial_took_before(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-vs-fp32-vulkan]")
    tries = [{}, {"c2": 1}, {"c2": 18}, {"c2": 18, "c3": 1}, {"c2": 1}]
    taken = layer_steps(talk(*(trial(plan, masks) for masks in tries)))
    assert taken == [
        [f"c{i} on vulkan fp16" for i in (1, 2, 3)],
        ["c2 on vulkan fp16 with 31=1", "c3 on vulkan fp16"],
        ["c2 on vulkan fp16 with 31=18", "c3 on vulkan fp16"],
        ["c3 on vulkan fp16 with 31=1"],
        [],
    ]


def test_a_trial_of_masks_ends_with_the_first_case_that_fails(tmp_path: Path) -> None:
    """`up` overflows, unless it and its reader are kept out of fp16; the outputs come last."""
    networks.overflow_beside(tmp_path, "ReLU", "")
    text = "inputs: {noise: {in0: {random: uniform, low: 1, high: 4}}}\ncompare: [fp16-vs-fp32-vulkan]"
    plan = check.plan(spec.load(networks.spec(tmp_path, text)))
    (comparison,) = plan.spec.comparisons
    cases = plan.cases(comparison)
    outcomes = []
    for masks in ({}, {"up": 18, "down": 18}):
        whole = plan.graph.with_masks(masks).masks
        messages = talk(jobs.trial(plan, "noise", cases, whole, 1))
        outcomes.append([m["case"]["outcome"] for m in messages if "case" in m])
    failing, holding = outcomes
    assert failing.count("failed") == 1
    assert failing[-1] == "failed"
    assert len(failing) < len(cases) == len(holding)
    assert "failed" not in holding


def test_trials_load_a_network_once_for_each_mask(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-vs-fp32-vulkan]")
    tries = [{"c1": 18}, {"c2": 18}, {"c1": 1}, {"c3": 1}]
    steps = [m["at"] for m in talk(*(trial(plan, masks) for masks in tries)) if "at" in m]
    loads = [step for step in steps if step.startswith("load")]
    assert sorted(loads) == [
        "load net.param with net.bin",
        "load on cpu fp32",  # in the place of llvmpipe's
        "load on vulkan fp16",
        "load on vulkan fp16 with 31=1",
        "load on vulkan fp16 with 31=18",
    ]


def test_what_a_search_made_is_forgotten_with_it(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-vs-fp32-vulkan]")
    between = job(plan, "fp16-vs-fp32-vulkan::output:c3")
    first, none, again = layer_steps(talk(trial(plan, {}), between, trial(plan, {})))
    assert again == first
    assert (len(first), none) == (3, [])


def test_a_profile_measures_the_values_and_says_where_layers_run(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-vs-fp32-vulkan]\nmasks: {c2: 18}")
    (one,) = plan.spec.comparisons
    asked = [jobs.profile(plan, "noise", one, 1, sensitivity) for sensitivity in (True, False)]
    profile, without = (m["answer"] for m in talk(*asked) if "answer" in m)
    assert without == {**profile, "sensitivity": {}}
    assert list(profile["absmax"]) == ["in0", "c1", "c2", "c3"]
    assert all(0.5 < absmax < 10 for absmax in profile["absmax"].values())
    assert list(profile["sensitivity"]) == ["1", "2", "3"]
    assert all(1e-5 < share < 1e-3 for share in profile["sensitivity"].values())
    (places,) = profile["runs"]
    assert places[1:] == [["vulkan", "fp16"], ["cpu", "fp32"], ["vulkan", "fp16"]]


def test_networks_are_timed_in_turns(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-vs-fp32-vulkan]")
    asked = jobs.time(plan, "noise", [(Setup("vulkan"), 0), (Setup(), 0)], [], 1)
    messages = talk(asked)
    (timings,) = (m["answer"] for m in messages if "answer" in m)
    assert [timing["where"][1:] for timing in timings] == [["vulkan"] * 3, ["cpu"] * 3]
    rounds = len(timings[0]["ms"])
    assert 3 <= rounds == len(timings[1]["ms"])
    runs = [m["at"] for m in messages if m.get("at", "").startswith("network")]
    assert runs == ["network on vulkan fp32", "network on cpu fp32"] * (1 + rounds), (
        "the first uncounted"
    )


def test_a_network_that_cannot_run_is_reported_and_the_others_are_timed(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-vs-fp32-vulkan]")
    asked = jobs.time(plan, "noise", [(Setup("vulkan:99"), 0), (Setup(), 0)], [], 1)
    (timings,) = (m["answer"] for m in talk(asked) if "answer" in m)
    assert timings[0]["problem"].startswith("no Vulkan device 99")
    assert (timings[0]["ms"], timings[1]["problem"]) == ([], "")


# -- when it goes wrong ----------------------------------------------------------------------------


def refused(broken: Judge) -> str:
    engine = Engine(30)
    try:
        with pytest.raises(EngineError) as caught:
            list(engine.run(broken))
    finally:
        engine.close()
    return str(caught.value)


def test_an_error_of_ours_is_reported_and_is_no_crash(tmp_path: Path) -> None:
    broken = replace(job(planned(tmp_path, "[cpu-vs-vulkan]")), trajectory=99)
    message = refused(broken)
    assert re.match(
        r"internal error in the worker at .*py:\d+: (Index|Key)Error.*please report it", message
    )


def test_a_file_that_has_gone_since_it_was_collected_is_no_error_of_ours(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[cpu-vs-vulkan]")
    (tmp_path / "net.param").unlink()
    assert refused(job(plan)).startswith(f"{tmp_path}/net.param: does not exist")


def test_a_job_that_is_given_up_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-range, cpu-vs-vulkan]")
    ranges, outputs = (
        job(plan, "fp16-range::c1", "fp16-range::c2"),
        job(plan, "cpu-vs-vulkan::output:c3"),
    )
    engine = Engine(60.0)
    try:
        assert next(engine.run(ranges)).id == "fp16-range::c1"
        assert [result.id for result in engine.run(outputs)] == ["cpu-vs-vulkan::output:c3"]
    finally:
        engine.close()


def test_a_worker_that_has_answered_is_asked_again(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-range]")
    engine = Engine(60.0)
    try:
        first = engine.ask(jobs.fingerprint(plan, "noise", 1), Fingerprint)
        worker = engine.pid
        assert engine.ask(jobs.fingerprint(plan, "noise", 1), Fingerprint) == first
        assert engine.pid == worker is not None
    finally:
        engine.close()


def test_digests_do_not_depend_on_the_threads_of_the_jobs_before(tmp_path: Path) -> None:
    """A Softmax across the channels of a picture shares its sums among the threads."""
    net = Network()
    x = net.layer("Input", "in0", params="0=31 1=20 2=3")
    net.layer("Softmax", "softmax", [x], ["out0"], "0=0 1=1")
    net.write(tmp_path / "net")
    path = networks.spec(tmp_path, f"{networks.NOISE}compare: [fp16-range]\n")
    plan = check.plan(spec.load(path))
    engine, other = Engine(60.0), Engine(60.0)
    try:
        list(engine.run(replace(job(plan), threads=2)))
        used, fresh = (
            one.ask(jobs.fingerprint(plan, "noise", 1), Fingerprint) for one in (engine, other)
        )
        assert used == fresh
    finally:
        engine.close()
        other.close()


def test_a_network_that_cannot_be_loaded_is_named_by_whatever_needs_it(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[fp16-range]")
    weights = tmp_path / "net.bin"
    weights.write_bytes(weights.read_bytes()[:40])
    engine = Engine(60.0)
    try:
        with pytest.raises(EngineError, match=r"^load net.param with net.bin: "):
            engine.ask(jobs.fingerprint(plan, "noise", 1), Fingerprint)
    finally:
        engine.close()


def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(EngineError, match="cannot start the worker /nonexistent"):
        list(Engine(30, ("/nonexistent/python",)).run(Judge((), (), 0, {}, 1)))
    failing = (sys.executable, "-c", "import sys; sys.exit('no ncnn here')")
    with pytest.raises(EngineError, match=r"(?s)did not start.*no ncnn here"):
        list(Engine(30, failing).run(Judge((), (), 0, {}, 1)))
