"""A run that compared nothing, or not what it was asked to, is not green, and says so."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
NO_DRIVER = "/no/such/driver.json"


def driver(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, path)


@pytest.mark.parametrize("dist", ["0", "2"])
def test_every_case_skipped(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, dist: str
) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan]\n")
    driver(monkeypatch, NO_DRIVER)
    run = gate("-n", dist)
    assert run.result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "nothing was compared: every case was skipped (5): " in run.output
    run = gate("-n", dist, "--ncnn-parity-require-vulkan")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(run.ids("failed")) == 5


def test_one_spec_of_two_that_compared_nothing(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, comparison in (("a", "fp16-range"), ("b", "cpu-vs-vulkan")):
        networks.chain(pytester.path, 4, name)
        networks.spec(pytester.path, networks.NOISE + f"compare: [{comparison}]\n", name)
    driver(monkeypatch, NO_DRIVER)
    run = gate()
    assert run.result.ret == pytest.ExitCode.OK
    run.result.stdout.fnmatch_lines(["NOTHING COMPARED in b.parity.yaml: no Vulkan device: *"])


def test_no_spec_where_it_was_looked_for(pytester: pytest.Pytester) -> None:
    (pytester.path / "models").mkdir()
    pytester.makepyfile("def test_ordinary(): pass")
    result = pytester.runpytest_subprocess("--ncnn-parity", "models")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    lines = ["*nothing was compared: no case was selected; looked for [*].parity.yaml in models*"]
    result.stdout.fnmatch_lines(lines)
    # other tests that pass do not make up for a gate that was asked for
    result = pytester.runpytest_subprocess("--ncnn-parity")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.assert_outcomes(passed=1)


def test_known_failures_were_compared(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(
        pytester.path,
        "inputs:\n  s: {in0: {constant: 70000}}\ncompare: [fp16-range]\n"
        'known: [{layer: in0, reason: "issue 1"}]\n',
    )
    run = gate("-k", "in0")
    assert run.result.ret == pytest.ExitCode.OK
    assert "nothing was compared" not in run.output.lower()


def test_a_known_failure_does_not_hide_that_there_is_no_device(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.chain(pytester.path)
    known = 'compare: [cpu-vs-vulkan]\nknown: [{layer: "*", reason: "issue 1"}]\n'
    networks.spec(pytester.path, networks.NOISE + known)
    driver(monkeypatch, NO_DRIVER)
    run = gate("--ncnn-parity-require-vulkan", "-k", "l2")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert run.ids("failed") == ["noise::cpu-vs-vulkan::l2"]


def cpu_only(folder: Path, masks: str = "") -> None:
    """A network of one layer that ncnn has no shader for."""
    text = f"7767517\n2 2\nInput in0 0 1 in0 0=8\nBNLL only 1 1 in0 out0{masks}\n"
    (folder / "net.param").write_text(text, "utf-8")
    (folder / "net.bin").write_bytes(b"")


def test_a_candidate_none_of_whose_layers_ran_on_vulkan(gate: Gate, pytester: pytest.Pytester) -> None:
    cpu_only(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan]\n")
    run = gate()
    assert run.ids("skipped") == list(run.cases)
    assert run.result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    run = gate("--ncnn-parity-require-vulkan")
    assert run.ids("failed") == list(run.cases)
    message = run.cases["noise::cpu-vs-vulkan::only"]["message"]
    assert message.startswith("no layer runs on llvmpipe")
    # where a mask says so, it was meant
    cpu_only(pytester.path, " 31=16")
    run = gate("--ncnn-parity-require-vulkan")
    assert run.ids("skipped") == list(run.cases)


@pytest.mark.skipif(not SWIFTSHADER.exists(), reason="chromium's SwiftShader is not installed")
def test_options_that_the_device_dropped(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SwiftShader is a Vulkan device that has neither fp16 storage nor fp16 arithmetic."""
    networks.chain(pytester.path, 1)
    own = (
        "{name: storage, candidate: {device: vulkan, precision: fp16-storage}}, "
        "{name: packed, candidate: {device: vulkan, precision: fp16-packed}}"
    )
    networks.spec(pytester.path, networks.NOISE + f"compare: [fp16-vs-fp32-vulkan, {own}]\n")
    driver(monkeypatch, str(SWIFTSHADER))
    run = gate("-k", "l1 and not output")
    case = run.cases["noise::fp16-vs-fp32-vulkan::l1"]
    assert (case["outcome"], case["device"]) == ("passed", "SwiftShader Device (Subzero)")
    assert case["dropped"] == ["use_fp16_arithmetic", "use_fp16_storage"]
    assert run.cases["noise::packed::l1"]["dropped"] == []
    line = "*SwiftShader Device (Subzero) dropped use_fp16_arithmetic, use_fp16_storage*"
    run.result.stdout.fnmatch_lines([line])
    run = gate("-k", "l1 and not output", "--ncnn-parity-require-vulkan")
    assert run.ids("failed") == ["noise::fp16-vs-fp32-vulkan::l1", "noise::storage::l1"]
    assert run.ids("passed") == ["noise::packed::l1"]


def test_behind_nan_or_inf_of_the_reference_nothing_passes(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Both sides hold the same there and so agree; of the layers selected none made it."""
    net = Network()
    makers = {  # of some nan, of nothing else, of inf alone, and of finite values and inf
        "some": [("UnaryOp", "0=5")],
        "all": [("AbsVal", ""), ("BinaryOp", "0=2 1=1 2=-1.0"), ("UnaryOp", "0=5")],
        "inf": [("AbsVal", ""), *2 * [("BinaryOp", "0=2 1=1 2=3e38")]],
        "mixed": [("ReLU", ""), *2 * [("BinaryOp", "0=2 1=1 2=3e38")]],
    }
    blobs = net.split(net.layer("Input", "in0", params="0=8"), len(makers))
    for blob, (name, operators) in zip(blobs, makers.items(), strict=True):
        for i, (operator, params) in enumerate(operators, 1 - len(operators)):
            blob = net.layer(operator, f"{name}{i}", [blob], params=params)  # noqa: PLW2901
        net.layer("BinaryOp", f"behind_{name}", [blob], params="0=0 1=1 2=0.25")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan, fp16-range]\n")
    run = gate("-k", "behind and not output")
    for comparison in ("cpu-vs-vulkan", "fp16-range"):
        for name, outcome, why in (
            ("some", "skipped", "the reference's input holds nan, which some0 wrote"),
            ("all", "skipped", "the reference is nan everywhere here, from all0"),
            ("inf", "skipped", "the reference holds nothing but inf"),
            ("mixed", "passed", ""),
        ):
            case = run.cases[f"noise::{comparison}::behind_{name}"]
            assert case["outcome"] == outcome
            assert case["message"].startswith(why)
    of_both = run.cases["noise::cpu-vs-vulkan::behind_mixed"]["message"]
    assert of_both == "6 of 8 values are inf or -inf on both sides"
    run = gate("net.parity.yaml::noise::cpu-vs-vulkan::behind_some")
    assert run.result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_outputs_that_say_little_have_a_note(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    blobs = net.split(net.layer("Input", "in0", params="0=16 1=16 2=3"), 3)
    negative = net.layer("BinaryOp", "less", [blobs[0]], params="0=1 1=1 2=100.0")
    net.layer("ReLU", "nothing", [negative])
    dead = net.layer("BinaryOp", "zero", [blobs[1]], params="0=2 1=1 2=0.0")
    bias = np.arange(5.0)
    net.layer("InnerProduct", "dead", [dead], params="0=5 1=1 2=3840", weights=[np.ones(3840), bias])
    net.layer("AbsVal", "alive", [blobs[2]])
    net.write(pytester.path / "net")
    inputs = "{a: {in0: {random: normal, seed: 1}}, b: {in0: {random: normal, seed: 2}}}"
    networks.spec(pytester.path, f"inputs: {inputs}\ncompare: [cpu-vs-vulkan]\n")
    run = gate("--ncnn-parity-html=page.html")
    assert run.result.ret == pytest.ExitCode.OK
    notes = run.report["models"][0]["notes"]
    assert [note.partition(",")[0] for note in notes] == [
        "output nothing holds nothing but 0 on both sides in all samples",
        "output dead is the same",
    ]
    for place in (run.output, (pytester.path / "page.html").read_text("utf-8")):
        assert all(note in place for note in notes)


def test_an_option_that_no_version_of_ncnn_has_is_red_and_one_of_another_version_is_not(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.chain(pytester.path)
    own = "{{name: {}, candidate: {{device: cpu, options: {{{}: true}}}}}}"
    compared = ", ".join(
        own.format(name, option)
        for name, option in (
            ("typo", "use_fp61_storage"),
            ("former", "use_shader_pack8"),
            ("newer", "use_int8_packed_dot"),
        )
    )
    networks.spec(pytester.path, f"{networks.NOISE}compare: [{compared}]\n")
    run = gate()
    assert run.ids("failed") == [f"noise::{name}::l1" for name in ("typo", "newer")]
    message = run.cases["noise::typo::l1"]["message"]
    before, typo, _ = (
        (pytester.path / "net.parity.yaml").read_text("utf-8").partition("use_fp61_storage: ")
    )
    line, column = before.count("\n") + 1, len(before.split("\n")[-1] + typo) + 1
    assert f"net.parity.yaml:{line}:{column}: ncnn " in message
    assert "has no option use_fp61_storage; did you mean 'use_fp16_storage'" in message
