"""Ways a model or a device goes wrong: each a verdict of its own, with everything else intact."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

OUTPUT = "noise::fp16-vs-fp32-vulkan::output:out{}"


@pytest.mark.once
def test_31_2_kills_the_worker_and_costs_one_layer(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=2", "a")
    networks.spec(pytester.path, networks.NOISE, "a")
    networks.convolution(pytester.path, "", "b")
    networks.spec(pytester.path, networks.NOISE, "b")
    run = gate()
    a, b = ({c["nodeid"].partition("::")[2]: c for c in m["cases"]} for m in run.report["models"])
    assert {name: case["cause"] for name, case in a.items() if case["outcome"] == "failed"} == {
        "noise::fp16-vs-fp32-vulkan::c2": "unsafe-mask",
        "noise::fp16-vs-fp32-vulkan::output:c3": "unsafe-mask",
    }
    assert "killed by SIGSEGV" in a["noise::fp16-vs-fp32-vulkan::c2"]["message"]
    for name in ("in0", "c1", "c3"):
        assert a[f"noise::fp16-vs-fp32-vulkan::{name}"]["outcome"] == "passed"
    assert "failed" not in {case["outcome"] for case in b.values()}
    assert b["noise::fp16-vs-fp32-vulkan::output:c3"]["outcome"] == "passed"
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert (fix["masks"], fix["verified"]) == ({"c2": 18}, True)


@pytest.mark.once
@pytest.mark.parametrize("selected", ["", "output"])
def test_a_crash_on_one_branch_costs_the_outputs_of_that_branch(
    gate: Gate, pytester: pytest.Pytester, started: Callable[[], int], selected: str
) -> None:
    """Four convolutions of one input each give an output; the masks of three kill the worker."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=24 1=24 2=8")
    for number, blob in enumerate(net.split(x, 4)):
        weights = [rng.normal(0, 0.1, (8, 8, 3, 3)), rng.normal(0, 0.1, 8)]
        params = "0=8 1=3 4=1 5=1 6=576" + (" 31=2" if number else "")
        net.layer("Convolution", f"c{number}", [blob], [f"out{number}"], params, weights)
    net.write(pytester.path / "net")
    text = f"{networks.NOISE}compare: [fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, text)
    run = gate("--ncnn-parity-fix=off", "-k", selected)
    failed = {f"c{n}" for n in (1, 2, 3)} | {f"output:out{n}" for n in (1, 2, 3)}
    assert {name.split("::")[2] for name in run.ids("failed")} == {n for n in failed if selected in n}
    assert run.cases[OUTPUT.format(0)]["outcome"] == "passed"
    assert started() <= 7  # a death for each layer or output, not for each time that all might run
    networks.spec(pytester.path, f"{text}tolerance: {{outputs: {{out0: {{atol: 0, scaled: 1e-5}}}}}}\n")
    wrong = gate("--ncnn-parity-fix=off", "-k", selected).cases[OUTPUT.format(0)]
    assert wrong["outcome"] == "failed"
    assert wrong["metrics"]["scaled"] > 1e-5
    assert "SIGSEGV" not in wrong["message"]  # it is judged by its own values


def test_a_shader_that_does_not_compile_is_named(gate: Gate, pytester: pytest.Pytester) -> None:
    """With the layers not selected, the only evidence is what stderr said while loading."""
    networks.convolution(pytester.path, "31=2")
    networks.spec(pytester.path, networks.NOISE)
    run = gate("--ncnn-parity-fix=off", "-k", "output and fp16")
    case = run.cases["noise::fp16-vs-fp32-vulkan::output:c3"]
    assert (case["outcome"], case["cause"]) == ("failed", "shader")
    assert "a shader did not compile" in case["message"]
    assert "stderr: compile" in case["message"]


@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
def test_underflow_blames_the_layer_that_made_the_value(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.underflow(pytester.path)
    networks.spec(pytester.path, "inputs:\n  zeros: {in0: {constant: -1}}\n")
    run = gate()
    for comparison in ("fp16-vs-fp32-vulkan", "fp16-range"):
        red = {n.split("::")[2]: run.cases[n]["cause"] for n in run.ids("failed", comparison)}
        expected = {"eps": "underflow"}
        if comparison != "fp16-range":
            expected["output:out0"] = "underflow"
        assert red == expected
    skipped = run.cases["zeros::fp16-vs-fp32-vulkan::rsqrt"]
    assert skipped["outcome"] == "skipped"
    assert "input not representable" in skipped["message"]
    assert "made by eps" in skipped["message"]
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert fix["verified"] is True
    assert set(fix["masks"]) >= {"eps", "rsqrt"}


def test_values_that_become_0_do_not_answer_for_how_others_are_rounded(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """2.9999 is 3 in fp16, so its floor is 3 and not 2; beside it, 1e-9 becomes 0, whose floor is 0."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64")
    x = net.layer("ReLU", "relu", [x])
    net.layer("UnaryOp", "floor", [x], ["out0"], "0=2")
    net.write(pytester.path / "net")
    values = np.full(64, 1e-9, np.float32)
    values[::4] = 2.9999
    np.save(pytester.path / "in0.npy", values)
    networks.spec(pytester.path, "inputs:\n  mixed: {in0: {file: in0.npy}}\n")
    run = gate()
    assert {n.split("::", 1)[1]: run.cases[n]["cause"] for n in run.ids("failed")} == {
        "fp16-vs-fp32-vulkan::output:out0": "precision"
    }


def test_small_values_that_lose_their_digits_are_an_underflow_too(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Of 2e-7 and 1e-8, fp16 has 1.8e-7 and 0; a factor of 1e7 shows that."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64")
    x = net.layer("BinaryOp", "tiny", [x], params="0=2 1=1 2=1e-4")
    x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=1e4")
    net.layer("BinaryOp", "larger", [x], ["out0"], "0=2 1=1 2=1e3")
    net.write(pytester.path / "net")
    values = np.full(64, 2e-3, np.float32)
    values[::4] = 1e-4
    np.save(pytester.path / "in0.npy", values)
    networks.spec(pytester.path, "inputs:\n  small: {in0: {file: in0.npy}}\ncompare: [fp16-range]\n")
    run = gate()
    assert {n.split("::")[2]: run.cases[n]["cause"] for n in run.ids("failed")} == {"tiny": "underflow"}


def test_nan_of_the_reference_is_reported_at_the_layer_that_writes_it(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.chain(pytester.path)
    text = (pytester.path / "net.param").read_text("utf-8")
    line = next(row for row in text.splitlines() if " l2 " in row)
    broken = "UnaryOp l2 1 1 l1 l2 0=5"  # the square root of negative values
    (pytester.path / "net.param").write_text(text.replace(line, broken), "utf-8")
    networks.spec(pytester.path, "inputs:\n  noise: {in0: {constant: -3}}\n")
    run = gate()
    red = {n.split("::", 1)[1]: run.cases[n]["cause"] for n in run.ids("failed")}
    assert red == {
        "cpu-vs-vulkan::l2": "nan",
        "cpu-vs-vulkan::output:l4": "nan",
        "fp16-vs-fp32-vulkan::l2": "nan",
        "fp16-vs-fp32-vulkan::output:l4": "nan",
        "fp16-range::l2": "nan",
    }


def test_what_kernels_make_of_some_nan_is_no_fault_of_theirs(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """max(nan, 0) is nan on the CPU and 0 on Vulkan: the maker of the nan is red, and its reader not."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64")
    x = net.layer("UnaryOp", "root", [x], params="0=5")
    x = net.layer("BinaryOp", "more", [x], params="0=0 1=1 2=1.0")
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, "inputs:\n  noise: {in0: {random: normal}}\ncompare: [cpu-vs-vulkan]\n")
    run = gate()
    red = {name.partition("::")[2]: run.cases[name]["cause"] for name in run.ids("failed")}
    assert red == {"cpu-vs-vulkan::root": "nan", "cpu-vs-vulkan::output:out0": "nan"}
    relu = run.cases["noise::cpu-vs-vulkan::relu"]
    assert relu["outcome"] == "skipped"
    assert "nan, which root wrote" in relu["message"]
    assert {name: fix["masks"] for name, fix in run.fixes.items()} == {"cpu-vs-vulkan": {}}


def test_a_candidate_that_ran_on_the_cpu_is_no_pass(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "masks: {c1: 18, c2: 18, c3: 18}\n")
    run = gate()
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan"):
        for name in ("c1", "c2", "c3", "output:c3"):
            case = run.cases[f"noise::{comparison}::{name}"]
            assert case["outcome"] == "skipped"
            assert "nothing would be tested" in case["message"]
    assert run.ids("failed") == []


@pytest.mark.parametrize("name", ["net.bin", "net.param", "net.parity.yaml"])
def test_a_file_that_vanishes_after_it_was_collected(
    gate: Gate, pytester: pytest.Pytester, name: str
) -> None:
    networks.convolution(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan]\n")
    pytester.makeconftest(
        f"from pathlib import Path\n\ndef pytest_collection_finish():\n    Path('{name}').unlink()\n"
    )
    run = gate()
    (model,) = run.report["models"]
    hashes = {key: model[f"{key}_sha256"] for key in ("spec", "param", "bin")}
    gone = {"net.bin": "bin", "net.param": "param", "net.parity.yaml": "spec"}[name]
    assert [key for key, value in hashes.items() if value is None] == [gone]
    (note,) = model["notes"]
    assert note.startswith(f"{name}: No such file")
    assert bool(run.ids("failed")) == (gone != "spec"), "the spec was read already"
