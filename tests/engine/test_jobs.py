"""What a worker is asked: which networks to load, what to feed them, what to judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from plans import loaded

from pytest_ncnn_parity.compare.comparisons import BUILT_IN, Setup
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.inputs import (
    ConstantInput,
    ImageInput,
    Input,
    NormalInput,
    RangeInput,
    Recording,
)
from pytest_ncnn_parity.engine.protocol import Job, Judge, NetSpec
from pytest_ncnn_parity.engine.wire import decode_job, encode_job
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import sources

RANGE = BUILT_IN["fp16-range"][0]
SHIPPED = BUILT_IN["shipped"][0]
ON_VULKAN = BUILT_IN["fp16-vs-fp32-vulkan"][0]
MASKS = (0, 0, 19, 18, 0)

Load = Callable[..., Plan]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return partial(loaded, tmp_path)


def setups(job: Job) -> list[tuple[str, str]]:
    return [(net.device, net.precision) for net in job.nets]


def outputs(job: Judge) -> list[str]:
    assert all(case.layer is None for case in job.cases)
    return [case.id for case in job.cases]


# -- judging -------------------------------------------------------------------------------------


def test_masks_of_the_spec_stand_in_the_text_that_is_loaded(load: Load) -> None:
    plan = load("masks: {conv_1: 18, prob_1: 1}")
    job = jobs.judge(plan, "noise", plan.cases(SHIPPED), threads=1)
    assert job.models[0].text == plan.masked.text
    assert jobs.judge(load(), "noise", [], threads=1).models[0].text is None


def test_a_job_loads_each_setup_once_and_follows_the_cpu_in_fp32(load: Load) -> None:
    plan = load()
    pairs = [BUILT_IN[n][0] for n in ("shipped", "cpu-vs-vulkan", "fp16-vs-fp32-vulkan")]
    cases = [case for comparison in pairs for case in plan.cases(comparison)]
    job = jobs.judge(plan, "noise", cases, threads=3)
    assert sorted(setups(job)) == [("cpu", "fp32"), ("vulkan", "fp16"), ("vulkan", "fp32")]
    assert setups(job)[job.trajectory] == ("cpu", "fp32")
    assert [case.id for case in job.cases] == [case.id for case in cases]
    by_id = {case.id: case for case in job.cases}
    assert setups(job)[by_id["fp16-vs-fp32-vulkan::conv_1"].reference] == ("vulkan", "fp32")
    assert (by_id["shipped::conv_1"].layer, by_id["shipped::output:out0"].output) == (2, "out0")
    assert (job.kind, job.threads, job.masks, job.remember) == ("judge", 3, None, False)


def test_the_range_has_no_candidate(load: Load) -> None:
    plan = load()
    job = jobs.judge(plan, "noise", plan.cases(RANGE), threads=1)
    assert setups(job) == [("cpu", "fp32")]
    assert {(case.candidate, case.half) for case in job.cases} == {(None, "fp16")}


def test_a_job_says_what_to_feed(load: Load, tmp_path: Path) -> None:
    def fed(plan: Plan, sample: str) -> Input:
        return jobs.judge(plan, sample, [], threads=1).inputs["in0"]

    noise = fed(load(), "noise")
    assert isinstance(noise, NormalInput)
    assert noise.shape == (3, 16, 32)  # from the Input line
    assert fed(load(), "flat") == ConstantInput(1.0, (3, 8, 8))
    sample = sources.Sample.model_validate({"in0": {"file": "a.npy"}})
    recorded = load().spec.model_copy(update={"samples": {"s": sample}})
    recorded._path = tmp_path / "net.parity.yaml"
    assert fed(Plan(recorded, load().graph), "s") == Recording(f"{tmp_path}/a.npy")


def test_inputs_without_a_seed_hold_different_numbers(load: Load) -> None:
    """As the two pictures of a network that compares them; the first has seed 0."""
    drawn = {"random": "normal", "shape": [2]}
    given = {"a": drawn, "b": {**drawn, "seed": 9}, "c": drawn, "d": {**drawn, "random": "smooth"}}
    sample = sources.Sample.model_validate(given)
    plan = Plan(load().spec.model_copy(update={"samples": {"s": sample}}), load().graph)
    fed = jobs.judge(plan, "s", [], threads=1).inputs.values()
    seeds = [one.seed for one in fed if isinstance(one, NormalInput | RangeInput)]
    assert seeds == [0, 9, 2, 3]


# -- trying masks --------------------------------------------------------------------------------


def test_a_trial_judges_a_network_under_masks_it_is_not_loaded_with(load: Load) -> None:
    plan = load()
    cases = [plan.cases(ON_VULKAN)[2], plan.cases(ON_VULKAN)[-1]]
    job = jobs.trial(plan, "noise", cases, MASKS, threads=1)
    assert [case.id for case in job.cases] == [case.id for case in cases]
    assert job.masks == MASKS
    assert job.models[0].text is None
    assert {job.nets[case.candidate] for case in job.cases} == {NetSpec(0, "vulkan", "fp16", mixed=True)}
    assert {job.nets[case.reference] for case in job.cases} == {NetSpec(0, "vulkan", "fp32")}


def test_a_trial_is_one_of_many(load: Load) -> None:
    """What it loaded and made is of use to the next one; why a case is red is not."""
    plan = load()
    job = jobs.trial(plan, "noise", plan.cases(SHIPPED), MASKS, threads=1)
    assert (job.remember, job.probe, job.until_failed) == (True, False, True)
    own = jobs.trial(plan, "noise", plan.cases(SHIPPED), None, threads=1)
    assert (own.remember, own.until_failed) == (True, False), "all errors of other files are wanted"


TWO_CANDIDATES = """\
compare:
  - {name: one, candidate: {model: {param: q/net.param, bin: FIRST}}}
  - {name: two, candidate: {model: {param: q/net.param, bin: q/other.bin}}}
"""


@pytest.mark.parametrize(
    ("first", "names"),
    [
        ("q/net.bin", ["q/net.param (q/net.bin)", "q/net.param (q/other.bin)"]),
        ("q/other.bin", ["q/net.param"]),
    ],
    ids=["of other weights", "the same"],
)
def test_other_files_are_told_apart_in_messages(load: Load, first: str, names: list[str]) -> None:
    """A native step is known by its text: if one kills a worker, the other one is still tried."""
    plan = load(TWO_CANDIDATES.replace("FIRST", first))
    cases = [plan.cases(one)[0] for one in plan.spec.comparisons]
    for some in ([0, 1], [1], [0]):
        job = jobs.judge(plan, "noise", [cases[n] for n in some], threads=1)
        wanted = names if len(some) == 2 else [names[some[0] % len(names)]]
        assert [model.name for model in job.models[1:]] == wanted


# -- asking --------------------------------------------------------------------------------------


def test_a_profile_follows_the_cpu_and_looks_at_the_candidate(load: Load) -> None:
    job = jobs.profile(load(), "flat", ON_VULKAN, 2, sensitivity=True)
    assert job.kind == "profile"
    assert (setups(job), job.trajectory) == ([("cpu", "fp32"), ("vulkan", "fp16")], 0)
    assert setups(jobs.profile(load(), "flat", RANGE, 2, sensitivity=False)) == [("cpu", "fp32")]


def test_a_verification_compares_the_outputs_of_the_patched_file_with_the_unpatched(load: Load) -> None:
    plan = load("masks: {conv_1: 18}")
    cases = [case for case in plan.cases(SHIPPED) if case.output]
    job = jobs.verify(plan, "noise", cases, "new.param", 3, threads=1)
    assert outputs(job) == ["shipped::output:out0", "shipped::output:out1"]
    (case, _) = job.cases
    reference, candidate = (job.models[job.nets[n].model] for n in (case.reference, case.candidate))
    assert reference.text is not None
    assert (candidate.param, candidate.text) == ("new.param", None)
    assert candidate.bin == reference.bin
    assert (job.repeats, job.masks, job.remember) == (3, None, False)
    assert not any(net.mixed for net in job.nets)


def test_networks_are_timed_in_the_order_asked_for(load: Load) -> None:
    asked = [(Setup("vulkan", "fp16"), 0), (Setup("vulkan", "fp16"), 1), (Setup("vulkan", "bf16"), 0)]
    job = jobs.time(load(), "noise", asked, ["new.param"], threads=2)
    assert (job.kind, job.threads) == ("time", 2)
    assert [(Setup(net.device, net.precision), net.model) for net in job.nets] == asked
    assert [Path(model.param).name for model in job.models] == ["net.param", "new.param"]


# -- the pipe ------------------------------------------------------------------------------------


def test_a_job_survives_the_pipe(load: Load) -> None:
    plan = load("masks: {conv_1: 18}")
    for job in (
        jobs.judge(plan, "noise", plan.cases(SHIPPED), threads=1),
        jobs.trial(plan, "noise", plan.cases(SHIPPED), MASKS, threads=1),
        jobs.profile(plan, "flat", SHIPPED, 2, sensitivity=True),
        jobs.verify(plan, "flat", plan.cases(SHIPPED)[-1:], "new.param", 2, threads=2),
        jobs.time(plan, "flat", [(Setup("cpu", options={"use_sgemm": False}), 0)], [], threads=2),
    ):
        assert decode_job(encode_job(job)) == job


def test_whatever_is_fed_crosses_the_pipe(load: Load) -> None:
    fed = {
        "normal": NormalInput((3, 4), 7, 0.5, 2.0, low=-1.0),
        "range": RangeInput("integers", (5,), 1, 0.0, 9.0),
        "constant": ConstantInput(0.1, (2, 2)),
        "file": Recording("a.npz", "key"),
        "image": ImageInput("a.png", "bgr", (640, 480), (1.0, 2.0, 3.0)),
    }
    job = replace(jobs.judge(load(), "noise", [], threads=1), inputs=fed)
    assert decode_job(encode_job(job)) == job
