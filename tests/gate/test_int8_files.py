"""A candidate in int8 whose files say something else than those in floats, however little it costs."""

from __future__ import annotations

from pathlib import Path

import calibrated
import numpy as np
import pytest
from calibrated import Model, Wrong
from conftest import Gate

SPEC = """\
model: {{param: {0}.param, bin: {0}.bin}}
inputs: {{noise: {{in0: {{file: noise.npy}}}}}}
compare:
  - name: int8
    candidate: {{device: cpu, model: {{param: {0}-int8.param, bin: {0}-int8.bin}}}}
"""
WIDTH, SIDE = 16, 8


def write_scaled(folder: Path, name: str, wrong: Wrong | None = None) -> None:
    """A Convolution times a MemoryData plus another, as pnnx has it; in int8 both are folded."""
    random = np.random.RandomState(3)
    weights, bias = random.normal(0, 0.2, (WIDTH, 8, 1, 1)), random.normal(0, 0.2, WIDTH)
    gains, shifts = np.exp(random.normal(0, 0.3, WIDTH)), random.normal(0, 0.2, WIDTH)
    last, none = random.normal(0, 0.2, (4, WIDTH, 1, 1)).astype(np.float32), np.zeros(4, np.float32)
    inputs = [np.random.RandomState(seed).normal(0, 1, (8, SIDE, SIDE)) for seed in range(3)]
    net, of_input = calibrated.Counting(), f"0={SIDE} 1={SIDE} 2=8"
    words = f"0={WIDTH} 1=1 5=1 6={weights.size}"
    x = net.layer("Input", "in0", params=of_input)
    x = net.layer("Convolution", "c", [x], params=words, weights=[weights, bias])
    for operator, values, operation in (("mul", gains, 2), ("add", shifts, 0)):
        held = f"{operator}_by"
        net.layer("MemoryData", held, params=f"0=1 1=1 2={WIDTH}", weights=[values], flagged=False)
        x = net.layer("BinaryOp", operator, [x, held], params=f"0={operation}")
    x = net.layer("ReLU", "relu", [x])
    of_last = f"0=4 1=1 5=1 6={last.size}"
    net.layer("Convolution", "last", [x], ["out0"], of_last, [last, none])
    net.write(folder / name)
    model = Model()
    model.add("Input", "in0", params=of_input)
    folded = (weights * gains.reshape(-1, 1, 1, 1)).astype(np.float32)
    offset = (bias * gains + shifts).astype(np.float32)
    model.add("Convolution", "c", ["in0"], f"{words} 9=1", folded, offset, ["relu"])
    model.add("Convolution", "last", ["relu"], of_last, last, none, ["out0"])
    faults = {} if wrong is None else {"c": wrong}
    model.write_int8(folder / f"{name}-int8", model.calibrated(inputs), faults)
    np.save(folder / "noise.npy", inputs[0].astype(np.float32))
    (folder / f"{name}.parity.yaml").write_text(SPEC.format(name), "utf-8")


def test_factors_and_offsets_of_layers_with_constants_are_known(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    write_scaled(pytester.path, "healthy")
    write_scaled(pytester.path, "factor", Wrong(("channel",), 2.0))
    write_scaled(pytester.path, "dead", Wrong(("channel",), 1e9))
    write_scaled(pytester.path, "offset", Wrong(("bias",), 1.0))
    run = gate("--ncnn-parity-fix=off")
    headlines = {
        model["spec"].partition(".")[0]: [
            (case["layer"], case["headline"].rpartition("; ")[2])
            for case in model["cases"]
            if case["layer"] and case["outcome"] == "failed"
        ]
        for model in run.report["models"]
    }
    weights = ("relu", "its weights are not those in floats")
    assert headlines == {
        "healthy": [],
        "factor": [weights],
        "dead": [weights],
        "offset": [("relu", "its biases are not those in floats")],
    }
