"""A fault beside what another model has otherwise is blamed on its own layer alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

SPEC = """\
model: {{param: {0}.param, bin: {0}.bin}}
inputs: {{noise: {{in0: {{random: normal}}}}}}
compare: [{{name: other, candidate: {{device: cpu, model: {{param: {1}.param, bin: {1}.bin}}}}}}]
"""


def compare(folder: Path, name: str, here: Network, there: Network) -> None:
    here.write(folder / name)
    there.write(folder / f"{name}-other")
    (folder / f"{name}.parity.yaml").write_text(SPEC.format(name, f"{name}-other"), "utf-8")


def joined(swapped: bool = False, permuted: bool = False, wrong: str = "") -> Network:
    """Two branches in a Concat, which may be `swapped`, and what reads it, with weights `permuted`.

    The first row of the weights of the layer `wrong` is another one.
    """
    rng, net = np.random.RandomState(0), Network()

    def convolution(name: str, blob: str, shape: tuple[int, ...], words: str, last: bool = False) -> str:
        weights = rng.normal(0, 0.2, shape)
        weights[0] *= 1.5 if name == wrong else 1.0
        if permuted and name == "reader":
            weights = np.concatenate([weights[:, 4:], weights[:, :4]], 1)
        params = f"0={shape[0]} {words} 6={weights.size}"
        return net.layer("Convolution", name, [blob], ["out0"] if last else None, params, [weights])

    x = net.layer("Input", "in0", params="0=8 1=8 2=4")
    x, y = net.split(convolution("first", x, (4, 4, 3, 3), "1=3 4=1"), 2)
    branches = [convolution(name, b, (4, 4, 3, 3), "1=3 4=1") for name, b in (("left", x), ("right", y))]
    x = net.layer("Concat", "join", branches[::-1] if swapped else branches, params="0=0")
    x = convolution("reader", x, (8, 8, 1, 1), "1=1")
    convolution("last", x, (4, 8, 1, 1), "1=1", last=True)
    return net


def head(product: str, wrong: str = "") -> Network:
    """A global pooling, and scores of it as a `product` wants it, a Gemm or a Convolution of a point."""
    rng, net = np.random.RandomState(0), Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=4")
    for name, shape in (("first", (8, 4, 3, 3)), ("scores", (5, 8)), ("more", (3, 5))):
        weights = rng.normal(0, 0.3, shape)
        weights[0] *= 1.5 if name == wrong else 1.0
        if name == "first":
            x = net.layer("Convolution", name, [x], params="0=8 1=3 6=288", weights=[weights])
            x = net.layer("Pooling", "pool", [x], params="0=1 4=1")
            shaped = "0=8 1=1" if product == "Gemm" else "0=1 1=1 2=8"
            x = net.layer("Reshape", "shaped", [x], params=shaped)
        elif product == "Gemm":
            x = net.layer(
                "Gemm", name, [x], params=f"3=1 5=1 8={shape[0]} 9={shape[1]}", weights=[weights]
            )
        else:
            words = f"0={shape[0]} 1=1 6={weights.size}"
            x = net.layer("Convolution", name, [x], params=words, weights=[weights])
    net.layer("Reshape", "flat", [x], ["out0"], "0=-1")
    return net


def test_the_layer_of_a_fault_is_red_and_no_other(gate: Gate, pytester: pytest.Pytester) -> None:
    folder = pytester.path
    both = {"swapped": True, "permuted": True}
    for name in ("", "first", "left", "reader"):
        compare(folder, f"joined-{name}", joined(), joined(**both, wrong=name))
    compare(folder, "joined-order", joined(), joined(swapped=True))
    for name in ("", "first", "more"):
        compare(folder, f"head-{name}", head("Convolution"), head("Gemm", name))
    run = gate("--ncnn-parity-fix=off")
    found = {
        model["spec"].partition(".")[0]: [
            case["layer"] for case in model["cases"] if case["layer"] and case["outcome"] == "failed"
        ]
        for model in run.report["models"]
    }
    assert found == {
        "joined-": [],
        "joined-first": ["first"],
        "joined-left": ["left"],
        "joined-reader": ["reader"],
        "joined-order": ["join"],
        "head-": [],
        "head-first": ["first"],
        "head-more": ["more"],
    }
