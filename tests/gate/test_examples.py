"""The example models: what each is there to show is what a run shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import transcript
from conftest import ROOT, Gate

NUMBER = re.compile(r"\d[\d.]*(e[+-]\d+)?")  # of machines, which differ
REDUCTIONS = [f"sum_{i}" for i in range(1, 16)]


@pytest.mark.since_ncnn("1.0.20260526", "its rsqrt has 14 bits", on="avx512f")
def test_style_decoder_blames_the_15th_reduction_and_repairs_its_region(
    gate: Gate, example: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    example("style_decoder")
    run = gate("--ncnn-parity-fix=write")
    reductions = metadata.version("ncnn") >= "1.0.20260526"  # have a kernel for Vulkan
    fp16 = "fp16-vs-fp32-vulkan"
    for sample in ("face", "other"):
        red = [name for name in run.ids("failed", fp16) if name.startswith(sample)]
        assert red == [f"{sample}::{fp16}::sum_15", f"{sample}::{fp16}::output:out0"]
        for name in REDUCTIONS[:14]:
            case = run.cases[f"{sample}::{fp16}::{name}"]
            assert case["outcome"] == ("passed" if reductions else "skipped")
            assert reductions or "runs on cpu fp32 on both" in case["message"]
        overflow = run.cases[f"{sample}::{fp16}::sum_15"]
        assert overflow["cause"] == "storage-overflow"
        assert 1.7e6 < overflow["metrics"]["reference_absmax"] < 3.1e6
        assert overflow["metrics"]["inf"] in (3, 0)  # 0: finite on the CPU, inf to its reader
    assert run.ids("failed", "cpu-vs-vulkan") == []
    tested = run.ids("passed", "cpu-vs-vulkan") + run.ids("skipped", "cpu-vs-vulkan")
    assert len(tested) == 2 * 244
    assert [n.split("::")[2] for n in run.ids("failed", "fp16-range")] == ["sum_15", "sum_15"]

    fix = run.fixes[fp16]
    assert fix["verified"] is True
    region = ["sum_15", "eps_15", "rsqrt_15"] if reductions else ["eps_15", "rsqrt_15"]
    assert fix["masks"] == dict.fromkeys(region, 18)
    assert run.fixes["fp16-range"]["masks"] == dict.fromkeys(["sum_15", "eps_15", "rsqrt_15"], 18)
    assert all(line.endswith("31=18") for line in fix["lines"])
    assert "sum_15 (Reduction): " in run.output
    assert "(storage-overflow)" in run.output
    if reductions:
        (shown,) = transcript.commands(NUMBER.sub("0", (ROOT / "README.md").read_text("utf-8")))
        assert shown.pattern().fullmatch(NUMBER.sub("0", run.output))

    patched = next(Path(path) for path in run.fixes["fp16-range"]["written"] if path.endswith(".param"))
    patched.replace(pytester.path / "style_decoder.param")
    again = gate()
    assert again.result.ret == 0
    assert again.ids("failed") == []
    assert f"other::{fp16}::output:out0" in again.ids("passed")


@pytest.mark.once
def test_the_patch_applies_with_git(
    gate: Gate, example: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    example("accumulate")
    pytester.run("git", "init", "-q")
    gate("--ncnn-parity-fix=write")
    patch = ".ncnn-parity/accumulate.fp16-vs-fp32-vulkan.patch"
    assert pytester.run("git", "apply", patch).ret == 0
    patched = (pytester.path / patch).with_suffix(".param").read_bytes()
    assert (pytester.path / "accumulate.param").read_bytes() == patched


@pytest.mark.once
def test_accumulate_needs_31_1_on_one_layer(gate: Gate, example: Callable[[str], Path]) -> None:
    example("accumulate")
    run = gate()
    assert [n.split("::")[1:] for n in run.ids("failed")] == [
        ["fp16-vs-fp32-vulkan", "average"],
        ["fp16-vs-fp32-vulkan", "output:out0"],
        ["fp16-range", "average"],
    ]
    case = run.cases["noise::fp16-vs-fp32-vulkan::average"]
    assert case["cause"] == "accumulator-overflow"
    assert float(case["metrics"]["reference_absmax"]) < 65504
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert (fix["masks"], fix["verified"]) == ({"average": 1}, True)
    # where Vulkan is the CPU itself, its fp32 is asked about what does not agree with the CPU's
    software = "llvmpipe" in case["device"]
    compared = {
        outcome: {
            run.cases[n]["stand_in"]
            for n in run.ids(outcome, "fp16-vs-fp32-vulkan")
            if not n.endswith("::in0")  # an Input layer is compared with nothing
        }
        for outcome in ("passed", "failed")
    }
    assert compared == {"passed": {"cpu fp32" if software else None}, "failed": {None}}
    assert "right without fp16 arithmetic" in run.output


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        pytest.param(
            "attention",
            marks=pytest.mark.since_ncnn("1.0.20260526", "its output is wrong there, and seen to be"),
        ),
    ],
)
def test_healthy_networks_are_green(gate: Gate, example: Callable[[str], Path], name: str) -> None:
    example(name)
    run = gate("--ncnn-parity-require-vulkan")
    assert run.result.ret == 0
    assert run.ids("failed") == []
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan", "fp16-range"):
        assert len(run.ids("passed", comparison)) >= 3 * 9
    assert run.ids("passed", "fp16-vs-fp32-cpu") == []


@pytest.mark.once
def test_without_a_vulkan_driver_the_fault_is_still_predicted(
    gate: Gate, example: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent.json")
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent.json")
    example("style_decoder")
    run = gate()
    assert [n.split("::")[1:] for n in run.ids("failed")] == 2 * [["fp16-range", "sum_15"]]
    skipped = run.cases["face::cpu-vs-vulkan::sum_1"]
    assert "names /nonexistent.json, which does not exist" in skipped["message"]
    fix = run.fixes["fp16-range"]
    assert fix["verified"] is False
    assert "NOT verified" in run.output
    required = gate("--ncnn-parity-require-vulkan", "-k", "cpu-vs-vulkan and sum_1")
    assert required.result.ret == 1
    assert required.ids("passed") == []
    assert "no Vulkan device" in required.cases["face::cpu-vs-vulkan::sum_1"]["message"]
