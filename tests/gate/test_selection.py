"""What runs is what was asked for, by every way pytest has of asking, with the same verdicts."""

from __future__ import annotations

import re
from typing import Any

import networks
import pytest
from conftest import Gate
from network import Network

SPEC = (
    "inputs:\n  zeros: {in0: {constant: -1}}\n  noise: {in0: {random: normal, seed: 3}}\n"
    "compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan, fp16-range]\n"
)


@pytest.fixture
def net(pytester: pytest.Pytester) -> None:
    networks.underflow(pytester.path)
    networks.spec(pytester.path, SPEC)


@pytest.mark.usefixtures("net")
def test_a_node_id_selects_one_case(gate: Gate) -> None:
    case = "net.parity.yaml::noise::fp16-vs-fp32-vulkan::rsqrt"
    run = gate(case)
    assert list(run.cases) == ["noise::fp16-vs-fp32-vulkan::rsqrt"]
    assert len(gate("net.parity.yaml::zeros").cases) == 6 + 7 + 6


@pytest.mark.usefixtures("net")
def test_k_and_lf_select(gate: Gate) -> None:
    assert set(gate("-k", "rsqrt and noise and not range").cases) == {
        "noise::cpu-vs-vulkan::rsqrt",
        "noise::fp16-vs-fp32-vulkan::rsqrt",
    }
    first = gate()
    again = gate("--lf")
    assert set(again.cases) == set(first.ids("failed"))
    assert again.ids("failed") == first.ids("failed")


@pytest.mark.usefixtures("net")
def test_collect_only_runs_nothing(gate: Gate) -> None:
    run = gate("--collect-only", "-q")
    assert "net.parity.yaml::zeros::fp16-vs-fp32-vulkan::output:out0" in run.output
    assert run.report == {}


@pytest.mark.once
@pytest.mark.usefixtures("net")
def test_a_selected_case_has_the_verdict_of_a_whole_run(gate: Gate) -> None:
    """Also where the verdict hangs on a layer that was not selected: eps fails for what rsqrt does."""
    whole = gate("--ncnn-parity-fix=off").cases
    for name in ("zeros::fp16-vs-fp32-vulkan::eps", "noise::fp16-range::rsqrt"):
        alone = gate("--ncnn-parity-fix=off", f"net.parity.yaml::{name}").cases[name]
        assert (alone["outcome"], alone["cause"]) == (whole[name]["outcome"], whole[name]["cause"])
        assert alone["metrics"] == whole[name]["metrics"]


@pytest.mark.once
@pytest.mark.parametrize("exclude", [False, True], ids=["", "excluded"])
def test_what_a_reader_is_allowed_counts_also_where_it_is_not_selected(
    gate: Gate, pytester: pytest.Pytester, *, exclude: bool
) -> None:
    """90000 is inf in fp16; its reader gives 0 for 1/90000, which the spec allows it."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=300.0")
    net.layer("UnaryOp", "reciprocal", [x], ["out0"], "0=15")
    net.write(pytester.path / "net")
    allowed = "tolerance: {layers: {reciprocal: {scaled: 2}}, outputs: {out0: {scaled: 2}}}\n"
    excluded = "layers: {exclude: [reciprocal]}\n" if exclude else ""
    text = "inputs: {s: {in0: {constant: 300.0}}}\ncompare: [fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, text + allowed + excluded)
    selected = ("--ncnn-parity-fix=off", "-k", "large")
    assert gate("--ncnn-parity-fix=off").ids("failed") == gate(*selected).ids("failed") == []
    path = pytester.path / "net.parity.yaml"
    path.write_text(path.read_text("utf-8").replace(allowed, ""), "utf-8")
    assert gate(*selected).ids("failed") == ["s::fp16-vs-fp32-vulkan::large"]


@pytest.mark.parametrize(("exclude", "told"), [(False, "fails itself"), (True, "has no case")])
def test_whether_the_maker_of_what_fp16_cannot_hold_is_judged_is_said(
    gate: Gate, pytester: pytest.Pytester, *, exclude: bool, told: str
) -> None:
    net = Network()
    a, b = net.split(net.layer("Input", "in0", params="0=16"), 2)
    for maker, reader, blob, factor in (("up", "down", a, 1e6), ("tiny", "log", b, 1e-9)):
        x = net.layer("BinaryOp", maker, [blob], params=f"0=2 1=1 2={factor:g}")
        net.layer("UnaryOp", reader, [x], params="0=8")
    net.write(pytester.path / "net")
    excluded = "layers: {exclude: [up, tiny]}\n" if exclude else ""
    inputs = "inputs: {s: {in0: {random: uniform, low: 1.0, high: 2.0}}}\ncompare: [fp16-range]\n"
    networks.spec(pytester.path, inputs + excluded)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == ([] if exclude else ["s::fp16-range::up", "s::fp16-range::tiny"])
    for reader, maker in (("down", "up (BinaryOp)"), ("log", "tiny")):
        assert run.cases[f"s::fp16-range::{reader}"]["message"].endswith(
            f"made by {maker}, which {told}"
        )


@pytest.mark.once
@pytest.mark.parametrize(
    "modes",
    [
        ("load", "worksteal", "each"),
        ("loadscope", "loadfile", "loadgroup"),
    ],
    ids="-".join,
)
@pytest.mark.usefixtures("net")
def test_xdist_gives_the_same_verdicts_and_runs_each_sample_once(
    gate: Gate, modes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    plain = gate()
    pytester.makeconftest(LOGS_LOADS)
    for mode in modes:
        log = pytester.path / f"{mode}.log"
        monkeypatch.setenv("LOADS", str(log))
        spread = gate("-n", "2", "--dist", mode)
        assert _verdicts(spread.cases) == _verdicts(plain.cases), mode
        assert _proven(spread.fixes) == _proven(plain.fixes), mode
        assert spread.report["environment"]["devices"] == plain.report["environment"]["devices"]
        jobs = log.read_text("utf-8").split()
        assert sorted(jobs) == ["noise", "zeros"], f"{mode}: each sample is run by one process, once"


LOGS_LOADS = """
import os
from pytest_ncnn_parity.engine import jobs

judge = jobs.judge

def logged(plan, sample, cases, *args, **kwargs):
    if kwargs.get("probe", True):  # a gate's job, not a search's
        with open(os.environ["LOADS"], "a") as log:
            log.write(sample + "\\n")
    return judge(plan, sample, cases, *args, **kwargs)

jobs.judge = logged
"""


def _untimed(message: str) -> str:
    """`message` without what differs from run to run: milliseconds, and seconds."""
    return re.sub(r"[\d.e+]+( ->|,)? m?s\b.*|[\d.e+]+ -> .*", "", message)


def _proven(fixes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    measured = {"seconds", "cost", "alternatives"}
    return {
        name: {key: value for key, value in fix.items() if key not in measured}
        for name, fix in fixes.items()
    }


def _verdicts(cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: (case["outcome"], case["cause"], _untimed(case["message"]), case["metrics"])
        for name, case in cases.items()
    }


def test_known_failures_are_expected_and_strict(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.underflow(pytester.path)
    networks.spec(
        pytester.path,
        SPEC + "known:\n"
        '  - {layer: eps, sample: zeros, reason: "issue 1"}\n'
        '  - {output: out0, sample: zeros, comparison: fp16-vs-fp32-vulkan, reason: "issue 1"}\n'
        '  - {layer: relu, sample: noise, comparison: cpu-vs-vulkan, reason: "gone"}\n',
    )
    run = gate("--ncnn-parity-fix=off", "-rx")
    assert "XFAIL" in run.output
    assert "issue 1" in run.output
    known = run.cases["zeros::fp16-vs-fp32-vulkan::eps"]
    assert (known["outcome"], known["cause"], known["known"]) == ("skipped", "underflow", True)
    # eps is right in cpu-vs-vulkan: an expected failure that passes is a failure
    assert run.ids("failed", "cpu-vs-vulkan") == [
        "zeros::cpu-vs-vulkan::eps",
        "noise::cpu-vs-vulkan::relu",
    ]
    assert [name for name in run.ids("failed") if name.startswith("zeros::fp16")] == []
    text = (pytester.path / "net.parity.yaml").read_text("utf-8")
    line = text[: text.index("layer: relu, sample: noise")].count("\n") + 1
    assert run.cases["noise::cpu-vs-vulkan::relu"]["message"] == (
        f"relu: passes, though known to fail: remove its entry of 'known', net.parity.yaml:{line}\n"
        "[XPASS(strict)] gone"
    )


@pytest.mark.once
def test_of_an_output_alone_nobody_says_that_its_layers_are_right(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Squares of 1000 are inf in fp16, and their reciprocal roots 0."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("UnaryOp", "square", [x], params="0=4")
    net.layer("UnaryOp", "root", [x], ["out0"], "0=6")
    net.write(pytester.path / "net")
    text = (
        "inputs: {s: {in0: {random: uniform, low: 900, high: 1100}}}\ncompare: [fp16-vs-fp32-vulkan]\n"
    )
    networks.spec(pytester.path, text)
    name = "s::fp16-vs-fp32-vulkan::output:out0"
    whole, alone = (gate("--ncnn-parity-fix=off", *args).cases[name] for args in ((), ("-k", "output")))
    assert whole["cause"] == "storage-overflow"
    assert "square (UnaryOp) upstream is red" in whole["message"]
    said = " ".join(alone["message"].split())
    assert "no layer in front of it was judged in this run" in said
    assert "no layer judged here is wrong" not in said
    networks.spec(pytester.path, f"{text}layers: {{exclude: [square]}}\n")
    said = " ".join(gate("--ncnn-parity-fix=off").cases[name]["message"].split())
    assert "1 of 2 layers in front of it were not judged in this run: judge them too" in said


def test_a_selected_layers_values_are_followed_to_whatever_reader_decides(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A value beyond fp16 is limited twelve layers further on, where an inf is as good."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    for name in ("up", "beyond"):
        x = net.layer("BinaryOp", name, [x], params="0=2 1=1 2=1000.0")
    for n in range(12):
        x = net.layer("ReLU", f"relu{n}", [x])
    net.layer("Clip", "clip", [x], ["out0"], "0=0.0 1=6.0")
    net.write(pytester.path / "net")
    inputs = "inputs: {s: {in0: {random: uniform, low: 1.0, high: 2.0}}}\n"
    networks.spec(pytester.path, f"{inputs}compare: [fp16-range]\n")
    assert gate().ids("failed") == []
    run = gate("net.parity.yaml::s::fp16-range::beyond")
    assert run.ids("passed") == ["s::fp16-range::beyond"], run.output
