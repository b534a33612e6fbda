"""The JSON report is what its schema says, key by key, however the run went."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import networks
import pytest
from conftest import Gate
from reports import assert_valid


@pytest.mark.once
def test_green_and_on_two_workers_and_against_a_baseline(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    run = gate("--ncnn-parity-accumulated")
    assert_valid(run.report)
    assert any(case["accumulated"] for case in run.cases.values())
    environment = run.report["environment"]
    assert environment["options"]["timeout"] == 120.0
    assert environment["options"]["json"] == "report.json"
    assert environment["plugin"].count(".") == 2
    assert environment["pytest"] == pytest.__version__
    assert environment["numpy"]
    assert environment["devices"]
    (model,) = run.report["models"]
    assert {len(model[f"{kind}_sha256"]) for kind in ("spec", "param", "bin")} == {64}

    (pytester.path / "report.json").replace(pytester.path / "saved.json")
    networks.convolution(pytester.path, masks="31=16")
    asked = ("--ncnn-parity-baseline=saved.json", "--ncnn-parity-baseline-fail")
    spread = gate("-n", "2", *asked)
    assert (spread.result.ret, spread.ids("failed")) == (pytest.ExitCode.TESTS_FAILED, [])
    assert_valid(spread.report)
    assert {r["kind"] for r in spread.report["regressions"]} == {"moved"}
    assert spread.report["models"][0].keys() == model.keys()
    assert spread.report["environment"].keys() == environment.keys()


@pytest.mark.once
def test_red_with_fixes_and_notices_and_numbers_json_has_not(
    gate: Gate, example: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    example("accumulate")
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-vs-fp32-vulkan]\nmasks: {l1: 2}\n")
    report = gate("--ncnn-parity-fix=write").report
    assert_valid(report)
    broken, masked = report["models"]
    assert masked["masks"][0]["kind"] == "unsafe"
    assert broken["fixes"][0]["cost"]
    assert broken["fixes"][0]["alternatives"]
    assert '"sqnr_db": "inf"' in json.dumps(report)


def test_without_vulkan(gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent")
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent")
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan]\n")
    run = gate()
    assert {case["outcome"] for case in run.cases.values()} == {"skipped"}
    assert_valid(run.report)
