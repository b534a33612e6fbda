"""What language models are fed with: words, and attention masks of -inf."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network


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
