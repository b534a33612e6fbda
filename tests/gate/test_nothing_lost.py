"""A run that is cut short: every verdict it had reached is in its report, which says so."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import networks
import pytest
from conftest import Gate, in_slow_layer

from pytest_ncnn_parity.plugin.reporting import in_short
from pytest_ncnn_parity.report import document as shape

RANGE = networks.NOISE + "compare: [fp16-range]\n"
ORDINARY = "--ncnn-parity-json=report.json"


def specs(folder: Path, *names: str) -> None:
    for name in names:
        networks.chain(folder, 4, name)
        networks.spec(folder, RANGE, name)


def red(folder: Path, name: str) -> None:
    networks.chain(folder, 4, name)
    networks.spec(folder, "inputs:\n  s: {in0: {constant: 70000}}\ncompare: [fp16-range]\n", name)


def judged(report: dict[str, Any]) -> dict[str, int]:
    return {model["spec"]: len(model["cases"]) for model in report["models"]}


def keys(value: Any) -> Any:
    """The shape of a report: its keys, and those of one of each list's entries."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [sorted({key for entry in value for key in entry})]
    return None


def test_a_whole_run_says_so(gate: Gate, pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a", "b")
    report = gate().report
    assert (report["complete"], report["stopped"]) == (True, None)
    assert (report["selected"], report["judged"], report["not_reached"]) == (10, 10, [])


@pytest.mark.parametrize("dist", ["0", "2"])
def test_x_and_maxfail(gate: Gate, pytester: pytest.Pytester, dist: str) -> None:
    red(pytester.path, "a")
    specs(pytester.path, *"bcdefghi")
    run = gate("-x", "-n", dist, "--ncnn-parity-fix=off")
    assert (run.report["complete"], run.report["selected"]) == (False, 5 + 8 * 5)
    assert run.report["stopped"] == "stopping after 1 failures"
    assert "a.parity.yaml::s::fp16-range::in0" in {c["nodeid"] for c in run.cases.values()}
    assert run.report["judged"] == sum(judged(run.report).values()) < 45
    if dist == "0":
        assert judged(run.report) == {"a.parity.yaml": 1}
        assert run.report["not_reached"] == [f"{name}.parity.yaml" for name in "bcdefghi"]


def test_stopped_at_the_last_case_is_whole(gate: Gate, pytester: pytest.Pytester) -> None:
    red(pytester.path, "a")
    report = gate("-x", "--ncnn-parity-fix=off", "-k", "in0").report
    assert (report["complete"], report["stopped"], report["judged"]) == (True, None, 1)


def test_ctrl_c(pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a")
    networks.slow(pytester.path, "b")
    networks.spec(pytester.path, RANGE, "b")
    with in_slow_layer(pytester.path, ORDINARY) as (process, lines):
        process.send_signal(signal.SIGINT)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert (report["complete"], report["stopped"]) == (False, "interrupted")
    assert judged(report) == {"a.parity.yaml": 5, "b.parity.yaml": 2}
    assert "interrupted" in "".join(lines).partition("ncnn parity")[2]


FIRST_REPORTS = """
from pytest_ncnn_parity.report.writer import ReportFiles

write = ReportFiles.write

def written_once(files, make):
    ReportFiles.write = write
    write(files, make)
    {then}

def pytest_configure():
    ReportFiles.write = written_once
"""


@pytest.mark.parametrize(
    ("then", "status", "why"),
    [
        ("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED, "interrupted"),
        ("return ['the disk is full']", pytest.ExitCode.USAGE_ERROR, "the disk is full"),
    ],
)
def test_a_run_that_ends_while_the_first_reports_are_written(
    pytester: pytest.Pytester, then: str, status: pytest.ExitCode, why: str
) -> None:
    specs(pytester.path, "a")
    pytester.makeconftest(FIRST_REPORTS.format(then=then))
    result = pytester.runpytest_subprocess("--ncnn-parity", ORDINARY)
    assert result.ret == status
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert (report["complete"], report["stopped"], report["selected"]) == (False, why, 0)


KILLS_ITSELF = """
import os, signal
def pytest_runtest_setup(item):
    if item.nodeid == "{nodeid}":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.once
def test_killed_between_two_specs(pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a", "b", "c")
    pytester.makeconftest(KILLS_ITSELF.format(nodeid="c.parity.yaml::noise::fp16-range::in0"))
    result = pytester.runpytest_subprocess("--ncnn-parity", ORDINARY, "--ncnn-parity-html=report.html")
    assert result.ret == -signal.SIGKILL
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert judged(report) == {"a.parity.yaml": 5, "b.parity.yaml": 5}
    assert (report["complete"], report["selected"], report["judged"]) == (False, 15, 10)
    assert "it was killed or it crashed" in report["stopped"]
    assert report["not_reached"] == ["c.parity.yaml"]
    page = (pytester.path / "report.html").read_text("utf-8")
    assert "The run was cut short" in page
    assert "a.parity.yaml" in page, "how much more depends on what a page costs: see report/files.py"


@pytest.mark.once
def test_a_former_runs_report_is_not_taken_for_this_runs(pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a")
    assert pytester.runpytest_subprocess("--ncnn-parity", ORDINARY).ret == 0
    pytester.makeconftest(KILLS_ITSELF.format(nodeid="a.parity.yaml::noise::fp16-range::in0"))
    pytester.runpytest_subprocess("--ncnn-parity", ORDINARY)
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert (report["complete"], report["models"], report["selected"]) == (False, [], 0)


@pytest.mark.once
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("typo.parity.yaml", "file or directory not found: typo.parity.yaml"),
        ("a.parity.yaml::nois", "not found: {}/a.parity.yaml::nois"),
    ],
)
def test_a_path_that_does_not_exist_is_said_in_the_reports(
    place: str, why: str, pytester: pytest.Pytester
) -> None:
    specs(pytester.path, "a")
    result = pytester.runpytest_subprocess("--ncnn-parity", ORDINARY, place)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no case was selected" in result.stdout.str()
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert (report["complete"], report["stopped"]) == (False, why.format(pytester.path))


def test_an_internal_error_of_pytest(pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a")
    pytester.makeconftest(
        "def pytest_runtest_logfinish(nodeid):\n    if '::l2' in nodeid: raise OSError('another plugin')"
    )
    result = pytester.runpytest_subprocess("--ncnn-parity", ORDINARY)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert report["stopped"] == "internal error of pytest: OSError: another plugin"
    assert judged(report) == {"a.parity.yaml": 3}


@pytest.mark.once
def test_a_killed_xdist_worker_is_a_red_case(gate: Gate, pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a", "b")
    plain = gate()
    pytester.makeconftest(KILLS_ITSELF.format(nodeid="b.parity.yaml::noise::fp16-range::l2"))
    run = gate("-n", "2")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert set(run.report) == set(plain.report)
    assert keys(run.report) == keys(plain.report)
    (case,) = (c for c in run.cases.values() if c["outcome"] == "failed")
    assert case["nodeid"] == "b.parity.yaml::noise::fp16-range::l2"
    expected = {"sample": "noise", "comparison": "fp16-range", "layer": "l2", "output": None}
    assert {key: case[key] for key in expected} == expected
    assert (case["type"], case["metrics"]) == ("BinaryOp", None)
    assert shape.problem(run.report) is None
    assert "crashed while running" in case["message"]
    assert (run.report["complete"], run.report["judged"]) == (True, 10)


def test_no_xdist_worker_left(gate: Gate, pytester: pytest.Pytester) -> None:
    """The crashed case is all there is: nothing of its network ever reached pytest."""
    specs(pytester.path, "a")
    pytester.makeconftest(KILLS_ITSELF.format(nodeid="a.parity.yaml::noise::fp16-range::in0"))
    run = gate("-n", "1", "--max-worker-restart=0")
    assert run.result.ret != 0
    assert run.report["complete"] is False
    assert judged(run.report) == {"a.parity.yaml": 1}
    assert run.report["models"][0]["layers"] == []
    assert shape.problem(run.report) is None
    assert run.report["stopped"]


def test_a_setup_that_another_plugin_breaks_is_in_the_report(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    specs(pytester.path, "a")
    pytester.makeconftest(
        "import pytest\n"
        "def pytest_runtest_setup(item):\n"
        "    if '::l2' in item.nodeid: pytest.fail('no licence', pytrace=False)\n"
        "    if '::l3' in item.nodeid: pytest.skip('not today')\n"
    )
    cases = gate().cases
    assert cases["noise::fp16-range::l2"]["message"] == "no licence"
    assert cases["noise::fp16-range::l2"]["outcome"] == "failed"
    assert cases["noise::fp16-range::l3"]["message"] == "Skipped: not today"
    assert cases["noise::fp16-range::l3"]["outcome"] == "skipped"


def test_a_spec_that_cannot_be_collected_is_in_the_report(gate: Gate, pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a")
    (pytester.path / "b.parity.yaml").write_text("model: {}\n", "utf-8")
    for args in ((), ("-n", "2")):
        report = gate("--continue-on-collection-errors", *args).report
        (error,) = report["errors"]
        assert error["spec"] == "b.parity.yaml"
        assert "b.parity.yaml:1:" in error["message"]
        assert judged(report) == {"a.parity.yaml": 5}
    report = gate().report
    assert (report["complete"], report["judged"]) == (False, 0)
    assert "1 error during collection" in report["stopped"]


def test_a_spec_with_another_suffix_is_not_overlooked(gate: Gate, pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a")
    (pytester.path / "b.parity.yml").write_bytes((pytester.path / "a.parity.yaml").read_bytes())
    run = gate("--continue-on-collection-errors")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    (error,) = run.report["errors"]
    assert error["spec"] == "b.parity.yml"
    assert error["message"].endswith("the name of a spec ends with .parity.yaml: rename it")
    assert judged(run.report) == {"a.parity.yaml": 5}


def test_cases_that_are_collected_twice_have_one_verdict(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    once = gate()
    pytester.makeconftest("def pytest_collection_modifyitems(items): items.extend(items[:3])")
    twice = gate()
    assert twice.cases.keys() == once.cases.keys()
    assert {name: case["outcome"] for name, case in twice.cases.items()} == {
        name: case["outcome"] for name, case in once.cases.items()
    }
    assert twice.ids("passed")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("OSError: another plugin\nwith more", "OSError: another plugin"),
        (
            "AssertionError: Traceback (most recent call last):\n    File ...\n  OSError: another\n"
            "assert False",
            "OSError: another",
        ),
    ],
)
def test_an_internal_error_is_one_line(error: str, said: str) -> None:
    assert in_short(error) == said


def test_cases_that_another_plugin_takes_away_are_not_green(pytester: pytest.Pytester) -> None:
    specs(pytester.path, "a")
    pytester.makeconftest("def pytest_runtest_protocol(item): return '::l2' in item.nodeid or None")
    result = pytester.runpytest_subprocess("--ncnn-parity", ORDINARY)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "of the selected cases did not run" in result.stdout.str()
