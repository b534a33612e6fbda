"""Fully connected layers of another model in other operators, whose rows have other shapes."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

OPERATORS = ("InnerProduct", "Gemm", "Convolution")


def scores(path: Path, operator: str, wrong: bool = False) -> None:
    """Two products behind a global pooling, with a ReLU between them, and a Softmax.

    `wrong`: the weights of an output of the first that the ReLU hides on all inputs that are not
    negative.
    """
    rng = np.random.RandomState(0)
    first, last = rng.normal(0.0, 0.3, (8, 16)), rng.normal(0.0, 0.3, (4, 8))
    first[3] = -np.abs(first[3]) * (1.3 if wrong else 1.0)
    net = Network()
    x = net.layer("Input", "in0", params="0=4 1=4 2=16")
    x = net.layer("AbsVal", "abs", [x])
    x = net.layer("Pooling", "pool", [x], params="0=1 4=1")
    if operator == "Gemm":
        x = net.layer("Reshape", "row", [x], params="0=16 1=1")
    for name, weights in (("first", first), ("last", last)):
        outputs, inputs = weights.shape
        params = {
            "InnerProduct": f"0={outputs} 2={weights.size}",
            "Gemm": f"2=0 3=1 4=0 5=1 6=1 7=0 8={outputs} 9={inputs} 10=-1",
            "Convolution": f"0={outputs} 1=1 6={weights.size}",
        }[operator]
        x = net.layer(operator, name, [x], params=params, weights=[weights])
        if name == "first":
            x = net.layer("ReLU", "relu", [x])
    x = net.layer("Softmax", "softmax", [x], params=f"0={int(operator == 'Gemm')} 1=1")
    net.layer("Reshape", "shaped", [x], ["out0"], "0=4")
    net.write(path)


def test_each_is_judged_by_itself_and_a_wrong_one_is_red_though_a_relu_hides_it(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    for operator in OPERATORS:
        scores(pytester.path / operator, operator)
        scores(pytester.path / f"Wrong{operator}", operator, wrong=True)
    for own in OPERATORS:
        files = [f"{wrong}{other}" for wrong in ("", "Wrong") for other in OPERATORS if other != own]
        compared = (
            f"{{name: {one}, candidate: {{device: cpu, model: {{param: {one}.param, bin: {one}.bin}}}}}}"
            for one in files
        )
        networks.spec(pytester.path, f"{networks.NOISE}compare: [{', '.join(compared)}]\n", own)
    run = gate("--ncnn-parity-fix=off")
    judged = [case for model in run.report["models"] for case in model["cases"]]
    failed = [(case["comparison"], case["layer"]) for case in judged if case["outcome"] == "failed"]
    wrong = [(f"Wrong{other}", "first") for own in OPERATORS for other in OPERATORS if other != own]
    assert sorted(failed) == sorted(wrong)
    passed = [case["layer"] or case["output"] for case in judged if case["outcome"] == "passed"]
    assert [passed.count(name) for name in ("first", "last", "softmax", "out0")] == [6, 12, 12, 12]
