"""Sums that start from a large bias, whose unit swallows their terms in fp16, as in transformers."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import FP32_WEIGHTS, Network

pytestmark = pytest.mark.once

FP16 = "fp16-vs-fp32-vulkan"
ROWS, TERMS, WIDE, BIAS = 128, 512, 64, 4.28
LOST = 3, -0.25  # of the first channel: in how many rows its terms are lost, and their sum there
READ = ("with-others", "alone", "as-it-is")  # how that channel is read


def feed_forward(folder: Path, read: str) -> None:
    """The second product of a feed-forward network, and what reads it."""
    rows, lost = LOST
    rng = np.random.RandomState(0)
    values = np.full((ROWS, TERMS), 0.1, np.float32)
    values[:rows] = 1.0
    weights = rng.normal(0.0, 0.05, (TERMS, WIDE))
    weights[:, 0] = lost / TERMS
    head = rng.normal(0.0, 0.2, (WIDE, 8))
    bias = np.zeros(WIDE)
    bias[0] = BIAS
    net = Network()
    x = net.layer("Input", "in0", params=f"0={TERMS} 1={ROWS}")
    shape = f"7={ROWS} 8={WIDE} 9={TERMS}"
    held = [weights, FP32_WEIGHTS, bias]
    x = net.layer("Gemm", "ffn", [x], params=f"10=4 5=1 6=1 {shape}", weights=held)
    if read == "with-others":
        net.layer("Gemm", "head", [x], ["out0"], f"10=-1 5=1 6=1 7={ROWS} 8=8 9={WIDE}", [head])
    elif read == "as-it-is":
        net.layer("Reshape", "flat", [x], ["out0"], f"0={ROWS * WIDE}")
    else:
        x = net.layer("Crop", "channel", [x], params=f"3=1 4={ROWS}")
        net.layer("BinaryOp", "terms", [x], ["out0"], f"0=1 1=1 2={BIAS}")
    net.write(folder / read)
    np.save(folder / f"{read}.npy", values)
    text = f"inputs:\n  rows: {{in0: {{file: {read}.npy}}}}\ncompare: [cpu-vs-vulkan, {FP16}]\n"
    networks.spec(folder, text, read)


def test_a_few_sums_may_lose_slightly_more_if_no_output_is_wrong(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    for read in READ:
        feed_forward(pytester.path, read)
    run = gate("--ncnn-parity-fix=off")
    cases = [case for model in run.report["models"] for case in model["cases"]]
    red = [case["nodeid"].replace(".parity.yaml", "") for case in cases if case["outcome"] == "failed"]
    alone = [f"alone::rows::{FP16}::{name}" for name in ("ffn", "output:out0")]
    assert red == [*alone, f"as-it-is::rows::{FP16}::ffn"]
    assert [case["message"] for case in cases if "no output is wrong" in case["message"]] == [
        "3 of 8192 elements are out of tolerance, by up to 1.18 times, in fp16 arithmetic alone, and no "
        "output is wrong for it"
    ]
