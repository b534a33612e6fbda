"""A 0 that a kernel gives in place of a value that fp16 could hold is followed to its reader."""

from __future__ import annotations

from collections.abc import Sequence

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = [
    pytest.mark.once,
    pytest.mark.since_ncnn("1.0.20260526", "a Softplus has no kernel for Vulkan"),
]

FP16, RANGE = "fp16-vs-fp32-vulkan", "fp16-range"
LOG, ROOT, INVERSE = ("UnaryOp", "0=8"), ("UnaryOp", "0=5"), ("UnaryOp", "0=15")
FROM_1 = ("BinaryOp", "0=7 1=1 2=1.0")
# by name: the layers that read logits from -13 to 8, one after the other; whether fp16 breaks the last
ROWS: dict[str, tuple[Sequence[tuple[str, str]], bool]] = {
    "probability": ([("Sigmoid", ""), LOG], True),
    "copied": ([("Sigmoid", ""), ("Reshape", "0=8 1=8"), ROOT, INVERSE], True),
    "clipped": ([("Sigmoid", ""), ("Clip", "0=1e-4 1=1.0"), LOG], False),
    "rooted": ([("Sigmoid", ""), ROOT], False),
    "gated": ([("Swish", ""), INVERSE], True),
    "softplus": ([("Softplus", ""), LOG], True),
    "complement": ([("Sigmoid", ""), FROM_1, LOG], True),
    "complement_and_more": ([("Sigmoid", ""), FROM_1, ("BinaryOp", "0=0 1=1 2=0.001"), LOG], False),
    "complement_in_fp32": ([("Sigmoid", "31=18"), ("BinaryOp", f"{FROM_1[1]} 31=18"), LOG], False),
}
GUILTY = {"complement": "complement_1"}


def test_a_zero_that_a_kernel_makes_is_a_fault_where_a_reader_breaks(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net, values = Network(), {}
    for name, (layers, _) in ROWS.items():
        blob = net.layer("Input", name)
        for i, (kind, params) in enumerate(layers):
            blob = net.layer(kind, f"{name}_{i}", [blob], params=params)
        values[name] = np.linspace(-13.1, 8.0, 64)
    net.write(pytester.path / "net")
    networks.fed(pytester.path, f"compare: [{FP16}, {RANGE}]\n", **values)
    run = gate("--ncnn-parity-fix=off")
    guilty = {GUILTY.get(name, f"{name}_0") for name, (_, breaks) in ROWS.items() if breaks}
    for comparison in (FP16, RANGE):
        cases = {name.split("::")[2]: run.cases[name] for name in run.ids("failed", comparison)}
        layers = {name: case for name, case in cases.items() if case["layer"]}
        assert layers.keys() == guilty, comparison
        assert {case["cause"] for case in layers.values()} == {"underflow"}
    assert run.cases[f"s::{FP16}::output:complement_2"]["cause"] == "underflow"
    assert "must be in fp32 too" in run.cases[f"s::{RANGE}::complement_1"]["message"]


MEAN, LARGEST, WIDER = (
    ("Pooling", "0=1 1=2 2=2"),
    ("Pooling", "0=0 1=2 2=2"),
    ("Interp", "0=1 1=2.0 2=2.0"),
)
OF_ROWS = ("Reduction", "0=3 1=0 -23303=1,2 4=1 5=1")
AND_1 = ("BinaryOp", "0=0 1=1 2=1.0")


def test_what_a_mean_makes_of_such_zeros_is_judged_by_its_readers(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The largest value of the Swish is 2.7e-3, and 0 stands in place of up to 1.7e-4."""
    net, values = Network(), {}
    for kind, mean in (("mean", MEAN), ("largest", LARGEST), ("wider", WIDER), ("rows", OF_ROWS)):
        for name, last in ((f"{kind}_beside_more", AND_1), (f"{kind}_alone", INVERSE)):
            blob = net.layer("Input", name)
            for i, (operator, params) in enumerate([("Swish", ""), mean, last]):
                blob = net.layer(operator, f"{name}_{i}", [blob], params=params)
            values[name] = np.linspace(-13.1, -8.0, 64).reshape(1, 8, 8)
    net.write(pytester.path / "net")
    networks.fed(pytester.path, f"compare: [{FP16}, {RANGE}]\n", **values)
    run = gate("--ncnn-parity-fix=off")
    for comparison in (FP16, RANGE):
        layers = {name.split("::")[2] for name in run.ids("failed", comparison)}
        layers = {name for name in layers if not name.startswith("output:")}
        assert layers == {"mean_alone_0", "largest_alone_0", "wider_alone_0", "rows_alone_0"}, comparison
