"""Inner blobs that are fed, outputs that are chosen, and recordings of what lies between."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

INPUT = np.linspace(-2, 2, 16, dtype=np.float32)


def two_heads(folder: Path) -> None:
    """in0 -> doubled -> two copies: one is squared and halved, the other is shifted."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("BinaryOp", "double", [x], ["doubled"], "0=2 1=1 2=2.0")
    a, b = net.split(x, 2)
    a = net.layer("BinaryOp", "square", [a, a], ["squared"], "0=2")
    net.layer("BinaryOp", "halve", [a], ["score"], "0=2 1=1 2=0.5")
    net.layer("BinaryOp", "shift", [b], ["boxes"], "0=0 1=1 2=0.25")
    net.write(folder / "net")


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    two_heads(pytester.path)
    np.save(pytester.path / "in0.npy", INPUT)
    np.save(pytester.path / "doubled.npy", 2 * INPUT)
    np.save(pytester.path / "squared.npy", 4 * INPUT**2)
    np.save(pytester.path / "score.npy", 2 * INPUT**2)
    return pytester.path


def test_what_lies_before_a_blob_that_is_fed_is_not_run(gate: Gate, folder: Path) -> None:
    networks.spec(
        folder,
        "inputs:\n  s:\n    doubled: {file: doubled.npy}\n    expect: {score: {file: score.npy}}\n",
    )
    run = gate()
    assert run.ids("failed") == []
    names = {case.split("::")[2] for case in run.cases}
    assert names == {
        "double",
        "split_doubled",
        "square",
        "halve",
        "shift",
        "output:score",
        "output:boxes",
    }
    # of the layer whose output is fed the value is judged, as that of an input is
    assert "s::cpu-vs-vulkan::double" not in run.cases
    assert run.cases["s::fp16-range::double"]["outcome"] == "passed"
    assert {f"s::cpu-vs-vulkan::{name}" for name in ("square", "output:score")} <= set(run.ids("passed"))
    assert "s::golden::output:score" in run.ids("passed")


def test_each_sample_runs_what_lies_behind_its_own(gate: Gate, folder: Path) -> None:
    networks.spec(
        folder,
        "inputs:\n"
        "  whole: {in0: {file: in0.npy}}\n"
        "  tail: {squared: {file: squared.npy}}\n"
        "outputs: [score]\ncompare: [cpu-vs-vulkan]\n",
    )
    run = gate()
    assert sorted(run.ids("passed")) == [
        "tail::cpu-vs-vulkan::halve",
        "tail::cpu-vs-vulkan::output:score",
        "whole::cpu-vs-vulkan::double",
        "whole::cpu-vs-vulkan::halve",
        "whole::cpu-vs-vulkan::output:score",
        "whole::cpu-vs-vulkan::split_doubled",
        "whole::cpu-vs-vulkan::square",
    ]
    assert sorted(run.cases) == sorted(run.ids("passed"))


def test_an_inner_output_is_taken_out_of_a_run_of_the_whole(gate: Gate, folder: Path) -> None:
    """In lightmode ncnn drops what it has passed: inner blobs come first."""
    networks.spec(
        folder,
        "inputs:\n  s: {in0: {file: in0.npy}}\n"
        "outputs: [boxes, score, squared]\ncompare: [cpu-vs-vulkan]\n",
    )
    run = gate("-k", "output")
    assert [name.rpartition(":")[2] for name in run.ids("passed")] == ["squared", "score", "boxes"]


@pytest.mark.once
def test_the_first_recording_that_differs_is_named(gate: Gate, folder: Path) -> None:
    np.save(folder / "squared.npy", 4 * INPUT**2 + 1)
    np.save(folder / "score.npy", 2 * INPUT**2 + 0.5)
    names = ("doubled", "squared", "score")
    expect = ", ".join(f"{name}: {{file: {name}.npy}}" for name in reversed(names))
    networks.spec(folder, f"inputs:\n  s:\n    in0: {{file: in0.npy}}\n    expect: {{{expect}}}\n")
    run = gate("-k", "golden")
    assert run.ids("passed") == ["s::golden::output:doubled"]
    assert run.ids("failed") == ["s::golden::output:squared", "s::golden::output:score"]
    first, behind = (run.cases[f"s::golden::output:{name}"] for name in ("squared", "score"))
    assert (first["cause"], behind["cause"]) == ("conversion", "conversion")
    assert first["evidence"][0] == (
        "the first that differs: doubled before it is as recorded, so look between them"
    )
    assert behind["evidence"][0] == "squared is the first that differs from its recording: look there"


@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
def test_a_fault_behind_a_fed_blob_is_found_and_fixed(gate: Gate, pytester: pytest.Pytester) -> None:
    """The search, the proof and its timing run what the sample runs."""
    networks.two_branches(pytester.path)
    networks.spec(
        pytester.path,
        "inputs:\n  s: {in0_0: {constant: 100, shape: [16]}, in0_1: {constant: 1, shape: [16]}}\n"
        "compare: [fp16-vs-fp32-vulkan]\n",
    )
    run = gate()
    assert run.cases["s::fp16-vs-fp32-vulkan::big"]["cause"] == "storage-overflow"
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert fix["verified"]
    assert set(fix["masks"]) == {"big", "back"}


def test_a_value_that_is_fed_beyond_fp16_fails_where_it_is_fed(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.chain(pytester.path)
    networks.spec(
        pytester.path, "inputs:\n  s: {l2: {constant: 1e6, shape: [8]}}\ncompare: [fp16-range]\n"
    )
    run = gate("--ncnn-parity-fix=off")
    assert run.cases["s::fp16-range::l2"]["cause"] == "storage-overflow"
    assert "s::fp16-range::l1" not in run.cases


@pytest.mark.once
@pytest.mark.parametrize("how", [[], ["-n", "2"], ["--ncnn-parity-accumulated"]])
def test_reports_know_the_sample_as_it_runs(how: list[str], gate: Gate, folder: Path) -> None:
    networks.spec(
        folder,
        "inputs:\n  s: {doubled: {file: doubled.npy}}\noutputs: [score]\nlayers: {exclude: [square]}\n",
    )
    run = gate(*how)
    assert run.ids("failed") == []
    assert {case["output"] for case in run.cases.values()} == {None, "score"}
