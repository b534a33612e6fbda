"""What language models are fed with: words, and attention masks of -inf."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once


def attention(folder: Path) -> None:
    """Two heads of 12 steps; the mask is added to their scores."""
    net = Network()
    query, key, value = (net.layer("Input", name) for name in ("q", "k", "v"))
    scores = net.layer("MatMul", "qk", [query, key], params="0=1")
    scaled = net.layer("BinaryOp", "scaled", [scores], params="0=2 1=1 2=0.25")
    masked = net.layer("BinaryOp", "masked", [scaled, net.layer("Input", "mask")], params="0=0")
    weights = net.layer("Softmax", "prob", [masked], params="0=2 1=1")
    net.layer("MatMul", "out0", [weights, value])
    net.write(folder / "net")


def test_a_mask_of_minus_infinity_is_fed_and_green(gate: Gate, pytester: pytest.Pytester) -> None:
    attention(pytester.path)
    future = np.triu(np.ones((1, 12, 12), bool), 1)
    np.save(pytester.path / "mask.npy", np.where(future, -np.inf, 0).astype(np.float32))
    drawn = ", ".join(
        f"{blob}: {{random: normal, shape: [2, 12, 16], seed: {seed}}}"
        for seed, blob in enumerate("qkv")
    )
    networks.spec(pytester.path, f"inputs:\n  prompt: {{{drawn}, mask: {{file: mask.npy}}}}\n")
    run = gate()
    assert run.ids("failed") == []
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan"):
        assert f"prompt::{comparison}::output:out0" in run.ids("passed")
    assert {"prompt::fp16-range::mask", "prompt::fp16-vs-fp32-vulkan::prob"} <= set(run.ids("passed"))


def test_words_are_fed_as_integers(gate: Gate, pytester: pytest.Pytester) -> None:
    """Each row of the table holds its own number, so that the output says which words were read."""
    net = Network()
    table = np.repeat(np.arange(50.0), 4).reshape(50, 4)
    words = net.layer("Input", "ids")
    net.layer("Embed", "tok", [words], ["out0"], "0=4 1=50 2=0 3=200", [table])
    net.write(pytester.path / "net")
    drawn = np.random.RandomState(0).randint(0, 50, 6, np.int64)
    np.save(pytester.path / "out0.npy", table[drawn].astype(np.float32))
    networks.spec(
        pytester.path,
        "inputs:\n  s:\n    ids: {random: integers, low: 0, high: 49, shape: [6]}\n"
        "    expect: {out0: {file: out0.npy}}\n",
    )
    assert "s::golden::output:out0" in gate().ids("passed")


TABLE = np.random.RandomState(0).normal(0, 1, (100, 8))
ALL = "compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan, fp16-range]\n"


def embed(net: Network, name: str, words: str, output: str) -> None:
    net.layer("Embed", name, [words], [output], "0=8 1=100 2=0 3=800", [TABLE])


@pytest.mark.parametrize(
    ("operator", "params"),
    [("BinaryOp", "0=2 1=1 2=1.0"), ("Clip", "0=0.0 1=99.0"), ("UnaryOp", "0=0")],
)
def test_words_that_come_as_floats_are_named_where_they_are_read(
    gate: Gate, pytester: pytest.Pytester, operator: str, params: str
) -> None:
    """An Embed takes each of them for its last word, on every device alike."""
    net = Network()
    x = net.layer("BinaryOp", "scale", [net.layer("Input", "x", params="0=7")], params="0=2 1=1 2=50.0")
    embed(net, "tok", net.layer(operator, "limit", [x], params=params), "rows")
    net.layer("ReLU", "last", ["rows"], ["out0"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, f"inputs: {{s: {{x: {{random: uniform, low: 0.5}}}}}}\n{ALL}")
    run = gate()
    assert run.ids("failed")[0] == "s::cpu-vs-vulkan::tok"
    tok = run.cases["s::cpu-vs-vulkan::tok"]
    assert tok["cause"] == "shape"
    assert "gets 7 of 7 words as floats, the first of them " in tok["headline"]
    assert "takes the last of its 100 words" in tok["headline"]
    assert "feed integers" in tok["message"]
    assert run.cases["s::cpu-vs-vulkan::last"]["outcome"] == "skipped"


def test_positions_that_a_network_holds_as_floats_are_named(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    embed(net, "tok", net.layer("Input", "ids"), "words")
    after_the_tag = [np.arange(1.0, 5.0)]  # a MemoryData reads the tag, 0, as its first element
    embed(net, "at", net.layer("MemoryData", "pos", params="0=5", weights=after_the_tag), "places")
    net.layer("BinaryOp", "sum", ["words", "places"], ["out0"], "0=0")
    net.write(pytester.path / "net")
    networks.spec(
        pytester.path, f"inputs: {{s: {{ids: {{random: integers, high: 99, shape: [5]}}}}}}\n{ALL}"
    )
    run = gate()
    at = run.cases["s::cpu-vs-vulkan::at"]["headline"]
    assert "gets 4 of 5 words as floats, the first of them 1:" in at
    assert run.cases["s::cpu-vs-vulkan::tok"]["outcome"] != "failed"


@pytest.mark.parametrize(("operator", "params"), [("Clip", "0=0.0 1=99.0"), ("ReLU", "")])
def test_words_that_are_limited_on_the_way_stay_integers(
    gate: Gate, pytester: pytest.Pytester, operator: str, params: str
) -> None:
    net = Network()
    embed(net, "tok", net.layer(operator, "limit", [net.layer("Input", "ids")], params=params), "out0")
    net.write(pytester.path / "net")
    words = np.array([3, 99, 0, 42, 7])
    np.save(pytester.path / "ids.npy", words)
    np.save(pytester.path / "out0.npy", TABLE[words].astype(np.float32))
    networks.spec(
        pytester.path,
        f"inputs: {{s: {{ids: {{file: ids.npy}}, expect: {{out0: {{file: out0.npy}}}}}}}}\n{ALL}",
    )
    run = gate()
    assert {"s::golden::output:out0", "s::cpu-vs-vulkan::output:out0"} <= set(run.ids("passed"))
    limit = run.cases["s::fp16-vs-fp32-vulkan::limit"]
    assert (limit["outcome"], limit["cause"]) == ("failed", "precision")
    assert "holds integers" in limit["headline"]
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert (fix["masks"], fix["verified"]) == ({"limit": 16}, True)


def test_words_that_a_table_does_not_have_are_named(gate: Gate, pytester: pytest.Pytester) -> None:
    """ncnn takes the first word for a -1, which ONNX takes for the last one, and the last for a 100."""
    net = Network()
    embed(net, "tok", net.layer("Input", "ids"), "out0")
    net.write(pytester.path / "net")
    np.save(pytester.path / "ids.npy", np.array([-1, 5, 100, -100, 2**31 - 1]))
    networks.spec(pytester.path, f"inputs: {{s: {{ids: {{file: ids.npy}}}}}}\n{ALL}")
    tok = gate().cases["s::cpu-vs-vulkan::tok"]
    assert tok["cause"] == "shape"
    assert "gets 4 of 5 words beyond its table, which has 0 to 99" in tok["headline"]


@pytest.mark.since_ncnn("1.0.20260526", "there is no bf16 on Vulkan")
@pytest.mark.parametrize("held", ["Input", "MemoryData"])
def test_the_lowest_float_in_bf16_is_judged_by_its_readers(
    gate: Gate, pytester: pytest.Pytester, held: str
) -> None:
    """It is -inf in bf16. A Softmax makes 0 of both; a sum with the highest float makes nan of one."""
    lowest = np.where(np.triu(np.ones((1, 12, 12), bool), 1), np.finfo(np.float32).min, 0.0)
    for name, reader in (("kept", "Softmax"), ("lost", "BinaryOp")):
        net = Network()
        scores = net.layer("Input", "x")
        if held == "Input":
            mask = net.layer("Input", "mask")
        else:
            size = "0=12 1=12 2=1"
            mask = net.layer("MemoryData", "mask", params=size, weights=[lowest], flagged=False)
        masked = net.layer("BinaryOp", "masked", [scores, mask], params="0=0")
        params = "0=2 1=1" if reader == "Softmax" else f"0=0 1=1 2={np.finfo(np.float32).max:.9g}"
        net.layer(reader, "reader", [masked], ["out0"], params)
        net.write(pytester.path / name)
        np.save(pytester.path / "mask.npy", lowest.astype(np.float32))
        fed = ", mask: {file: mask.npy}" if held == "Input" else ""
        networks.spec(
            pytester.path,
            f"inputs: {{s: {{x: {{random: normal, shape: [1, 12, 12]}}{fed}}}}}\n"
            "compare: [{name: bf16, candidate: {device: vulkan, precision: bf16}}]\n",
            name,
        )
    assert gate("kept.parity.yaml").ids("failed") == []
    assert "s::bf16::mask" in gate("lost.parity.yaml").ids("failed")
