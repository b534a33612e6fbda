"""What is written otherwise behind a fault: constants that take it back, ends, many pairs, and joins."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

SHAPE = "0=4 1=4 2=2"


def begun(wrong: bool) -> tuple[Network, str]:
    """A convolution, whose weights are `wrong`, and what makes numbers of either sign of it."""
    net = Network()
    x = net.layer("Input", "in0", params="0=4 1=4 2=3")
    return net, net.layer("Swish", "swish", [convolution(net, x, "conv", 1.3 if wrong else 1.0)])


def convolution(net: Network, blob: str, name: str, factor: float = 1.0, bias: float = 0.0) -> str:
    outputs = 4 if name == "numbers" else 3
    weights = factor * np.random.RandomState(len(name)).normal(0.0, 0.6, (outputs, 3))
    params = f"0={len(weights)} 1=1 5=1 6={weights.size}"
    biases = np.full(len(weights), bias)
    return net.layer("Convolution", name, [blob], params=params, weights=[weights, biases])


def boxes(path: Path, folded: bool, wrong: bool) -> None:
    """A detector's boxes; if `folded`, factors of the values are in its grid and its anchors."""
    net, x = begun(wrong)
    x = net.layer("Sigmoid", "sigmoid", [convolution(net, x, "numbers")])
    place = net.layer("Slice", "slice", [x], ["place", "size"], "-23300=2,2,2 1=0")
    constants = np.random.RandomState(0).uniform(3.0, 9.0, (2, 2, 4, 4))
    grid, anchors = (
        net.layer("MemoryData", name, params=SHAPE, weights=[values], flagged=False)
        for name, values in zip(
            ("grid", "anchors"), constants * [[[[8.0]]], [[[4.0]]]] if folded else constants, strict=True
        )
    )
    factor = 16.0 if folded else 2.0
    place = net.layer("BinaryOp", "factor", [place], params=f"0=2 1=1 2={factor}")
    place = net.layer("BinaryOp", "shifted", [place, grid], params="0=0")
    size = "size"
    if not folded:
        place = net.layer("BinaryOp", "stride", [place], params="0=2 1=1 2=8.0")
        size = net.layer("BinaryOp", "double", [size], params="0=2 1=1 2=2.0")
    size = net.layer("UnaryOp", "square", [size], params="0=4")
    size = net.layer("BinaryOp", "sized", [size, anchors], params="0=2")
    net.layer("Concat", "boxes", [place, size], ["out0"], "0=0")
    net.write(path)


def picture(path: Path, folded: bool, wrong: bool) -> None:
    """Values as in a picture; if `folded`, what makes these of numbers is in weights, and two ends."""
    net, x = begun(wrong)
    x = convolution(net, x, "last", *((255.0, 127.5) if folded else ()))
    if folded:
        x = net.layer("BinaryOp", "most", [x], params="0=5 1=1 2=255.0")
        net.layer("BinaryOp", "least", [x], ["out0"], "0=4 1=1 2=0.0")
    else:
        x = net.layer("BinaryOp", "times", [x], params="0=2 1=1 2=255.0")
        x = net.layer("BinaryOp", "plus", [x], params="0=0 1=1 2=127.5")
        net.layer("Clip", "clip", [x], ["out0"], "0=0.0 1=255.0")
    net.write(path)


PAIRS = 18


def in_another_order(path: Path, reordered: bool, wrong: bool) -> None:
    """Many pairs of convolutions; if `reordered`, the channels between the two of a pair are."""
    net, x = begun(wrong)
    rng = np.random.RandomState(0)
    order = [3, 1, 4, 0, 5, 2] if reordered else list(range(6))
    for number in range(PAIRS):
        into, back = rng.normal(0.0, 0.5, (6, 3)), rng.normal(0.0, 0.5, (3, 6))
        for name, weights in (("into", into[order]), ("back", back[:, order])):
            params = f"0={len(weights)} 1=1 6={weights.size}"
            x = net.layer("Convolution", f"{name}_{number}", [x], params=params, weights=[weights])
            x = net.layer("TanH", f"{name}_{number}_tanh", [x])
    net.layer("Sigmoid", "last", [x], ["out0"])
    net.write(path)


def heads(path: Path, rows_first: bool, wrong: bool) -> None:
    """Two heads whose places become rows, which are joined; if `rows_first`, after a Reshape."""
    net, x = begun(wrong)
    rows = []
    for name, blob in zip(("head", "other"), net.split(x, 2), strict=True):
        x = net.layer("TanH", f"{name}_tanh", [convolution(net, blob, name)])
        turned, shaped = ("0=1", "0=16 1=3") if rows_first else ("0=3", "0=3 1=16")
        layers = [("Permute", turned), ("Reshape", shaped)]
        for kind, params in layers[::-1] if rows_first else layers:
            x = net.layer(kind, f"{name}_{kind.lower()}", [x], params=params)
        rows.append(x)
    net.layer("Concat", "rows", rows, ["out0"], "0=0")
    net.write(path)


WRITTEN = (boxes, picture, in_another_order, heads)


def test_they_are_no_difference_and_none_behind_a_fault(gate: Gate, pytester: pytest.Pytester) -> None:
    """Of both models the other one may be folded; a wrong convolution is red alone, and its outputs."""
    for write in WRITTEN:
        for folded in (False, True):
            name = f"{write.__name__}{folded}"
            write(pytester.path / name, folded, wrong=False)
            files = []
            for wrong in (False, True):
                files.append(f"{name}_{'wrong' if wrong else 'right'}")
                write(pytester.path / files[-1], not folded, wrong)
            models = ((one, f"{{param: {one}.param, bin: {one}.bin}}") for one in files)
            compared = (
                f"{{name: {one}, candidate: {{device: cpu, model: {model}}}}}" for one, model in models
            )
            networks.spec(pytester.path, f"{networks.NOISE}compare: [{', '.join(compared)}]\n", name)
    run = gate("--ncnn-parity-fix=off")
    judged = [case for model in run.report["models"] for case in model["cases"]]
    failed = {(case["comparison"], case["layer"]) for case in judged if case["outcome"] == "failed"}
    names = [f"{write.__name__}{folded}_wrong" for write in WRITTEN for folded in (False, True)]
    assert failed == {(name, where) for name in names for where in ("conv", None)}


def test_values_that_an_output_joins_in_another_order_are_wrong(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    for name in ("net", "other"):
        net, x = begun(wrong=False)
        parts = [
            net.layer("TanH", f"{part}_tanh", [convolution(net, blob, part)])
            for part, blob in zip(("first", "second"), net.split(x, 2), strict=True)
        ]
        net.layer("Concat", "joined", parts if name == "net" else parts[::-1], ["out0"], "0=0")
        net.write(pytester.path / name)
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    assert gate("--ncnn-parity-fix=off").ids("failed") == [
        "noise::other::joined",
        "noise::other::output:out0",
    ]
