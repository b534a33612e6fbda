"""Batches inside a network, as of the windows of an attention: each picture of them is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = [
    pytest.mark.once,
    pytest.mark.since_ncnn("1.0.20261020", "it has no batches inside a network"),
]

SHAPE = (16, 8, 16)  # of the input: 16 windows of 8 rows, which have 16 numbers each
PICTURE = 5  # of the batch, the one that is loud
SPEC = """\
model: {{param: {name}.param, bin: {name}.bin}}
inputs:
  {name}: {{in0: {{file: {name}.npy}}}}
compare: [cpu-vs-vulkan, fp16-vs-fp32, fp16-range]
"""


def windows(folder: Path, name: str, values: np.ndarray, body: Callable[[Network, str], str]) -> None:
    """`body` on a batch that a Reshape makes of the input and another one takes apart again."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=8 2=16")
    x = net.layer("ReLU", "first", [x], params="0=1.0")
    x = net.layer("Reshape", "windows", [x], params="0=16 1=8 2=16 12=0 13=0")
    x = net.layer("Reshape", "back", [body(net, x)], params="0=16 1=8 2=16 12=0")
    net.layer("ReLU", "last", [x], ["out0"])
    net.write(folder / name)
    np.save(folder / f"{name}.npy", values.astype(np.float32))
    (folder / f"{name}.parity.yaml").write_text(SPEC.format(name=name), "utf-8")


def squares(net: Network, x: str) -> str:
    x = net.layer("UnaryOp", "square", [x], params="0=4")
    return net.layer("BinaryOp", "scaled", [x], params="0=2 1=1 2=0.001")


def attention(net: Network, x: str) -> str:
    random = np.random.RandomState(1)
    x, *fed = net.split(x, 4)
    query, key, value = (
        net.layer(
            "InnerProduct",
            f"product{number}",
            [blob],
            params="0=16 1=1 2=256",
            weights=[random.normal(0, 0.25, (16, 16)), np.zeros(16)],
        )
        for number, blob in enumerate(fed)
    )
    scores = net.layer("MatMul", "scores", [query, key], params="0=1")
    scores = net.layer("Softmax", "softmax", [scores], params="0=1 1=1")
    x = net.layer("BinaryOp", "sum", [net.layer("MatMul", "mixed", [scores, value]), x], params="0=0")
    x = net.layer("LayerNorm", "norm", [x], params="0=16 1=1.0e-5 2=0")
    return net.layer("GELU", "gelu", [x])


def test_every_picture_is_judged(gate: Gate, pytester: pytest.Pytester) -> None:
    random = np.random.RandomState(0)
    loud, quiet = random.normal(size=SHAPE), random.normal(size=SHAPE)
    loud[PICTURE] *= 100
    quiet[3:9] = 0.0
    windows(pytester.path, "loud", loud, squares)
    windows(pytester.path, "quiet", quiet, attention)
    run = gate("--ncnn-parity-fix=off", "--ncnn-parity-repro=found")
    red = {case.removeprefix("loud::"): run.cases[case] for case in run.ids("failed")}
    assert {name: case["cause"] for name, case in red.items()} == {
        "fp16-vs-fp32-vulkan::square": "storage-overflow",
        "fp16-vs-fp32-vulkan::output:out0": "storage-overflow",
        "fp16-range::square": "storage-overflow",
    }
    layer = red["fp16-vs-fp32-vulkan::square"]
    assert f"square[{PICTURE}, " in layer["message"]
    assert layer["repro"] is None
    assert "windows is a batch, with which a layer alone is not fed" in layer["message"]
