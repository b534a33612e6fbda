"""Integers that a device hands on in 16 bits: red where they change, and fixed by one mask."""

from __future__ import annotations

import textwrap
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

ARGMAX = """\
    import ncnn
    import numpy as np


    class ArgMax(ncnn.Layer):
        '''Places of the largest three values, as ncnn's own: many builds of ncnn leave it out.'''

        def __init__(self):
            super().__init__()
            self.one_blob_only = True

        def forward(self, bottom, top, option):
            largest = np.argsort(-np.array(bottom))[:3].astype(np.float32)
            top.clone_from(ncnn.Mat(largest), option.blob_allocator)
            return 0


    def register(net):
        net.register_custom_layer("ArgMax", ArgMax, lambda layer: None)
"""


def embed(net: Network, name: str, words: str, count: int, output: str) -> None:
    table = np.random.RandomState(count).normal(0, 1, (count, 4))
    net.layer("Embed", name, [words], [output], f"0=4 1={count} 2=0 3={4 * count}", [table])


def two_readers(folder: Path, count: int, name: str) -> None:
    """Words of two inputs, side by side, for two Embeds; the second of them behind a Squeeze."""
    net = Network()
    first, second = net.layer("Input", "a"), net.layer("Input", "b")
    left, right = net.split(net.layer("Concat", "both", [first, second]), 2)
    embed(net, "tok", left, count, "out0")
    embed(net, "pos", net.layer("Squeeze", "squeezed", [right], params="0=1"), count, "out1")
    net.write(folder / name)


def drawn(blob: str, count: int, seed: int) -> str:
    return f"{blob}: {{random: integers, low: 0, high: {count - 1}, shape: [5], seed: {seed}}}"


def test_integers_that_stay_as_they_are_are_kept(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    words = net.layer("Squeeze", "squeezed", [net.layer("Input", "a")], params="0=1")
    embed(net, "tok", words, 3000, "out0")
    net.write(pytester.path / "net")
    inputs = f"inputs: {{s: {{{drawn('a', 50, 1)}}}}}\n"
    networks.spec(pytester.path, f"{inputs}compare: [fp16-range]\n")
    runs = [gate("--ncnn-parity-cache=cache") for _ in range(2)]
    assert len(runs[0].ids("skipped")) == 2
    assert [sum(case["cached"] is not None for case in run.cases.values()) for run in runs] == [0, 3]


BF16 = "{name: bf16, reference: {device: cpu}, candidate: {device: vulkan, precision: bf16}}"


def test_words_that_vulkan_stores_in_16_bits_are_red_where_it_does(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    two_readers(pytester.path, 3000, "net")
    np.save(pytester.path / "a.npy", np.array([2999, 3, 1024, 0]))
    np.save(pytester.path / "b.npy", np.array([7, 2048]))
    np.save(pytester.path / "both.npy", np.array([2999, 3, 1024, 0, 7, 2048]))
    sample = "{a: {file: a.npy}, b: {file: b.npy}, expect: {both: {file: both.npy}}}"
    networks.spec(pytester.path, f"inputs: {{s: {sample}}}\n")
    run = gate()
    assert run.cases["s::golden::output:both"]["outcome"] == "passed"
    outputs = {"output:out0", "output:out1"}
    red = {f"s::fp16-vs-fp32-vulkan::{name}" for name in {"both", "split_both"} | outputs}
    red |= {f"s::fp16-range::{name}" for name in ("both", "split_both")}
    assert set(run.ids("failed")) == red
    for case in (run.cases[name] for name in red):
        assert case["cause"] == "precision"
    copied = run.cases["s::fp16-vs-fp32-vulkan::split_both"]
    assert "tok (Embed)" in " ".join(copied["evidence"])
    assert not any("e+" in line for line in [copied["headline"], *copied["details"]])
    assert set(run.ids("passed")) >= {"s::cpu-vs-vulkan::both", "s::cpu-vs-vulkan::output:out0"}
    for comparison in ("fp16-vs-fp32-vulkan", "fp16-range"):
        fix = run.fixes[comparison]
        assert (fix["masks"], fix["verified"]) == ({"both": 16, "split_both": 16}, True)


def test_the_fix_is_the_same_where_what_copies_them_is_not_judged(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    two_readers(pytester.path, 3000, "net")
    sample = f"{drawn('a', 3000, 1)}, {drawn('b', 3000, 2)}"
    rest = 'compare: [fp16-vs-fp32-vulkan]\nlayers: {exclude: ["type:Split", "type:Concat"]}\n'
    networks.spec(pytester.path, f"inputs: {{s: {{{sample}}}}}\n{rest}")
    run = gate()
    assert run.ids("failed") == [f"s::fp16-vs-fp32-vulkan::output:out{i}" for i in range(2)]
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert (fix["masks"], fix["verified"]) == ({"both": 16, "split_both": 16}, True)


@pytest.mark.once
def test_words_that_are_a_constant_are_red_where_vulkan_stores_them_in_16_bits(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    bits = np.arange(5, dtype=np.int32).view(np.float32)
    places = net.layer("MemoryData", "places", params="0=5", weights=[bits], flagged=False)
    embed(net, "pos", places, 9, "embedded")
    x = net.layer("Input", "in0", params="0=4 1=5")
    net.layer("BinaryOp", "sum", ["embedded", x], ["out0"], "0=0")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, f"{networks.NOISE}compare: [fp16-vs-fp32-vulkan, fp16-range]\n")
    run = gate()
    for comparison in ("fp16-vs-fp32-vulkan", "fp16-range"):
        case = run.cases[f"noise::{comparison}::places"]
        assert (case["outcome"], case["cause"]) == ("failed", "precision")
        assert "holds integers, and MemoryData stores them in 16 bits: 4 becomes 0" in case["headline"]
        assert (run.fixes[comparison]["masks"], run.fixes[comparison]["verified"]) == (
            {"places": 16},
            True,
        )


@pytest.mark.since_ncnn("1.0.20260526", "there is no bf16 on Vulkan")
def test_words_of_more_than_16_bits_are_red_in_bf16(gate: Gate, pytester: pytest.Pytester) -> None:
    """A CPU's Split stores bf16 as well: there 16 alone is no fix."""
    net = Network()
    left, right = net.split(net.layer("Input", "ids"), 2)
    embed(net, "tok", left, 70000, "out0")
    embed(net, "pos", right, 70000, "out1")
    net.write(pytester.path / "net")
    np.save(pytester.path / "ids.npy", np.array([69999, 3, 65535, 0]))
    networks.spec(pytester.path, f"inputs: {{s: {{ids: {{file: ids.npy}}}}}}\ncompare: [{BF16}]\n")
    run = gate()
    split = run.cases["s::bf16::split_ids"]
    assert split["cause"] == "precision"
    assert "69999" in split["headline"] or "65535" in split["headline"]
    assert (run.fixes["bf16"]["masks"], run.fixes["bf16"]["verified"]) == ({"split_ids": 20}, True)


def test_words_that_stay_as_they_are_are_green(gate: Gate, pytester: pytest.Pytester) -> None:
    """Read straight from the input, copied on the CPU alone, masked already, or nothing but zeros."""
    net = Network()
    embed(net, "tok", net.layer("Input", "ids"), 3000, "words")
    weights = [np.random.RandomState(0).normal(0, 1, (3, 4))]
    net.layer("InnerProduct", "dense", ["words"], ["out0"], "0=3 1=0 2=12", weights)
    net.write(pytester.path / "plain")
    two_readers(pytester.path, 3000, "two")
    plain = "inputs: {s: {ids: {random: integers, low: 0, high: 2999, shape: [5]}}}\n"
    networks.spec(pytester.path, plain, "plain")
    masked = f"inputs: {{s: {{{drawn('a', 3000, 1)}, {drawn('b', 3000, 2)}}}}}\n"
    networks.spec(pytester.path, f"{masked}masks: {{both: 16, split_both: 16}}\n", "two")
    zeros = "{constant: 0, shape: [5]}"
    text = f"model: {{param: two.param, bin: two.bin}}\ninputs: {{s: {{a: {zeros}, b: {zeros}}}}}\n"
    (pytester.path / "zeros.parity.yaml").write_text(text, "utf-8")
    assert gate().ids("failed") == []


@pytest.mark.once
def test_places_are_red_from_where_fp16_skips_some(gate: Gate, pytester: pytest.Pytester) -> None:
    """fp16 has each integer up to 2048: 2999 becomes 3000 there, and 1999 stays what it is."""
    net = Network()
    net.layer("Input", "x")
    places = net.layer("ArgMax", "top", ["x"], params="0=0 1=3")
    left, right = net.split(places, 2)
    net.layer("Reshape", "row", [left], ["out0"], "0=1 1=3")
    net.layer("Reshape", "column", [right], ["out1"], "0=3 1=1")
    net.write(pytester.path / "net")
    (pytester.path / "ops.py").write_text(textwrap.dedent(ARGMAX), "utf-8")
    samples = ""
    for last in (1999, 2999):
        values = np.zeros(last + 1, np.float32)
        values[[last, last - 2, 7]] = 3, 2, 1
        np.save(pytester.path / f"v{last}.npy", values)
        samples += f"  up_to_{last}: {{x: {{file: v{last}.npy}}}}\n"
    networks.spec(pytester.path, f"setup: ops:register\ninputs:\n{samples}")
    run = gate()
    copies = {"split_top", "row", "column"}
    red = {
        f"up_to_2999::fp16-vs-fp32-vulkan::{name}" for name in copies | {"output:out0", "output:out1"}
    }
    red |= {f"up_to_2999::fp16-range::{name}" for name in copies}
    assert set(run.ids("failed")) == red
    split = run.cases["up_to_2999::fp16-vs-fp32-vulkan::split_top"]
    assert "2999 becomes 3000" in split["headline"]
    assert run.cases["up_to_2999::fp16-range::top"]["outcome"] == "skipped"
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert (fix["masks"], fix["verified"]) == (dict.fromkeys(copies, 16), True)


@pytest.mark.once
def test_whole_numbers_that_a_network_computes_are_noted_where_they_become_others(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The place of a peak as the sum of all places where it is: for ncnn a float like any other."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16384 1=3")
    places = np.arange(16384.0)
    places = net.layer("MemoryData", "places", params="0=16384 1=1", weights=[places], flagged=False)
    x = net.layer("BinaryOp", "at", [x, places], params="0=2")
    net.layer("Reduction", "place", [x], ["out0"], "0=0 1=0 -23303=1,1 4=0 5=1")
    net.write(pytester.path / "net")
    peaks = np.zeros((3, 16384), np.float32)
    peaks[range(3), [10369, 14387, 129]] = 1.0
    networks.fed(pytester.path, "compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\n", in0=peaks)
    run = gate()
    assert run.ids("failed") == []
    (model,) = run.report["models"]
    (note,) = (line for line in model["notes"] if "whole numbers" in line)
    assert "2 of 3 are others in fp16-vs-fp32-vulkan (sample s), off by up to 3: 16 bits" in note
