"""Existing masks: unsafe ones show in the file alone, redundant ones by running without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

NEEDED = "sum_15: 18, eps_15: 18, rsqrt_15: 18"


def masked(path: Path, masks: str) -> None:
    with path.open("a") as file:
        file.write(f"masks: {{{masks}}}\n")


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent.json")
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent.json")


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "a Reduction runs on the CPU, so its mask is redundant")
def test_redundant_masks_are_reported_and_needed_ones_are_not(
    gate: Gate, example: Callable[..., Path]
) -> None:
    masked(example("style_decoder", without=("other",)), f"{NEEDED}, sum_3: 18, eps_14: 1")
    run = gate()
    assert run.ids("failed") == []
    notices = {notice["layer"]: notice for notice in run.report["models"][0]["masks"]}
    assert {name: notice["kind"] for name, notice in notices.items()} == {
        "sum_3": "redundant",
        "eps_14": "redundant",
    }
    assert (notices["sum_3"]["mask"], notices["eps_14"]["mask"]) == (18, 1)
    assert "redundant mask: 31=18 on sum_3: every comparison that ran stays right" in run.output


def test_masks_in_the_file_are_judged_as_well(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=18")
    networks.spec(pytester.path, networks.NOISE)
    notices = gate().report["models"][0]["masks"]
    assert [(n["layer"], n["mask"], n["kind"]) for n in notices] == [("c2", 18, "redundant")]


@pytest.mark.once
def test_bits_that_no_fix_consists_of_are_left_alone(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=160")
    networks.spec(pytester.path, networks.NOISE)
    assert gate().report["models"][0]["masks"] == []


@pytest.mark.once
def test_a_mask_is_redundant_without_all_that_a_fix_may_have_put_there(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.convolution(pytester.path, "31=96")
    networks.spec(pytester.path, networks.NOISE)
    (notice,) = gate().report["models"][0]["masks"]
    assert (notice["layer"], notice["mask"], notice["kind"]) == ("c2", 96, "redundant")
    assert notice["what"] == "every comparison that ran stays right with 31=32 in its place"


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "its winograd is another")
def test_a_mask_of_which_a_part_alone_is_needed_is_not_called_redundant(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Without 31=65 winograd overflows in fp16; without fp16 arithmetic, 31=64 would do."""
    networks.winograd(pytester.path)
    inputs = "inputs: {noise: {in0: {random: normal, std: 8000}}}\n"
    networks.spec(pytester.path, f"{inputs}compare: [fp16-vs-fp32-vulkan]\nmasks: {{conv: 65}}\n")
    run = gate()
    assert (run.ids("failed"), run.report["models"][0]["masks"]) == ([], [])
    networks.spec(pytester.path, f"{inputs}compare: [fp16-vs-fp32-vulkan]\n")
    assert gate("--ncnn-parity-fix=off").ids("failed") != []


@pytest.mark.once
def test_nothing_is_called_redundant_where_something_is_red(
    gate: Gate, example: Callable[..., Path]
) -> None:
    masked(example("style_decoder", without=("other",)), "sum_3: 18")
    run = gate("--ncnn-parity-fix=suggest", "-k", "fp16-vs-fp32-vulkan and sum_15")
    assert run.ids("failed") != []
    assert run.report["models"][0]["masks"] == []


@pytest.mark.usefixtures("no_driver")
def test_an_unsafe_mask_is_reported_without_a_device(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=3")
    networks.spec(pytester.path, networks.NOISE)
    run = gate()
    (notice,) = run.report["models"][0]["masks"]
    assert (notice["layer"], notice["mask"], notice["kind"]) == ("c2", 3, "unsafe")
    assert (
        "unsafe mask: 31=3 on c2: takes fp16 storage from a layer that may stay on Vulkan" in run.output
    )
    assert "Write 31=19" in run.output


def masked_in_both_formats(folder: Path, mask: str) -> None:
    """A network with a mask, which is compared in fp16 and in bf16 on Vulkan."""
    bf16 = "{name: bf16, reference: {device: cpu}, candidate: {device: vulkan, precision: bf16}}"
    networks.convolution(folder, mask)
    networks.spec(folder, networks.NOISE + f"compare: [fp16-vs-fp32-vulkan, {bf16}]\n")


@pytest.mark.since_ncnn("1.0.20260526", "there is no bf16 on Vulkan")
def test_a_mask_on_bf16_storage_is_as_unsafe_there_as_one_on_fp16(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    masked_in_both_formats(pytester.path, "31=4")
    run = gate("--ncnn-parity-fix=off")
    (notice,) = run.report["models"][0]["masks"]
    assert notice["what"].startswith("takes bf16 storage from a layer that may stay on Vulkan")
    assert run.cases["noise::bf16::c2"]["cause"] == "unsafe-mask"
    assert run.ids("failed", "fp16-vs-fp32-vulkan") == []


@pytest.mark.usefixtures("no_driver")
def test_a_mask_that_is_unsafe_in_both_formats_gets_one_notice(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    masked_in_both_formats(pytester.path, "31=6")
    (notice,) = gate().report["models"][0]["masks"]
    assert "takes bf16 and fp16 storage" in notice["what"]
    assert "Write 31=22" in notice["what"]


@pytest.mark.usefixtures("no_driver")
def test_without_a_device_no_mask_is_called_redundant(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=18")
    networks.spec(pytester.path, networks.NOISE)
    assert gate().report["models"][0]["masks"] == []


@pytest.mark.usefixtures("no_driver")
def test_a_spec_for_the_cpu_alone_may_mask_storage(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=2")
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-vs-fp32-cpu, fp16-range]\n")
    assert gate().report["models"][0]["masks"] == []


def test_with_the_search_off_nothing_is_run_for_the_masks(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=18")
    networks.spec(pytester.path, networks.NOISE)
    assert gate("--ncnn-parity-fix=off").report["models"][0]["masks"] == []


def test_a_mask_that_names_no_layer_any_more_is_an_error_with_the_nearest(
    gate: Gate, example: Callable[..., Path]
) -> None:
    masked(example("style_decoder", without=("other",)), "sum_16: 18")
    run = gate()
    assert run.result.ret == pytest.ExitCode.INTERRUPTED
    assert "masks: no layer 'sum_16' in style_decoder.param" in run.output
    assert "did you mean 'sum_" in run.output


@pytest.mark.since_ncnn("1.0.20261020", "its convolutions have no bf16 on x86")
def test_a_mask_of_other_files_that_takes_16_bits_for_fp32_is_named_as_one_of_the_spec_is(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.convolution(pytester.path)
    networks.convolution(pytester.path, "31=4", "other")
    files = "model: {param: other.param, bin: other.bin}"
    other = f"{{name: other, candidate: {{device: cpu, precision: bf16, {files}}}}}"
    networks.spec(pytester.path, networks.NOISE + f"compare: [{other}]\n")
    run = gate("--ncnn-parity-fix=off")
    red = {name.rpartition("::")[2]: run.cases[name] for name in run.ids("failed")}
    assert red.keys() == {"c2", "output:c3"}
    assert {case["cause"] for case in red.values()} == {"unsafe-mask"}
    for case in red.values():
        assert "31=4 makes it read the 16-bit values of c1 as fp32" in case["headline"]


@pytest.mark.once
@pytest.mark.parametrize(("mask", "outcome"), [(16, "failed"), (18, "skipped")])
def test_weights_that_a_cpu_keeps_in_fp16_are_seen(
    gate: Gate, pytester: pytest.Pytester, mask: int, outcome: str
) -> None:
    """ncnn's InnerProduct does so, on x86 with F16C as well. Weights of 2e-8 are 0 there."""
    weights = np.full((4, 16), 2e-8)
    net = Network()
    x = net.layer("ReLU", "relu", [net.layer("Input", "in0", params="0=16")])
    x = net.layer("InnerProduct", "product", [x], params=f"0=4 2=64 31={mask}", weights=[weights])
    net.layer("ReLU", "last", [x], ["out0"])
    net.write(pytester.path / "net")
    networks.spec(
        pytester.path, "inputs: {s: {in0: {constant: 1.0e+4}}}\ncompare: [fp16-vs-fp32-vulkan]\n"
    )
    run = gate("--ncnn-parity-fix=suggest")
    case = run.cases["s::fp16-vs-fp32-vulkan::product"]
    assert case["outcome"] == outcome, case
    if outcome == "failed":
        (fix,) = run.fixes.values()
        assert (fix["verified"], fix["masks"]) == (True, {"product": 18})


def test_an_unsafe_mask_of_a_constant_is_why_an_output_is_wrong(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Taken out of the network, the MemoryData is right: its reader takes fp32 for fp16."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=4")
    k = net.layer("MemoryData", "k", params="0=1 1=1 2=4", weights=[np.arange(4)], flagged=False)
    net.layer("BinaryOp", "sum", [x, k], ["out0"], "0=0")
    net.write(pytester.path / "net")
    compare = "compare: [fp16-vs-fp32-vulkan]\nmasks: {k: 2}\n"
    networks.spec(pytester.path, networks.NOISE + compare)
    run = gate("--ncnn-parity-fix=off")
    assert {name: run.cases[name]["cause"] for name in run.ids("failed")} == {
        "noise::fp16-vs-fp32-vulkan::output:out0": "unsafe-mask"
    }
    assert "31=2 on k (MemoryData) upstream" in run.output
