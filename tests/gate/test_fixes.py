"""Red networks and the masks that fix them: found, reduced, proven, priced, or reported not to exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

FP16 = "fp16-vs-fp32-vulkan"
LAYER_NORM = pytest.mark.since_ncnn("1.0.20260526", "a LayerNorm runs on the CPU, in fp32 already")
ONLY_FP16 = f"compare: [{FP16}]\n"


def two_samples(folder: Path) -> None:
    """A network of two branches, with a sample for which one overflows, and one for which both do."""
    networks.two_branches(folder)
    samples = (
        "inputs:\n  small: {in0: {constant: 5.0, shape: [16]}}\n"
        "  large: {in0: {constant: 100.0, shape: [16]}}\n"
    )
    networks.spec(folder, samples + ONLY_FP16)


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
def test_every_sample_counts(gate: Gate, pytester: pytest.Pytester) -> None:
    """Each sample shows another fault; the masks fix both."""
    two_samples(pytester.path)
    run = gate()
    red = {tuple(n.split("::")[::2]) for n in run.ids("failed")}
    assert red == {
        ("small", "huge"), ("small", "output:out0"),
        ("large", "big"), ("large", "huge"), ("large", "output:out0"),
    }  # fmt: skip
    fix = run.fixes[FP16]
    assert fix["masks"] == dict.fromkeys(["big", "back", "huge", "down"], 18)
    assert (fix["verified"], fix["minimal"]) == (True, True)
    assert "ran 2 samples 3 times on vulkan fp16" in fix["how"]
    before, after = fix["errors"]
    assert (before, after < 0.01) == ("inf", True)


@pytest.mark.once
def test_one_sample_is_enough_to_ask_for(gate: Gate, pytester: pytest.Pytester) -> None:
    """Selecting one red case does not make the masks those of one sample."""
    two_samples(pytester.path)
    run = gate("-k", "small and huge")
    assert list(run.cases) == [f"small::{FP16}::huge"]
    assert run.fixes[FP16]["masks"] == dict.fromkeys(["big", "back", "huge", "down"], 18)


@pytest.mark.once
def test_the_cost_of_a_fix_is_reported(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.two_branches(pytester.path)
    networks.spec(pytester.path, "inputs:\n  small: {in0: {constant: 5.0}}\n" + ONLY_FP16)
    fix = gate().fixes[FP16]
    cost = fix["cost"]
    assert (cost["moved"], cost["left"]) == (2, 5)
    assert (cost["uploads"], cost["downloads"]) == ([1, 2], [1, 2])
    assert cost["before_ms"] > 0
    assert cost["after_ms"] > 0
    assert fix["runs"] > 0
    (other,) = fix["alternatives"]
    assert other["name"] == "bf16 for the whole network"


@pytest.mark.once
def test_arithmetic_alone_has_an_alternative_without_masks(
    gate: Gate, example: Callable[..., Path]
) -> None:
    example("accumulate")
    run = gate()
    fix = run.fixes[FP16]
    assert fix["masks"] == {"average": 1}
    assert fix["cost"]["moved"] == 0
    assert "no layer leaves the GPU" in run.output
    (other,) = fix["alternatives"]
    assert "use_fp16_arithmetic=False" in other["name"]
    assert other["problem"] == ""
    assert other["worst"] < 0.05
    assert other["ms"] > 0
    assert "instead: use_fp16_arithmetic=False for the whole network is right as well" in run.output


def normalised(folder: Path, mean: float, width: int = 64) -> None:
    """shift -> half -> LayerNorm: the mean is thousands of deviations, which fp16 cannot keep apart."""
    net = Network()
    x = net.layer("Input", "in0", params=f"0={width} 1=16")
    x = net.layer("BinaryOp", "shift", [x], params=f"0=0 1=1 2={mean}")
    x = net.layer("BinaryOp", "half", [x], params="0=2 1=1 2=0.5")
    x = net.layer("LayerNorm", "norm", [x], params=f"0={width} 1=1e-5 2=0")
    x = net.layer("BinaryOp", "scale", [x], params="0=2 1=1 2=0.5")
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(folder / "net")
    networks.spec(folder, networks.NOISE + ONLY_FP16)


@pytest.mark.once
@LAYER_NORM
def test_rounding_before_a_layer_norm_is_no_matter_of_its_own_mask(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    normalised(pytester.path, 2000.0)
    run = gate()
    assert run.ids("failed") == [f"noise::{FP16}::output:out0"]
    assert run.cases[f"noise::{FP16}::output:out0"]["cause"] == "precision"
    fix = run.fixes[FP16]
    assert fix["masks"] == {"shift": 18, "half": 18, "norm": 18}
    assert fix["verified"] is True
    assert "no mask on norm (LayerNorm) alone fixes it" in run.output


@LAYER_NORM
def test_what_fp32_cannot_do_either_is_said_to_be_beyond_masks(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """So far from zero a LayerNorm is a matter of the order of its sums, in fp32 already.

    63 values in a row: an order without packing is then another one on any processor.
    """
    normalised(pytester.path, 4e4, width=63)
    text = "inputs:\n  quiet: {in0: {random: normal, std: 0.01}}\n" + ONLY_FP16
    networks.spec(pytester.path, text)
    run = gate()
    assert run.ids("failed") == [f"quiet::{FP16}::output:out0"]
    assert run.cases[f"quiet::{FP16}::output:out0"]["cause"] == "reference"
    fix = run.fixes[FP16]
    assert (fix["masks"], fix["verified"], fix["patch"]) == ({}, False, "")
    assert "no fix: no mask can fix this" in run.output


@pytest.mark.once
def test_a_search_that_reaches_its_limit_keeps_what_was_verified(
    gate: Gate, example: Callable[..., Path]
) -> None:
    example("style_decoder", without=("other",))
    run = gate("--ncnn-parity-fix-runs=5", "-k", f"{FP16} and sum_15")
    fix = run.fixes[FP16]
    assert fix["runs"] == 5
    assert (fix["verified"], fix["minimal"]) == (True, False)
    assert set(fix["masks"]) >= {"eps_15", "rsqrt_15"}
    assert "fix (verified, not minimal)" in run.output
    assert "the search reached its limit" in run.output


@pytest.mark.once
def test_a_search_that_reaches_its_limit_at_once_says_so(
    gate: Gate, example: Callable[..., Path]
) -> None:
    example("style_decoder")
    run = gate("--ncnn-parity-fix-runs=1", "-k", f"{FP16} and sum_15")
    assert run.fixes[FP16]["masks"] == {}
    assert "the search reached its limit before a set of masks was right" in run.output


@pytest.mark.once
@pytest.mark.parametrize("value", ["0", "many"])
@pytest.mark.parametrize(("name", "what"), [("fix-runs", "whole number"), ("fix-seconds", "number")])
def test_a_limit_of_a_search_must_be_a_number_above_0(
    gate: Gate, name: str, what: str, value: str
) -> None:
    run = gate(f"--ncnn-parity-{name}={value}")
    assert run.result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--ncnn-parity-{name}={value}: expected a {what}" in run.result.stderr.str()


def test_a_wrong_kernel_is_gone_around(gate: Gate, pytester: pytest.Pytester) -> None:
    """GELU on Vulkan takes another formula: with a tolerance that minds, it goes to the CPU."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64")
    x = net.layer("ReLU", "relu", [x])
    x = net.layer("GELU", "gelu", [x])
    net.layer("BinaryOp", "scale", [x], ["out0"], "0=2 1=1 2=0.5")
    net.write(pytester.path / "net")
    text = "compare: [cpu-vs-vulkan]\ntolerance: {fp32: {atol: 1.0e-6}}\n"
    networks.spec(pytester.path, networks.NOISE + text)
    run = gate()
    assert run.cases["noise::cpu-vs-vulkan::gelu"]["cause"] == "device"
    fix = run.fixes["cpu-vs-vulkan"]
    assert (fix["masks"], fix["verified"]) == ({"gelu": 16}, True)
    assert fix["alternatives"] == []


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
def test_a_fix_holds_as_masks_of_the_spec_too(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.two_branches(pytester.path)
    samples = "inputs:\n  large: {in0: {constant: 100.0, shape: [16]}}\n"
    networks.spec(pytester.path, samples)
    fixes = gate("-k", "fp16").fixes
    masks = {name: mask for fix in fixes.values() for name, mask in fix["masks"].items()}
    assert masks == dict.fromkeys(["big", "back", "huge", "down"], 18)
    listed = ", ".join(f"{name}: {mask}" for name, mask in masks.items())
    networks.spec(pytester.path, f"{samples}masks: {{{listed}}}\n")
    again = gate()
    assert again.ids("failed") == []
    assert again.report["models"][0]["masks"] == []  # all needed


@pytest.mark.once
def test_nothing_of_the_users_is_written(gate: Gate, example: Callable[..., Path]) -> None:
    folder = example("accumulate").parent
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    gate("--ncnn-parity-fix=write", "-k", FP16)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    assert sorted(p.name for p in (folder / ".ncnn-parity").iterdir()) == [
        f"accumulate.{FP16}.param",
        f"accumulate.{FP16}.patch",
    ]


@pytest.mark.once
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one", "xdist"])
def test_comparisons_with_the_same_fix_share_a_patch(
    gate: Gate, pytester: pytest.Pytester, processes: tuple[str, ...]
) -> None:
    """`git apply` refuses to make a change twice, and with it all patches that it is given."""
    networks.two_branches(pytester.path)
    two = "inputs: {s: {in0: {constant: 5.0, shape: [16]}}}\ncompare: [shipped, fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, two)
    folder = pytester.path / ".ncnn-parity"
    folder.mkdir()
    for name in ("shipped", FP16):  # of an earlier run
        (folder / f"net.{name}.patch").write_text("--- a/net.param\n", "utf-8")
    run = gate("--ncnn-parity-fix=write", *processes)
    assert run.fixes["shipped"]["masks"] == run.fixes[FP16]["masks"] == {"huge": 18, "down": 18}
    assert run.fixes["shipped"]["written"] == run.fixes[FP16]["written"]
    patches = [str(path) for path in folder.glob("*.patch")]
    assert patches == run.fixes[FP16]["written"][1:]
    pytester.run("git", "init", "-q")
    assert pytester.run("git", "apply", *patches).ret == 0
    assert gate("--ncnn-parity-fix=off").ids("failed") == []


@pytest.mark.once
def test_an_accumulator_beside_an_overflow_gets_its_own_bit(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Two faults in one network: a region to the CPU, and one layer without fp16 arithmetic."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=4")
    x = net.layer("BinaryOp", "up", [x], params="0=2 1=1 2=900.0")
    x = net.layer("Pooling", "average", [x], params="0=1 1=15 2=1 3=7 5=1 6=1")
    x = net.layer("BinaryOp", "over", [x], params="0=2 1=1 2=500.0")
    x = net.layer("BinaryOp", "under", [x], params="0=2 1=1 2=0.00001")
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(pytester.path / "net")
    text = "inputs:\n  ones: {in0: {random: uniform, low: 0.5, high: 1.0}}\n" + ONLY_FP16
    networks.spec(pytester.path, text)
    run = gate()
    causes = {n.split("::")[2]: run.cases[n]["cause"] for n in run.ids("failed")}
    assert causes["average"] == "accumulator-overflow"
    assert causes["over"] == "storage-overflow"
    fix = run.fixes[FP16]
    assert fix["masks"] == {"average": 1, "over": 18, "under": 18}
    assert (fix["verified"], fix["minimal"]) == (True, True)


@pytest.mark.once
def test_an_option_that_does_what_many_masks_do_is_said_first(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=4")
    for number in range(14):
        x = net.layer("Pooling", f"average_{number}", [x], params="0=1 1=7 2=1 3=3 5=1 6=1")
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(pytester.path / "net")
    text = "inputs:\n  large: {in0: {random: uniform, low: 8000, high: 9000}}\n" + ONLY_FP16
    networks.spec(pytester.path, text)
    run = gate()
    assert run.fixes[FP16]["masks"] == {f"average_{number}": 1 for number in range(14)}
    assert (
        "  fix: use_fp16_arithmetic=False for the whole network is right: outputs within" in run.output
    )


@pytest.mark.since_ncnn("1.0.20260526", "a CPU in bf16 takes masks there as it likes")
def test_on_a_cpu_with_16_bits_a_region_reaches_back_to_where_values_are_fp32(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """bf16 on x86 stands in for fp16 on ARM: bit 4 behind an unmasked layer reads bf16 as fp32."""
    normalised(pytester.path, 300.0)
    bf16 = "{name: bf16, reference: {device: cpu}, candidate: {device: cpu, precision: bf16}}"
    text = f"compare: [{bf16}]\ntolerance: {{bf16: {{scaled: 0.08}}}}\n"
    networks.spec(pytester.path, networks.NOISE + text)
    run = gate()
    assert run.ids("failed") == ["noise::bf16::output:out0"]
    fix = run.fixes["bf16"]
    assert (fix["verified"], fix["minimal"]) == (True, True)
    assert fix["masks"] == {"shift": 4, "half": 4, "norm": 4}
    assert "GPU" not in run.output


@pytest.mark.once
def test_a_fix_makes_outputs_better_and_not_just_forgiven(gate: Gate, pytester: pytest.Pytester) -> None:
    """Angles up to 2,000 lose up to 0.5 rad in fp16; the error of either function alone is forgiven."""
    net = Network()
    positions = net.layer("Input", "positions", params="0=1 1=2000")
    rates = 10000.0 ** (-np.arange(16) / 16)
    rates = net.layer("MemoryData", "rates", params="0=16 1=1", weights=[rates], flagged=False)
    x = net.layer("BinaryOp", "angles", [positions, rates], params="0=2")
    a, b = net.split(x, 2)
    a = net.layer("UnaryOp", "sin", [a], params="0=9")
    b = net.layer("UnaryOp", "cos", [b], params="0=10")
    x = net.layer("Concat", "both", [a, b], params="0=1")
    weights = np.random.RandomState(0).normal(0.0, 32**-0.5, (8, 32))
    net.layer("Gemm", "last", [x], ["out0"], "3=1 5=1 6=1 8=8 9=32 10=-1", [weights])
    net.write(pytester.path / "net")
    networks.fed(pytester.path, ONLY_FP16, positions=np.arange(2000.0).reshape(-1, 1))
    run = gate()
    assert f"s::{FP16}::output:out0" in run.ids("failed")
    fix = run.fixes[FP16]
    assert {"angles", "sin", "cos"} <= set(fix["masks"])
    before, after = fix["errors"]
    assert after <= before / 2
