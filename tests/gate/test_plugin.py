"""The plugin as pytest's users meet it: options, reports, and what it costs those who do not use it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import networks
import pytest
from conftest import Gate, fresh_python


def test_help_lists_the_options(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--help")
    result.stdout.fnmatch_lines(
        [
            "ncnn-parity:",
            "  --ncnn-parity *",
            "  --ncnn-parity-json=FILE",
            "  --ncnn-parity-fix=off|suggest|write",
            "  --ncnn-parity-timeout=SECONDS",
            "  --ncnn-parity-require-vulkan",
        ]
    )


def test_without_the_option_nothing_is_collected_or_imported(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    pytester.makepyfile(
        """
        import sys
        def test_imports():
            heavy = {"numpy", "yaml", "ncnn", "pydantic", "filelock"} & set(sys.modules)
            assert not heavy
            assert "pytest_ncnn_parity.plugin" in sys.modules
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1)


def test_the_parent_never_imports_ncnn_or_numpy(pytester: pytest.Pytester) -> None:
    """In a process that nothing was forked into: there, who imports numpy first is not seen."""
    networks.underflow(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    pytester.makeconftest(
        """
        import sys
        def pytest_sessionfinish():
            print("heavy:", sorted({"numpy", "ncnn"} & set(sys.modules)))
        """
    )
    result = pytester.runpytest_subprocess("--ncnn-parity", "-s", "-p", "no:hypothesispytest")
    assert result.parseoutcomes()["failed"] > 0
    assert "heavy: []" in result.stdout.str()


def test_switched_off_with_p(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(): pass")
    result = pytester.runpytest_subprocess("-p", "no:ncnn_parity")
    result.assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("-p", "no:ncnn_parity", "--ncnn-parity")
    result.stderr.fnmatch_lines(["*unrecognized arguments: --ncnn-parity*"])


def test_ini_twins(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    pytester.makeini(
        """
        [pytest]
        ncnn_parity = true
        ncnn_parity_json = out/report.json
        ncnn_parity_fix = off
        ncnn_parity_timeout = 30
        ncnn_parity_require_vulkan = true
        ncnn_parity_dir = fixes
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=5)
    report = json.loads((pytester.path / "out/report.json").read_text("utf-8"))
    assert len(report["models"][0]["cases"]) == 5


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--ncnn-parity-fix=maybe", "*--ncnn-parity-fix=maybe: expected off, suggest or write*"),
        ("--ncnn-parity-timeout=soon", "*--ncnn-parity-timeout=soon: expected a number*"),
        ("--ncnn-parity-timeout=0", "*--ncnn-parity-timeout=0: expected a number*above 0*"),
        ("--ncnn-parity-timeout=nan", "*--ncnn-parity-timeout=nan: expected a number*"),
    ],
)
def test_bad_options_are_usage_errors(pytester: pytest.Pytester, option: str, message: str) -> None:
    result = pytester.runpytest_subprocess("--ncnn-parity", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()


def test_a_report_that_cannot_be_written_at_the_end_is_an_error(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    pytester.makeconftest(
        """
        import pathlib
        def pytest_collection_finish():
            pathlib.Path("report.json").unlink()
            pathlib.Path("report.json").mkdir()
        """
    )
    result = pytester.runpytest_subprocess("--ncnn-parity", "--ncnn-parity-json=report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: --ncnn-parity-json=*report.json: cannot be written*"])


def test_json_and_junit(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.underflow(pytester.path)
    networks.spec(pytester.path, "inputs:\n  zeros: {in0: {constant: -1}}\n")
    run = gate("--junitxml=junit.xml")
    assert run.report["schema"] == 1
    environment = run.report["environment"]
    assert environment["devices"][0]["fp16"] == "1/1/1/1"
    assert environment["ncnn"].startswith("1.0.20")
    (model,) = run.report["models"]
    assert (model["spec"], model["param"]) == ("net.parity.yaml", "net.param")
    for case in model["cases"]:
        assert set(case) >= {
            "nodeid",
            "sample",
            "comparison",
            "layer",
            "output",
            "type",
            "outcome",
            "cause",
            "message",
            "metrics",
        }
        assert (case["layer"] is None) != (case["output"] is None)
        if case["outcome"] == "passed":
            assert set(case["metrics"]) >= {
                "max_abs",
                "scaled",
                "cosine",
                "sqnr_db",
                "nan",
                "inf",
                "reference_absmax",
            }
    assert run.cases["zeros::cpu-vs-vulkan::relu"]["metrics"]["sqnr_db"] == "inf"

    root = ET.parse(pytester.path / "junit.xml").getroot()
    properties = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in root.iter("testcase")
        if "fp16-vs-fp32-vulkan" in str(case.get("classname")) + str(case.get("name"))
    }
    assert properties["eps"]["ncnn_parity_cause"] == "underflow"
    assert float(properties["relu"]["ncnn_parity_scaled"]) == 0.0
    assert "llvmpipe" in properties["relu"]["ncnn_parity_device"]


def test_the_first_line_of_a_failure_is_its_summary(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.underflow(pytester.path)
    networks.spec(pytester.path, "inputs:\n  zeros: {in0: {constant: -1}}\n")
    monkeypatch.setenv("COLUMNS", "250")
    result = pytester.runpytest_subprocess("--ncnn-parity", "--ncnn-parity-fix=off")
    result.stdout.fnmatch_lines(
        [
            "FAILED net.parity.yaml::zeros::fp16-vs-fp32-vulkan::eps - eps (BinaryOp): 16 values "
            "become 0 in fp16, and rsqrt (UnaryOp) makes 16 inf or nan of that (underflow)"
        ]
    )


@pytest.mark.parametrize("ci", ["", "true"])  # in CI pytest does not cut the lines of its summary
def test_skips_are_listed_once_and_reports_of_others_have_their_place_in_the_spec(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "  more: {in0: {random: normal, seed: 1}}\n")
    pytester.makepyfile("import pytest\n\n@pytest.mark.skip('not ours')\ndef test(): pass\n")
    result = pytester.runpytest_subprocess("--ncnn-parity", "-rs", "--junitxml=junit.xml")
    shown = [line for line in result.outlines if line.startswith("SKIPPED")]
    assert sorted(shown)[-1].startswith("SKIPPED [1] test_skips")
    (ours,) = (line for line in shown if "not ours" not in line)
    assert ours.startswith("SKIPPED [12] fp16-vs-fp32-cpu: ncnn ignores fp16 on ")
    assert "use ARM or Vulkan" in ours
    result.assert_outcomes(passed=32, skipped=13)
    details = ET.parse(pytester.path / "junit.xml").getroot().iter("skipped")
    assert sum("net.parity.yaml:3: ncnn ignores" in str(one.text) for one in details) == 6


def test_the_worker_needs_ncnn_and_numpy_alone() -> None:
    code = (
        "import sys\n"
        "for name in ('pytest', 'yaml', 'pydantic', 'filelock'): sys.modules[name] = None\n"
        "import pytest_ncnn_parity.worker.main\n"
    )
    assert fresh_python(code).stderr == ""
