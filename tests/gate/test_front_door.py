"""What is asked for happens: a run that is to run nothing, a gate by the ini, by an option, by none."""

from __future__ import annotations

import json
from pathlib import Path

import networks
import pytest

# imported here, the plugin stays imported through the runs in this process
from pytest_ncnn_parity import controller, nodes
from pytest_ncnn_parity.report.html import page

assert all((controller, nodes, page))

SPEC = networks.NOISE + "compare: [fp16-range]\n"
RED = "inputs:\n  s: {in0: {constant: 70000}}\ncompare: [fp16-range]\n"


def project(folder: Path, text: str = SPEC) -> None:
    networks.chain(folder, 1)
    networks.spec(folder, text)


def ini(pytester: pytest.Pytester, *lines: str) -> None:
    pytester.makeini("\n".join(["[pytest]", "ncnn_parity = true", *lines]))


def report(pytester: pytest.Pytester, name: str = "report.json") -> list[str]:
    """The node ids of a JSON report."""
    read = json.loads((pytester.path / name).read_text("utf-8"))
    return [case["nodeid"] for model in read["models"] for case in model["cases"]]


def test_a_run_that_runs_nothing_writes_nothing(pytester: pytest.Pytester) -> None:
    project(pytester.path)
    (pytester.path / "report.html").write_text("former", "utf-8")
    assert pytester.runpytest_subprocess("--ncnn-parity-json=report.json").ret == 0
    before = (pytester.path / "report.json").read_text("utf-8")
    reports = ("ncnn_parity_json = report.json", "ncnn_parity_html = report.html")
    ini(pytester, *reports, "ncnn_parity_baseline = report.json")
    modes = ("collect-only", "fixtures", "fixtures-per-test", "setup-plan", "setup-only", "cache-show")
    for mode, *typed in (*((mode,) for mode in modes), ("collect-only", "--ncnn-parity")):
        result = pytester.runpytest_inprocess(f"--{mode}", *typed)
        assert result.ret == pytest.ExitCode.OK
        assert "ncnn parity" not in result.stdout.str(), mode
        assert (pytester.path / "report.json").read_text("utf-8") == before, mode
        assert (pytester.path / "report.html").read_text("utf-8") == "former", mode
    # so does one of other tests, which the ini knows nothing of
    pytester.makepyfile("def test_ordinary(): pass")
    pytester.runpytest_inprocess("test_a_run_that_runs_nothing_writes_nothing.py").assert_outcomes(
        passed=1
    )
    assert (pytester.path / "report.json").read_text("utf-8") == before


def test_a_gate_by_the_ini_that_meets_no_spec_says_so(pytester: pytest.Pytester) -> None:
    for folder in ("models", "unit"):
        (pytester.path / folder).mkdir()
    project(pytester.path / "models")
    ordinary = pytester.path / "unit" / "test_ordinary.py"
    ordinary.write_text("def test_ordinary(): pass\n", "utf-8")
    said = ["WARNING: nothing was compared: no case was selected; looked for [*].parity.yaml in unit"]

    ini(pytester, "testpaths = unit")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(said)
    # tests that were chosen are not all that there are
    for chosen in (["unit/test_ordinary.py"], ["-k", "ordinary"], ["-m", "not ncnn_parity", "."]):
        result = pytester.runpytest_inprocess(*chosen)
        assert result.ret == pytest.ExitCode.OK
        assert "nothing was compared" not in result.stdout.str()
    assert pytester.runpytest_inprocess("--ncnn-parity").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    # whoever leaves them out by name does not ask for them, though the options of every run do
    result = pytester.runpytest_inprocess("--ncnn-parity", "-m", "not ncnn_parity", ".")
    assert result.ret == pytest.ExitCode.OK

    ini(pytester, "testpaths = unit", "ncnn_parity_require_vulkan = true")
    for dist in ([], ["-n", "1"]):
        result = pytester.runpytest_inprocess(*dist)
        assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
        result.stdout.fnmatch_lines(said)
    assert pytester.runpytest_inprocess("unit/test_ordinary.py").ret == pytest.ExitCode.OK


def test_an_option_of_the_gate_switches_it_on(pytester: pytest.Pytester) -> None:
    project(pytester.path)
    result = pytester.runpytest_inprocess(
        "--ncnn-parity-require-vulkan", "--ncnn-parity-json=x.json", "--ncnn-parity-baseline=gone.json"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--ncnn-parity-baseline=*gone.json: *"])
    result = pytester.runpytest_subprocess("--ncnn-parity-json=x.json")
    result.assert_outcomes(passed=2)
    assert len(report(pytester, "x.json")) == 2


def test_a_spec_without_the_gate_gets_a_hint_how_to_run_it(pytester: pytest.Pytester) -> None:
    project(pytester.path)
    result = pytester.runpytest_inprocess("net.parity.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *--ncnn-parity*ncnn_parity = true*"])
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["*--ncnn-parity*ncnn_parity = true*"])
    # it is no matter for a run of other tests
    pytester.makepyfile("def test_ordinary(): pass")
    assert "--ncnn-parity" not in pytester.runpytest_inprocess().stdout.str()


@pytest.mark.once
def test_a_run_without_a_terminal(pytester: pytest.Pytester) -> None:
    project(pytester.path, RED)
    args = ("-p", "no:terminal", "--ncnn-parity-json=report.json", "--ncnn-parity-fix=off")
    result = pytester.runpytest_subprocess(*args)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.stdout.str() + result.stderr.str() == ""
    assert "net.parity.yaml::s::fp16-range::in0" in report(pytester)


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_errors_of_specs_stand_somewhere(pytester: pytest.Pytester, quiet: list[str]) -> None:
    project(pytester.path, "inputz: {}\n")
    lines = pytester.runpytest_inprocess("--ncnn-parity", *quiet).outlines
    assert sum("net.parity.yaml:2:1:" in line for line in lines) == 1
    lines = pytester.runpytest_inprocess("--ncnn-parity", "--tb=no", *quiet).outlines
    assert sum("net.parity.yaml:2:1:" in line for line in lines) == 1


def test_values_in_toml_have_types(pytester: pytest.Pytester) -> None:
    """`[tool.pytest]`, from pytest 9 on, converts nothing; before, all was text."""
    project(pytester.path)
    native = pytest.version_tuple >= (9, 2)
    pytester.makepyprojecttoml(
        f"""
        [tool.pytest{"" if native else ".ini_options"}]
        ncnn_parity = true
        ncnn_parity_json = "report.json"
        ncnn_parity_fix_runs = 100
        ncnn_parity_fix_seconds = 2.5
        ncnn_parity_timeout = "30"
        ncnn_parity_memory = 2048
        ncnn_parity_baseline_factor = 3
        ncnn_parity_accumulated = true
        """
    )
    assert pytester.runpytest_subprocess().ret == 0
    read = json.loads((pytester.path / "report.json").read_text("utf-8"))["environment"]["options"]
    names = ("fix_runs", "fix_seconds", "timeout", "memory", "baseline_factor", "accumulated")
    assert [read[name] for name in names] == [100, 2.5, 30.0, 2048 << 20, 3.0, True]


def test_a_switch_that_is_neither_on_nor_off(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nncnn_parity = perhaps\n")
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *perhaps*"])
