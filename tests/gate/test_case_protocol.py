"""Cases that are reported without pytest's phases are reported as pytest would report them.

Which results have arrived when their case's turn comes depends on time, but not if they come from a
cache: then only the first and the last case of a comparison run in phases.
"""

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
import _pytest.runner
import pytest

told, phases = [], []
call_and_report = _pytest.runner.call_and_report

def counted(item, when, *args, **kwargs):
    phases.append([item.nodeid, when])
    return call_and_report(item, when, *args, **kwargs)

_pytest.runner.call_and_report = counted

def pytest_collection_modifyitems(items):
    for item in items:
        assert item.location == pytest.Item.location.func(item), "not what pytest itself gives"

def pytest_runtest_logstart(nodeid, location):
    told.append(["start", nodeid, *location])

def pytest_runtest_logfinish(nodeid, location):
    told.append(["finish", nodeid, *location])

def pytest_runtest_logreport(report):
    assert report.start <= report.stop
    told.append([
        report.nodeid, report.when, report.outcome, report.location, sorted(report.keywords),
        str(report.longrepr), report.user_properties, report.sections,
    ])

def pytest_unconfigure():
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


CACHE = "--ncnn-parity-cache=kept"


@pytest.fixture
def recorded(gate: Gate, pytester: pytest.Pytester) -> Any:
    """Run the gate with these arguments, and return what was told, which phases ran, and the run."""
    pytester.makepyfile(recorder=RECORDER)

    def run(*args: str, conftest: str = "") -> Any:
        pytester.makeconftest(conftest)
        done = gate("-p", "recorder", "--ncnn-parity-fix=off", CACHE, *args)
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
    recorded()
    told, ids, run = recorded(*asked)
    xml = junit.read_text("utf-8")
    theirs, every, run_of_theirs = recorded(*asked, conftest=EVERY_PHASE)
    assert [name for name in ids if "small::fp16-range" in name] == [
        f"small::fp16-range::{name}" for name in ("in0", "l4")
    ]
    assert "small::fp16-range::l1" in every
    assert "larger::fp16-range::in0" in ids
    assert told == theirs
    assert _plain(run.output) == _plain(run_of_theirs.output)
    assert _plain(xml) == _plain(junit.read_text("utf-8"))
    assert run.result.ret == run_of_theirs.result.ret == pytest.ExitCode.TESTS_FAILED
    assert run.ids("failed") == ["larger::fp16-range::in0"]
    assert run.ids("passed")
    assert run.ids("skipped")


@pytest.mark.once
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
        if item.name == "l3":
            item.add_marker(pytest.mark.xfail(reason="perhaps"))
"""


@pytest.fixture
def kept(recorded: Any, pytester: pytest.Pytester) -> str:
    """A spec of one comparison of in0, l1 ... l4, whose results are in the cache."""
    networks.chain(pytester.path, 4)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    recorded()
    _, ids, _ = recorded()
    assert ids == ["noise::fp16-range::in0", "noise::fp16-range::l4"]
    return "noise::fp16-range::"


def test_the_first_and_the_last_case_of_each_comparison_run_in_phases(
    recorded: Any, pytester: pytest.Pytester
) -> None:
    """With them the nodes above are set up and torn down, such as packages."""
    networks.chain(pytester.path, 4)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range, fp16-vs-fp32-cpu]\n")
    recorded()
    _, ids, run = recorded()
    ends = []
    for comparison in ("fp16-range", "fp16-vs-fp32-cpu"):
        first, *_, last = (name for name in run.cases if f"::{comparison}::" in name)
        ends += [first, last]
    assert ids == ends


def test_marks_that_others_add_hold(recorded: Any, kept: str) -> None:
    _, ids, run = recorded("-rs", conftest=MARKS)
    assert "not today" in run.output
    assert "[XPASS(strict)] never" in run.output
    assert run.ids("passed") == [f"{kept}{name}" for name in ("in0", "l3", "l4")]
    assert ids == [f"{kept}{name}" for name in ("in0", "l2", "l3", "l4")]
    assert not any(case["known"] for case in run.cases.values())
    assert "known failure" not in run.output


REPORTING = """
import pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        outcome.get_result().sections.append(("seen", "by a conftest.py"))
"""


@pytest.mark.usefixtures("kept")
def test_hooks_of_others_are_called_for_every_case(recorded: Any) -> None:
    """As pytest-html's users add to reports."""
    told, ids, _ = recorded(conftest=REPORTING)
    assert [one[7] for one in told if one[1] == "call"] == [[["seen", "by a conftest.py"]]] * 5
    assert len(ids) == 5


WITHOUT_MODULE = """
hooks = {}
exec("def pytest_runtest_setup(item): pass", hooks)
pytest_runtest_setup = hooks["pytest_runtest_setup"]
"""
REGISTERED_LATE = """
import pytest

class Late:
    def pytest_runtest_setup(self, item):
        pass

def pytest_runtest_logfinish(nodeid):
    pass

def pytest_runtest_logstart(nodeid):
    if nodeid.endswith("in0"):
        plugins.register(Late())

def pytest_configure(config):
    global plugins
    plugins = config.pluginmanager
"""
IN_ITS_PLACE = """
def pytest_collection_modifyitems(items):
    for item in items:
        item.runtest = item.runtest
"""


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("conftest", [WITHOUT_MODULE, REGISTERED_LATE, IN_ITS_PLACE])
def test_whoever_may_have_a_say_is_asked(recorded: Any, conftest: str) -> None:
    _, ids, run = recorded(conftest=conftest)
    assert len(ids) == len(run.ids("passed")) == 5


def test_every_case_is_shown_with_setup_show(recorded: Any, kept: str) -> None:
    _, ids, run = recorded("--setup-show")
    assert ids == [f"{kept}{name}" for name in ("in0", "l1", "l2", "l3", "l4")]
    for name in ids:
        assert f"        net.parity.yaml::{name}" in run.output


@pytest.mark.parametrize(
    ("does", "outcome"), [("pytest.skip('no device')", "skipped"), ("raise OSError('broken')", "failed")]
)
def test_cases_do_not_run_if_their_package_is_not_set_up(
    recorded: Any, pytester: pytest.Pytester, does: str, outcome: str
) -> None:
    package = pytester.mkpydir("package")
    networks.chain(package, 4)
    networks.spec(package, networks.NOISE + "compare: [fp16-range]\n")
    recorded()
    setup = f"import pytest\n\ndef setup_module():\n    {does}\n"
    (package / "__init__.py").write_text(setup, "utf-8")
    _, _, run = recorded()
    assert len(run.ids(outcome)) == 5


STOPPING = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    if report.nodeid.endswith("::l2") and report.when == "call":
        session.shouldstop = "enough"

def pytest_sessionstart(session):
    globals()["session"] = session
"""
FAILS_AT_ITS_END = """
import pytest

@pytest.fixture(scope="session")
def around():
    yield
    raise OSError("at its end")

def test_one(around):
    pass
"""


@pytest.mark.usefixtures("kept")
def test_what_ends_with_the_session_is_reported_if_a_case_stops_it(
    recorded: Any, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_a=FAILS_AT_ITS_END)
    asked = ("test_a.py", "net.parity.yaml")
    told, ids, run = recorded(*asked, conftest=STOPPING)
    assert ids == ["test_one", "noise::fp16-range::in0"]
    assert told[-2][:3] == ["net.parity.yaml::noise::fp16-range::l2", "teardown", "failed"]
    assert "OSError: at its end" in run.output
    assert "enough" in run.output
    assert run.result.ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("broken", ["judge", "fails"])
def test_an_error_of_judging_is_the_error_of_its_case(
    gate: Gate, pytester: pytest.Pytester, kept: str, broken: str
) -> None:
    """Whatever of it is broken, and though pytest would find nothing wrong with the case itself."""
    pytester.makepyfile(broken=BROKEN.replace("NAME", broken))
    run = gate("-p", "broken", "--ncnn-parity-fix=off", CACHE)
    assert run.ids("failed") == [f"{kept}l1"]
    assert run.cases[f"{kept}l1"]["headline"] == "no worker today"
    assert run.ids("passed") == [f"{kept}{name}" for name in ("in0", "l2", "l3", "l4")]


BROKEN = """
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.plugin import case_protocol

whole = case_protocol.NAME
judged = 0

def broken(*args):
    global judged
    judged += 1
    if judged == 1:  # of l1: in0, the first case of its comparison, runs in phases
        raise EngineError("no worker today")
    return whole(*args)

case_protocol.NAME = broken
"""
