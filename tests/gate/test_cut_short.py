"""What llvmpipe cannot compute, because it ends long loops, is not blamed on the network."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

FP32 = "cpu-vs-vulkan"
SHORT, LONG = 250, 260  # rows and columns, of which a mean takes 62,750 and 67,860 iterations


def test_a_layer_whose_loops_are_cut_short_is_not_judged_there(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Nor is an output behind it. The layers behind it are, and so is all that has shorter loops."""
    net = Network()
    for name, size in (("short", SHORT), ("long", LONG)):
        x = net.layer("Input", f"in_{name}", params=f"0={size} 1={size} 2=1")
        x = net.layer("Pooling", name, [x], params="0=1 7=1 8=1 18=1")
        net.layer("UnaryOp", f"root_{name}", [x], [f"out_{name}"], "0=5")
    net.write(pytester.path / "net")
    rng = np.random.RandomState(0)
    inputs = {f"in_{n}": rng.uniform(1, 2, (1, s, s)) for n, s in (("short", SHORT), ("long", LONG))}
    networks.fed(pytester.path, f"compare: [{FP32}]\n", **inputs)
    run = gate()
    assert run.ids("failed") == []
    skipped = [f"s::{FP32}::long", f"s::{FP32}::output:out_long"]
    assert run.ids("skipped") == skipped
    assert run.ids("passed") == [
        f"s::{FP32}::short",
        f"s::{FP32}::root_short",
        f"s::{FP32}::root_long",
        f"s::{FP32}::output:out_short",
    ]
    for case in skipped:
        message = run.cases[case]["message"]
        assert "llvmpipe ends the loops of a shader after 65,535 iterations" in message
        assert "long (Pooling) takes 67,860: use a GPU, or a smaller input" in message
