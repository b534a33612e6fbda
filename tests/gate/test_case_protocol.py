"""Cases that run without pytest's phases are reported as pytest would report them."""

from __future__ import annotations

import json
import re
from typing import Any

import networks
import pytest
from conftest import Gate

# what pytest tells other plugins, and the phases that it runs
RECORDER = """
import json
import os
import time
import _pytest.runner
from pytest_ncnn_parity import nodes

told, phases, judged, seconds = [], [], [], {}
judge = nodes.judge

def timed(subject, *args):
    assert os.environ["PYTEST_CURRENT_TEST"] == f"{subject.nodeid} (call)"
    begin = time.perf_counter()
    try:
        return judge(subject, *args)
    finally:
        judged.append([subject.nodeid, time.perf_counter() - begin])

nodes.judge = timed
call_and_report = _pytest.runner.call_and_report

def counted(item, when, *args, **kwargs):
    phases.append([item.nodeid, when])
    return call_and_report(item, when, *args, **kwargs)

_pytest.runner.call_and_report = counted

def pytest_runtest_logstart(nodeid, location):
    told.append(["start", nodeid, *location])

def pytest_runtest_logfinish(nodeid, location):
    told.append(["finish", nodeid, *location])

def pytest_runtest_logreport(report):
    assert report.start <= report.stop
    if report.when == "call":
        seconds[report.nodeid] = report.duration
    told.append([
        report.nodeid, report.when, report.outcome, report.location, sorted(report.keywords),
        str(report.longrepr), report.user_properties, report.sections,
    ])

def pytest_unconfigure():
    assert "net.parity.yaml" not in os.environ.get("PYTEST_CURRENT_TEST", "")
    assert all(seconds[nodeid] >= least for nodeid, least in judged), "a duration leaves out the judging"
    with open("recorded.json", "w") as file:
        json.dump({"told": told, "phases": phases}, file)
"""

EVERY_PHASE = """
def pytest_runtest_setup(item):
    pass
"""

SPEC = """\
inputs:
  small: {in0: {random: normal}}
  large: {in0: {constant: 70000}}
  larger: {in0: {constant: 70001}}
compare: [fp16-range, fp16-vs-fp32-cpu]
known:
  - {layer: in0, sample: large, comparison: fp16-range, reason: large}
"""

TEST = """
import pytest

@pytest.fixture(scope="module", autouse=True)
def around():
    yield
    print("end of", __name__)

def test_one():
    pass
"""


@pytest.fixture
def recorded(gate: Gate, pytester: pytest.Pytester) -> Any:
    """Run the gate with these arguments, and return what was told, which phases ran, and the run."""
    pytester.makepyfile(recorder=RECORDER)

    def run(*args: str, conftest: str = "") -> Any:
        pytester.makeconftest(conftest)
        done = gate("-p", "recorder", "--ncnn-parity-fix=off", *args)
        found = json.loads((pytester.path / "recorded.json").read_text("utf-8"))
        ids = [nodeid.partition("::")[2] for nodeid, when in found["phases"] if when == "call"]
        return found["told"], ids, done

    return run


def _plain(text: str) -> str:
    """`text` without times."""
    return re.sub(r"\d+\.\d+ ?s\b|time(stamp)?=\"[^\"]*\"", "", text)


EVERY = [(), ("-v",), ("-rA", "--durations=3", "--durations-min=9"), ("-x",), ("-q", "--tb=line")]


@pytest.mark.parametrize("args", EVERY, ids=" ".join)
def test_reports_are_those_of_pytest(
    recorded: Any, pytester: pytest.Pytester, args: tuple[str, ...]
) -> None:
    networks.chain(pytester.path, 4)
    networks.spec(pytester.path, SPEC)
    pytester.makepyfile(test_a=TEST, test_z=TEST)
    asked = (*args, "--junitxml=junit.xml", "test_a.py", ".", "test_z.py")
    junit = pytester.path / "junit.xml"
    told, ids, run = recorded(*asked)
    xml = junit.read_text("utf-8")
    theirs, every, run_of_theirs = recorded(*asked, conftest=EVERY_PHASE)
    assert {"small::fp16-range::l1", "small::fp16-vs-fp32-cpu::in0"} <= set(every) - set(ids)
    assert "larger::fp16-range::in0" in ids
    assert told == theirs
    assert _plain(run.output) == _plain(run_of_theirs.output)
    assert _plain(xml) == _plain(junit.read_text("utf-8"))
    assert run.result.ret == run_of_theirs.result.ret == pytest.ExitCode.TESTS_FAILED
    assert run.ids("failed") == ["larger::fp16-range::in0"]
    assert run.ids("passed")
    assert run.ids("skipped")


def test_processes_of_xdist_report_the_same(recorded: Any, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path, 4)
    networks.spec(pytester.path, SPEC)
    outcomes = []
    for conftest in ("", EVERY_PHASE):
        _, _, run = recorded("-n", "2", conftest=conftest)
        outcomes.append({name: case["outcome"] for name, case in run.cases.items()})
        assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert outcomes[0] == outcomes[1]


MARKS = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if item.name == "l1":
            item.add_marker(pytest.mark.skip(reason="not today"))
        if item.name == "l2":
            item.add_marker(pytest.mark.xfail(reason="never", strict=True))
"""


def test_marks_that_others_add_hold(recorded: Any, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path, 4)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    _, ids, run = recorded("-rs", conftest=MARKS)
    assert "not today" in run.output
    assert "[XPASS(strict)] never" in run.output
    assert run.ids("passed") == [
        "noise::fp16-range::in0",
        "noise::fp16-range::l3",
        "noise::fp16-range::l4",
    ]
    assert ids == ["noise::fp16-range::l2", "noise::fp16-range::l4"]


REPORTING = """
import pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        outcome.get_result().sections.append(("seen", "by a conftest.py"))
"""


@pytest.mark.parametrize("folder", [".", "below"])
def test_hooks_of_others_are_called_for_every_case(
    recorded: Any, pytester: pytest.Pytester, folder: str
) -> None:
    """As pytest-html's users add to reports."""
    where = pytester.path / folder
    where.mkdir(exist_ok=True)
    networks.chain(where, 3)
    networks.spec(where, networks.NOISE + "compare: [fp16-range]\n")
    (where / "conftest.py").write_text(REPORTING, "utf-8")
    told, ids, _ = recorded(conftest=REPORTING if folder == "." else "")
    assert [one[7] for one in told if one[1] == "call"] == [[["seen", "by a conftest.py"]]] * len(ids)
    assert len(ids) == 4


def test_every_case_is_shown_with_setup_show(recorded: Any, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path, 3)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    _, ids, run = recorded("--setup-show")
    assert ids == [f"noise::fp16-range::{name}" for name in ("in0", "l1", "l2", "l3")]
    for name in ids:
        assert f"        net.parity.yaml::{name}" in run.output


def test_an_error_of_judging_is_the_error_of_its_case(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path, 3)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    pytester.makepyfile(broken=BROKEN)
    run = gate("-p", "broken", "--ncnn-parity-fix=off")
    assert run.ids("failed") == ["noise::fp16-range::l1"]
    assert run.cases["noise::fp16-range::l1"]["headline"] == "no worker today"
    assert run.ids("passed") == [f"noise::fp16-range::{name}" for name in ("in0", "l2", "l3")]


BROKEN = """
from pytest_ncnn_parity import nodes
from pytest_ncnn_parity.engine.client import EngineError

judge = nodes.judge

def broken(subject, *args):
    if subject.case.name == "l1":
        raise EngineError("no worker today")
    return judge(subject, *args)

nodes.judge = broken
"""
