"""From a result to a verdict: what is said, what is carried to the reports, and what but once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import plans
import pytest
from failed_cases import died, failed

from pytest_ncnn_parity.compare.comparisons import GOLDEN
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.settings import Settings
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.session import Session
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.verdict import Subject, Verdict, judge

WRONG = failed([1.0, 2.0], [1.0, 9.0], blob="a", execution="vulkan fp16", device="llvmpipe")
LOADING = Step("load", "vulkan fp16")


class Recorded(SpecRun):
    """A run with results by the names of cases; all others passed."""

    by_name: Mapping[str, Result]

    def result(self, sample: str, case: Case) -> Result:
        assert case in self.selected[sample]
        return replace(self.by_name.get(case.name, Result("", "passed")), id=case.id)

    def results(self, sample: str) -> dict[str, Result]:
        return {case.id: self.result(sample, case) for case in self.selected[sample]}


class Judged:
    """The verdicts of one session on the cases of sample `noise`, by their names."""

    def __init__(
        self,
        plan: Plan,
        require_vulkan: bool = False,
        require_workers: bool = False,
        **results: Result,
    ) -> None:
        cases = [case for one in plan.spec.comparisons for case in plan.cases(one)]
        cases += plan.cases(GOLDEN, "noise")
        run = Recorded(plan, Settings(timeout=1.0, cores=1), {"noise": cases})
        run.by_name = {name.replace("output_", "output:"): result for name, result in results.items()}

        class Given(Session):
            def run(self, plan: Plan) -> SpecRun:
                assert plan is run.plan
                return run

        session = Given(
            run.settings,
            fix=None,
            require_vulkan=require_vulkan,
            root=None,
            require_workers=require_workers,
        )
        self._verdicts: dict[str, Verdict] = {}
        for case in cases:
            subject = Subject(f"a/b.yaml::noise::{case.id}", plan, "noise", case, "a/b.param", 2)
            self._verdicts[case.name] = judge(subject, session)

    def __getitem__(self, name: str) -> Verdict:
        return self._verdicts[name]

    def carried(self, what: str) -> list[tuple[str, Any]]:
        """The cases that carry it, and what they carry."""
        by_name: dict[str, Mapping[str, Any]] = {n: v.carried for n, v in self._verdicts.items()}
        return [(name, carried[what]) for name, carried in by_name.items() if what in carried]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plans.loaded(tmp_path, "compare: [shipped]\n")


def test_a_right_case_has_nothing_to_say(plan: Plan) -> None:
    verdict = Judged(plan)["conv_1"]
    assert (verdict.outcome, verdict.text, verdict.setup_denied) == ("passed", "", False)
    case = verdict.carried["case"]
    assert (case["nodeid"], case["line"]) == ("a/b.yaml::noise::shipped::conv_1", 2)
    assert ("ncnn_parity_type", "Convolution") in verdict.properties


def test_a_wrong_case_says_what_was_seen_and_why(plan: Plan) -> None:
    verdict = Judged(plan, conv_1=WRONG)["conv_1"]
    assert verdict.outcome == "failed"
    first, *_ = verdict.text.splitlines()
    assert first.startswith("conv_1 (Convolution): ")
    assert first.endswith(f"({verdict.carried['case']['cause']})")
    assert verdict.carried["case"]["message"] == verdict.text
    assert dict(verdict.properties)["ncnn_parity_device"] == "llvmpipe"


def test_a_skip_says_its_reason(plan: Plan) -> None:
    verdict = Judged(plan, conv_1=Result("", "skipped", reason="not the\x1bdevice"))["conv_1"]
    assert (verdict.outcome, verdict.text) == ("skipped", r"not the\x1bdevice")


def test_a_red_output_names_the_red_layers_before_it_and_no_others(plan: Plan) -> None:
    judged = Judged(plan, gelu_1=WRONG, output_out0=WRONG, output_out1=WRONG)
    assert "gelu_1 (GELU) upstream is red" in judged["output:out0"].text
    assert "upstream" not in judged["output:out1"].text
    lost = Judged(plan, gelu_1=Result("", "failed", evidence=Evidence(error="no")), output_out0=WRONG)
    assert "upstream" not in lost["output:out0"].text


NO_DEVICE = Result("", "skipped", reason="no Vulkan device", evidence=Evidence(no_vulkan=True))
DROPPED = Result(
    "", "passed", evidence=Evidence(setup="vulkan fp16", device="old", dropped=("use_fp16_storage",))
)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (NO_DEVICE, "no Vulkan device"),
        (DROPPED, "vulkan fp16: old does not offer use_fp16_storage; ncnn dropped that"),
    ],
    ids=["none", "lacking"],
)
def test_what_a_device_does_not_run_fails_where_one_is_required(
    plan: Plan, result: Result, said: str
) -> None:
    required = Judged(plan, require_vulkan=True, conv_1=result)
    assert (required["conv_1"].outcome, required["conv_1"].setup_denied) == ("failed", True)
    assert required["conv_1"].text.startswith(said)
    assert required["conv_1"].carried["case"]["cause"] is None
    assert (required["gelu_1"].outcome, required["gelu_1"].setup_denied) == ("passed", False)
    usual = Judged(plan, conv_1=result)["conv_1"]
    assert (usual.outcome, usual.setup_denied) == (result.outcome, False)


def test_a_worker_that_nobody_declared_fails_where_workers_are_required(plan: Plan) -> None:
    result = Result("", "skipped", reason="no worker x", evidence=Evidence(no_worker=True))
    assert Judged(plan, require_vulkan=True, conv_1=result)["conv_1"].outcome == "skipped"
    required = Judged(plan, require_workers=True, conv_1=result)["conv_1"]
    assert (required.outcome, required.text) == ("failed", "no worker x")


def test_a_network_that_does_not_load_points_at_the_spec(plan: Plan) -> None:
    judged = Judged(plan, conv_1=died("refused", "not a model", LOADING))
    first, *_ = judged["conv_1"].text.splitlines()
    place = plan.spec.at("model", "bin")
    assert first.startswith(f"{place}: ")
    death = Death("files", "no such function", LOADING, key=("model", "param"))
    elsewhere = Judged(plan, conv_1=Result("", "failed", evidence=Evidence(death=death)))
    assert elsewhere["conv_1"].text.startswith(f"{plan.spec.at('model', 'param')}: no such function")


def test_what_holds_for_a_spec_is_carried_by_one_case(plan: Plan) -> None:
    unread = Result("", "passed", evidence=Evidence(unread=12))
    judged = Judged(plan, conv_1=unread, gelu_1=unread)
    ((first, network),) = judged.carried("network")
    assert first == "in0"
    assert (network["spec"], network["param"]) == ("a/b.yaml", "a/b.param")
    assert [name for name, _ in judged.carried("environment")] == ["in0"]
    notes = dict(judged.carried("notes"))
    assert notes.keys() == {"in0", "conv_1"}  # the first has that there are no weights to hash
    assert notes["conv_1"] == [
        "no layer reads the last 12 bytes of net.bin: is it the one of net.param?"
    ]
    assert judged.carried("masks") == []


def test_a_mask_that_is_unsafe_is_carried_once(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path, "compare: [shipped]\nmasks: {gelu_1: 2}\n")
    ((name, (notice,)),) = Judged(plan).carried("masks")
    assert (name, notice["layer"], notice["kind"]) == ("in0", "gelu_1", "unsafe")


def test_a_recording_that_cannot_be_read_is_the_specs_fault(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path, "compare: [fp16-range]\n")
    file, random = plan.spec.path, "{in0: {random: normal}}"
    recorded = f"{random[:-1]}, expect: {{out0: {{file: gone.npy}}}}}}"
    file.write_text(file.read_text("utf-8").replace(random, recorded), "utf-8")
    plan = Plan(spec.load(file), plan.graph)
    unreadable = Result("", "failed", evidence=Evidence(unreadable="no such file"))
    text = Judged(plan, output_out0=unreadable)["output:out0"].text
    path = "inputs.noise.expect.out0"
    assert text == f"{plan.spec.at(*path.split('.'), of_key=True)}: {path}: no such file"
