"""What pytest's other plugins see of a case, and what becomes of cases that they interrupt or run again.

A conftest.py imitates what the plugins do to a case; `docs/plugins.md` says which were tried.
"""

from __future__ import annotations

import textwrap

import networks
import numpy as np
import pytest
from conftest import Gate

from pytest_ncnn_parity import nodes

# as pytest-timeout: a limit for each case, set by a hook that other plugins may answer first
LIMITS = """
import signal
from collections import namedtuple
import pytest

Settings = namedtuple("Settings", "timeout method")

from pytest_ncnn_parity.engine.early import EarlyWorker

EarlyWorker.start = lambda *_: None  # so that the first case waits for the worker to start

class Hooks:
    @pytest.hookspec(firstresult=True)
    def pytest_timeout_set_timer(self, item, settings): pass

def pytest_addhooks(pluginmanager):
    pluginmanager.add_hookspecs(Hooks)

@pytest.hookimpl(trylast=True)
def pytest_timeout_set_timer(item, settings):
    assert settings.method == "signal", "the other method ends the whole process"
    def late(*_): pytest.fail("Timeout from a plugin")
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    return True

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    item.ihook.pytest_timeout_set_timer(item=item, settings=Settings(0.05, "thread"))
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_an_interrupted_case_costs_no_other_its_verdict(gate: Gate, pytester: pytest.Pytester) -> None:
    """The first one waits for the worker to start, which takes longer."""
    networks.chain(pytester.path, 2)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    pytester.makeconftest(LIMITS)
    run = gate()
    assert run.ids("failed") == ["noise::fp16-range::in0"]
    assert run.cases["noise::fp16-range::in0"]["headline"] == "Timeout from a plugin"
    assert run.ids("passed") == ["noise::fp16-range::l1", "noise::fp16-range::l2"]
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert (run.report["complete"], run.report["judged"]) == (True, 3)
    assert ".py" not in run.output


INTERRUPTS_A_SEARCH = """
import pytest
from pytest_ncnn_parity.repair import existing_masks

search = existing_masks.notices

def interrupted(*args, **kwargs):
    existing_masks.notices = search
    pytest.fail("Timeout from a plugin")

existing_masks.notices = interrupted
"""


def test_what_an_interrupted_case_would_have_told_is_told_by_the_next(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The first case of a spec tells of its masks, among which a search is long, and its network."""
    networks.convolution(pytester.path, "31=18")
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-vs-fp32-vulkan]\n")
    pytester.makeconftest(INTERRUPTS_A_SEARCH)
    run = gate()
    assert run.ids("failed") == ["noise::fp16-vs-fp32-vulkan::in0"]
    (model,) = run.report["models"]
    assert [(notice["layer"], notice["kind"]) for notice in model["masks"]] == [("c2", "redundant")]
    assert [layer["name"] for layer in model["layers"]][:2] == ["in0", "c1"]


# as pytest-rerunfailures
RERUNS = """
from _pytest.runner import runtestprotocol
from pytest_ncnn_parity.engine import jobs

judge = jobs.judge

def counted(plan, sample, cases, *args, **kwargs):
    print("judged:", ",".join(case.name for case in cases))
    return judge(plan, sample, cases, *args, **kwargs)

jobs.judge = counted

def pytest_runtest_protocol(item, nextitem):
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed for report in reports):
        for report in reports:
            report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    names = [name for name, _ in item.user_properties]
    print("told twice:", len(names) - len(set(names)))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def test_a_case_that_is_run_again_is_judged_again(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path, 2)
    networks.spec(pytester.path, "inputs:\n  s: {in0: {constant: 70000}}\ncompare: [fp16-range]\n")
    pytester.makeconftest(RERUNS)
    run = gate("-s", "--ncnn-parity-fix-runs=20")
    judged = [line.partition("judged: ")[2] for line in run.result.outlines if "judged: " in line]
    assert judged[0] == "in0,l1,l2"
    assert judged.count("in0") == 1
    assert run.output.count("told twice: 0") == 3
    assert run.ids("failed") == ["s::fp16-range::in0"]
    assert run.ids("skipped") == ["s::fp16-range::l1", "s::fp16-range::l2"]
    # what came with the first verdict, which another plugin kept from being one, is not lost
    assert list(run.fixes) == ["fp16-range"]
    assert run.report["environment"]["ncnn"] is not None


def test_a_red_verdict_is_an_assertion_that_failed() -> None:
    """Allure calls any other exception "broken", which is for what could not be tested."""
    assert issubclass(nodes.ParityFailure, AssertionError)
    assert issubclass(nodes.SetupDenied, AssertionError)


SPEC = """\
inputs:
  first: {in0: {random: normal}}
  second:
    in0: {random: normal}
    expect:
      l1: {file: l1.npy}
      l2: {file: l2.npy}
compare: [cpu-vs-vulkan, fp16-range]
"""


def test_a_case_has_a_marker_a_place_and_a_branch(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path, 2)
    networks.spec(pytester.path, SPEC)
    for blob in ("l1", "l2"):
        np.save(pytester.path / f"{blob}.npy", np.zeros(8, np.float32))
    items, _ = pytester.inline_genitems("--ncnn-parity", "--strict-markers")
    assert len(items) == 2 * 2 * 3 + 2
    lines = {item.nodeid.partition("::")[2]: item.reportinfo()[1] for item in items}
    assert lines["first::fp16-range::l1"] == 2
    assert lines["second::cpu-vs-vulkan::l1"] == 3
    assert [lines[f"second::golden::output:{blob}"] for blob in ("l1", "l2")] == [6, 7]
    for item in items:
        assert item.get_closest_marker("ncnn_parity") is not None
        *_, file, sample, comparison, _ = item.listchain()
        assert f"{file.name}::{sample.name}::{comparison.name}::{item.name}" == item.nodeid
        # what an editor shows as a branch of its tree of tests
        for branch in (sample, comparison):
            assert isinstance(branch, pytest.Class)
            branch.obj.attribute = "of another plugin"  # as pytest-asyncio does
    result = pytester.runpytest_inprocess("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.ncnn_parity: *"])


def test_a_failure_is_annotated_once(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.chain(pytester.path, 1)
    networks.spec(pytester.path, "inputs:\n  s: {in0: {constant: 70000}}\ncompare: [fp16-range]\n")
    name = "pytest_github_actions_annotate_failures"
    code = "def pytest_runtest_logreport(report):\n    if report.failed: print('::error theirs')\n"
    pytester.makepyfile(**{name: textwrap.dedent(code)})
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lines = gate("--ncnn-parity-fix=off", "-s", "-p", name).result.outlines
    assert ["::error theirs" in line for line in lines if "::error" in line] == [True]
