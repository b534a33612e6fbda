"""The CPU in fp32 is the reference only where it can be believed: its own faults are no device's."""

from __future__ import annotations

import re

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

SHIPPED = "compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan, fp16-range]\n"


def one_dimensional_gemm(pytester: pytest.Pytester, behind: bool = False) -> None:
    """ncnn's packed Gemm reads past an operand of one dimension."""
    net = Network()
    a, b = net.layer("Input", "A"), net.layer("Input", "B")
    x = net.layer("Gemm", "gemm", [a, b], params="2=0 3=0")
    if behind:
        x = net.layer("ReLU", "relu", [x])
        x = net.layer("BinaryOp", "scale", [x], params="0=2 1=1 2=0.5")
    net.write(pytester.path / "net")
    text = (
        "inputs:\n  s:\n    A: {random: normal, shape: [16]}\n    B: {random: normal, shape: [16, 24]}\n"
    )
    networks.spec(pytester.path, text + SHIPPED)


def key_value_cache(pytester: pytest.Pytester) -> None:
    """ncnn's SDPA leaves a part of what it puts into its cache unwritten."""
    names = {"q": [4, 6, 16], "k": [2, 6, 16], "v": [2, 6, 16], "pk": [2, 5, 16], "pv": [2, 5, 16]}
    net = Network()
    q, k, v = (net.layer("Input", name) for name in "qkv")
    mask = net.layer("Input", "mask")
    pk, pv = net.layer("Input", "pk"), net.layer("Input", "pv")
    net.layer("SDPA", "attention", [q, k, v, mask, pk, pv], ["out0", "ck", "cv"], "5=1 7=1")
    net.write(pytester.path / "net")
    np.save(pytester.path / "mask.npy", np.zeros((6, 11), np.float32))
    inputs = "".join(
        f"    {name}: {{random: normal, shape: {shape}}}\n" for name, shape in names.items()
    )
    networks.spec(pytester.path, f"inputs:\n  s:\n{inputs}    mask: {{file: mask.npy}}\n{SHIPPED}")


@pytest.mark.since_ncnn("1.0.20261020", "there these kernels are others")
@pytest.mark.parametrize("network", [one_dimensional_gemm, key_value_cache])
def test_a_kernel_that_reads_memory_nobody_wrote_is_the_references_fault(
    network: object, gate: Gate, pytester: pytest.Pytester
) -> None:
    network(pytester)  # type: ignore[operator]
    run = gate()
    red = {name: run.cases[name] for name in run.ids("failed")}
    assert {case["cause"] for case in red.values()} == {"reference"}
    # what the memory holds decides whether fp16 could hold it, and whether rounding would excuse it
    assert "cpu-vs-vulkan" in {case["comparison"] for case in red.values() if case["layer"]}
    assert not any(fix["masks"] or fix["verified"] for fix in run.fixes.values())
    layer = next(case for case in red.values() if case["layer"])
    assert "the CPU's kernel reads memory that nobody wrote" in layer["message"]
    assert "(storage-overflow)" not in run.output


@pytest.mark.since_ncnn("1.0.20261020", "there this kernel is another")
def test_what_depends_on_such_a_kernel_is_not_the_devices_fault_either(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    one_dimensional_gemm(pytester, behind=True)
    run = gate()
    assert {run.cases[name]["cause"] for name in run.ids("failed")} == {"reference"}


@pytest.mark.since_ncnn("1.0.20261020", "there this kernel is another")
def test_a_recording_of_another_shape_is_no_proof_of_a_wrong_conversion_behind_such_a_kernel(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A classifier of a vector, of which ncnn's packed Gemm makes as many rows as it packs."""
    rng = np.random.RandomState(0)
    weights, read = rng.normal(0, 0.2, (10, 16)), rng.normal(0, 1, 16)
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("ReLU", "relu", [x])
    params = "2=0 3=1 4=0 5=1 6=1 7=0 8=10 9=16 10=-1"
    net.layer("Gemm", "classify", [x], ["out0"], params, [weights])
    net.write(pytester.path / "net")
    np.save(pytester.path / "in0.npy", read.astype(np.float32))
    np.save(pytester.path / "out0.npy", (weights @ np.maximum(read, 0.0)).astype(np.float32))
    sample = "{in0: {file: in0.npy}, expect: {out0: {file: out0.npy}}}"
    networks.spec(pytester.path, f"inputs: {{s: {sample}}}\ncompare: [fp16-range]\n")
    run = gate("--ncnn-parity-fix=off")
    assert run.cases["s::golden::output:out0"]["cause"] == "reference"
    said = r"holds \(10,\), the network gives \((8|16), 10\)"  # 16 with AVX-512
    assert re.search(said, run.cases["s::golden::output:out0"]["message"])


@pytest.mark.since_ncnn("1.0.20261020", "there this kernel is another")
def test_a_sample_that_feeds_what_is_behind_such_a_kernel_is_judged_by_itself(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    one_dimensional_gemm(pytester, behind=True)
    spec = pytester.path / "net.parity.yaml"
    own, _, rest = spec.read_text("utf-8").partition("compare:")
    fed = "    relu: {constant: 200000, shape: [1, 24]}\n"
    again = own.partition("  s:\n")[2]
    spec.write_text(f"{own}  fed:\n{again}{fed}compare:{rest}", "utf-8")
    run = gate("--ncnn-parity-fix=off")
    causes = {}
    for name in run.ids("failed"):
        causes.setdefault(name.partition("::")[0], set()).add(run.cases[name]["cause"])
    assert causes == {"s": {"reference"}, "fed": {"storage-overflow"}}
    assert run.cases["s::cpu-vs-vulkan::output:scale"]["cause"] == "reference"


def test_a_kernel_that_computes_an_element_otherwise_among_others_is_the_references_fault(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """ncnn's pow is exp(y * log(x)) on x86: 2.4e38 where x is 0 or negative, and right on Vulkan for 0.

    Beside it elementwise layers that are even: of what depends on these alone nothing is said.
    """
    net = Network()
    x, y = net.split(net.layer("ReLU", "relu", [net.layer("Input", "in0")]), 2)
    power = net.layer("BinaryOp", "power", [x], params="0=6 1=1 2=3.0")
    net.layer("BinaryOp", "behind", [power], ["out0"], "0=2 1=1 2=0.5")
    x = net.layer("Exp", "exp", [y])
    net.layer("BinaryOp", "large", [x], ["out1"], "0=2 1=1 2=1e5")
    net.write(pytester.path / "net")
    spec = (
        "inputs:\n  s: {in0: {random: normal, shape: [4, 6, 6]}}\ncompare: [cpu-vs-vulkan, fp16-range]\n"
    )
    networks.spec(pytester.path, spec)
    run = gate()
    red = {name: run.cases[name] for name in run.ids("failed")}
    causes = {case["layer"] or case["output"]: case["cause"] for case in red.values()}
    assert causes["power"] == "reference"
    assert causes["out0"] == "reference"
    assert causes["large"] == "storage-overflow"
    assert {name for name, cause in causes.items() if cause == "reference"} <= {
        "power",
        "behind",
        "out0",
    }
    assert not any(set(fix["masks"]) & {"power", "behind"} for fix in run.fixes.values())
    power_case = run.cases["s::cpu-vs-vulkan::power"]
    assert power_case["headline"].endswith("the CPU's kernel computes some elements wrongly")


def test_no_mask_makes_the_device_give_what_cannot_be_trusted(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A pooled vector into a Gemm: the CPU makes 16 rows of it where it packs, and one otherwise.

    Beside it a mask of -1e9 that does not fit its only reader, of which nothing is known in fp16.
    """
    net = Network()
    x = net.layer("Pooling", "pooled", [net.layer("Input", "in0")], params="0=1 4=1")
    weights = [np.random.RandomState(4).normal(0, 0.3, (8, 16))]
    x = net.layer("Gemm", "gemm", [x], params="3=1 5=1 6=1 8=8 9=16 10=-1", weights=weights)
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(pytester.path / "net")
    networks.spec(
        pytester.path,
        "inputs: {s: {in0: {random: normal, shape: [16, 6, 6]}}}\n"
        "compare: [cpu-vs-vulkan, fp16-range]\n",
    )
    net = Network()
    query, hidden = net.layer("Input", "query"), net.layer("Input", "hidden")
    x = net.layer("BinaryOp", "masked", [query, hidden], params="0=0")
    net.layer("Softmax", "probable", [x], ["out0"], "0=1 1=1")
    net.write(pytester.path / "misfit")
    inputs = "query: {random: normal, shape: [7, 16]}, hidden: {constant: -1.0e9, shape: [7, 12]}"
    networks.spec(pytester.path, f"inputs:\n  s: {{{inputs}}}\ncompare: [fp16-range]\n", "misfit")
    run = gate()
    misfit, model = sorted(run.report["models"], key=lambda one: one["spec"])
    red = {c["layer"] or c["output"]: c["cause"] for c in model["cases"] if c["outcome"] == "failed"}
    assert red == {"gemm": "reference", "out0": "reference"}
    assert [(fix["masks"], fix["verified"]) for fix in model["fixes"]] == [({}, False)] * 2
    outcomes = {case["layer"]: (case["outcome"], case["cause"]) for case in misfit["cases"]}
    assert outcomes["masked"] == ("failed", "shape")
    assert outcomes["hidden"] == ("skipped", None)
    assert misfit["fixes"] == []


def test_rows_that_are_packed_as_if_they_were_channels_do_not_fit(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Eight rows of the one channel: ncnn would refuse them, for 3 rows do not fit into 2."""
    net = Network()
    x = net.layer("Input", "in0", params="0=10 1=8")
    x = net.layer("ReLU", "before", [x])
    x = net.layer("Pooling", "pool", [x], params="0=0 1=3 2=1")
    net.layer("ReLU", "behind", [x], ["out0"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-vs-fp32-vulkan, fp16-range]\n")
    run = gate()
    for comparison in ("fp16-vs-fp32-vulkan", "fp16-range"):
        case = run.cases[f"noise::{comparison}::pool"]
        assert (case["outcome"], case["cause"]) == ("failed", "shape")
        assert "feed [1, 8, 10]" in case["message"]
        assert run.cases[f"noise::{comparison}::behind"]["outcome"] == "skipped"
    assert [fix["masks"] for fix in run.fixes.values() if fix["masks"]] == []


def test_what_ncnn_says_of_a_file_it_refuses_is_shown(gate: Gate, pytester: pytest.Pytester) -> None:
    """A Reduction as an old converter wrote it."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    net.layer("Reduction", "mean", [x], ["out0"], "0=3 1=0 -23303=1,1 4=1")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE)
    run = gate()
    (name,) = run.ids("failed")
    assert run.cases[name]["cause"] == "load"
    assert "stderr: param is too old, please regenerate!" in run.cases[name]["message"]
    assert "layer load_param 1 mean failed" in run.cases[name]["message"]
    assert run.cases[name]["headline"].endswith(": mean (Reduction, line 4)")


@pytest.mark.since_ncnn("1.0.20261020", "it reads the first of them alone")
def test_a_layer_of_one_input_that_is_given_two_is_named(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    a, b = net.split(net.layer("Input", "in0", params="0=16 1=16 2=3"), 2)
    net.layer("Sigmoid", "both", [a, b], ["out0"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE)
    run = gate()
    (name,) = run.ids("failed")
    assert run.cases[name]["cause"] == "load"
    assert run.cases[name]["headline"].endswith(": both (Sigmoid, line 5)")


@pytest.mark.parametrize(
    "norm",
    [
        "InstanceNorm 0=8 1=1e-5 2=0",
        "LayerNorm 0=16384 1=1e-5 2=0",
        pytest.param(
            "GroupNorm 0=2 1=8 2=1e-5 3=0",
            marks=pytest.mark.since_ncnn("1.0.20261020", "before that Vulkan agrees with the CPU"),
        ),
    ],
)
def test_a_norm_that_loses_its_mean_in_its_sums_is_the_references_fault(
    norm: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    """On a flat picture the CPU's mean is off by some units, which a norm magnifies."""
    kind, *params = norm.split()
    net = Network()
    x = net.layer("Input", "in0", params="0=128 1=128 2=8")
    x = net.layer(kind, "norm", [x], params=" ".join(params))
    net.layer("Sigmoid", "level", [x], ["out0"])
    net.write(pytester.path / "net")
    np.save(pytester.path / "in0.npy", np.full((8, 128, 128), 292.32935, np.float32))
    networks.spec(pytester.path, "inputs:\n  flat: {in0: {file: in0.npy}}\ncompare: [cpu-vs-vulkan]\n")
    run = gate()
    red = {run.cases[n]["layer"] or "output": run.cases[n] for n in run.ids("failed")}
    assert {name: case["cause"] for name, case in red.items()} == {
        "norm": "reference",
        "output": "reference",
    }
    assert "the CPU's kernel rounds after each of many summands" in red["norm"]["message"]
    assert "norm (" in red["output"]["message"]
    assert not any(fix["masks"] for fix in run.fixes.values())
    alone = gate("-k", "output")
    assert {alone.cases[n]["cause"] for n in alone.ids("failed")} == {"reference"}
    assert "norm (" in alone.output


@pytest.mark.once
def test_a_norm_that_only_the_cpu_computes_is_at_fault_where_it_is_wrong_on_both_sides(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Of one number it leaves rounding, divided by its epsilon: in fp16 it reads the next number."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64 1=64 2=8")
    x = net.layer("ReLU", "stored", [x])
    x = net.layer("MVN", "norm", [x], params="0=1 1=0 2=1e-9")
    net.layer("Sigmoid", "level", [x], ["out0"])
    net.write(pytester.path / "net")
    np.save(pytester.path / "in0.npy", np.linspace(0.1, 3.0, 8).repeat(64 * 64).reshape(8, 64, 64))
    inputs = "inputs:\n  flat: {in0: {file: in0.npy}}\n"
    networks.spec(pytester.path, f"{inputs}compare: [fp16-vs-fp32-vulkan]\n")
    run = gate()
    (name,) = run.ids("failed")
    assert run.cases[name]["cause"] == "reference"
    assert "depends on norm (MVN)" in run.cases[name]["message"]
    assert not any(fix["masks"] for fix in run.fixes.values())


def test_a_norm_that_overflows_on_both_sides_is_not_the_references_fault(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Masked with 16 it runs on the CPU on both sides; what reads it in fp16 reads inf."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=8")
    gamma, beta = np.full(8, 1e5), np.zeros(8)
    x = net.layer(
        "InstanceNorm", "norm", [x], params="0=8 1=1e-5 31=16", weights=[gamma, beta], flagged=False
    )
    net.layer("Sigmoid", "level", [x], ["out0"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, f"{networks.NOISE}compare: [shipped]\n")
    run = gate("--ncnn-parity-fix=off")
    causes = {run.cases[n]["layer"]: run.cases[n]["cause"] for n in run.ids("failed")}
    assert causes.get("norm", "storage-overflow") == "storage-overflow"
    assert "reference" not in causes.values()


def test_a_tolerance_below_the_rounding_of_fp32_blames_neither_device_nor_reference(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.convolution(pytester.path)
    strict = "tolerance: {fp32: {scaled: 1e-9}}\ncompare: [cpu-vs-vulkan]\n"
    networks.spec(pytester.path, networks.NOISE + strict)
    run = gate()
    assert run.ids("failed") == [
        f"noise::cpu-vs-vulkan::{name}" for name in ("c1", "c2", "c3", "output:c3")
    ]
    assert {run.cases[name]["cause"] for name in run.ids("failed")} == {"precision"}
    assert "rounding in fp32 explains it" in run.cases["noise::cpu-vs-vulkan::c1"]["message"]


@pytest.mark.parametrize("first", ["zero", "large"])
def test_what_is_wrong_with_a_kernel_on_one_sample_says_nothing_of_another(
    gate: Gate, pytester: pytest.Pytester, first: str
) -> None:
    """ncnn's pow on x86 is 2.4e38 where its base is 0, and right on other values."""
    net = Network()
    a, b = net.split(net.layer("Input", "in0", params="0=64"), 2)
    net.layer("UnaryOp", "exp", [a], ["out0"], "0=7")
    net.layer("BinaryOp", "square", [b], ["out1"], "0=6 1=1 2=2.0")
    net.write(pytester.path / "net")
    values = {"zero": np.linspace(0.5, 1.0, 64), "large": np.linspace(4.0, 16.0, 64)}
    values["zero"][3] = 0.0
    for name, array in values.items():
        np.save(pytester.path / f"{name}.npy", array.astype(np.float32))
    samples = sorted(values, key=lambda name: name != first)
    inputs = "".join(f"  {name}: {{in0: {{file: {name}.npy}}}}\n" for name in samples)
    networks.spec(pytester.path, f"inputs:\n{inputs}compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\n")
    run = gate()
    causes = {
        run.cases[name]["nodeid"].split("::", 1)[1]: run.cases[name]["cause"]
        for name in run.ids("failed")
    }
    assert {name: cause for name, cause in causes.items() if "::output:" not in name} == {
        "zero::cpu-vs-vulkan::square": "reference",
        "zero::fp16-vs-fp32-vulkan::square": "reference",
        "large::fp16-vs-fp32-vulkan::exp": "storage-overflow",
    }
    fixes = [fix for fix in run.fixes.values() if fix["masks"]]
    assert [list(fix["masks"]) for fix in fixes] == [["exp"]]
    assert fixes[0]["verified"]
