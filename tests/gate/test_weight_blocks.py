"""Gemm and attention with weights in blocks of a few bits, compared with those in floats."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
import weight_blocks
from conftest import Gate
from weight_blocks import FAULTS, METHODS, OUTPUTS, Blocks, Written

pytestmark = pytest.mark.since_ncnn("1.0.20261020", "ncnn has no weights in blocks")

BLOCKS = "{name: blocks, candidate: {device: cpu, model: {param: blocks.param, bin: blocks.bin}}}"
INPUTS = "inputs: {s: {in0: {file: in0.npy}}}\n"


def written(folder: Path, how: Written) -> None:
    weight_blocks.write(folder, how)
    networks.spec(folder, f"{INPUTS}compare: [{BLOCKS}]\n")


@pytest.mark.parametrize(
    ("method", "bits", "size"),
    [*((method, 4, 32) for method in METHODS), ("minmax", 4, 128), ("awq", 6, 64), ("gptq", 8, 128)],
)
def test_what_ncnns_tool_writes_is_green(
    gate: Gate, pytester: pytest.Pytester, method: str, bits: int, size: int
) -> None:
    written(pytester.path, Written(method, bits, size))
    run = gate()
    assert run.ids("failed") == run.ids("skipped") == [], run.output
    assert len(run.ids("passed")) == 3 + 1


@pytest.mark.parametrize(
    ("fault", "inner"),
    list(
        zip(
            FAULTS,
            ["q_weight", "k_weight", "v_weight", "out_weight", "q_weight", "v_weight"],
            strict=True,
        )
    ),
)
def test_a_row_that_does_not_follow_the_one_in_floats_is_named(
    gate: Gate, pytester: pytest.Pytester, fault: Callable[[Blocks], None], inner: str
) -> None:
    written(pytester.path, Written(fault={"first": fault, inner: fault}))
    run = gate("--ncnn-parity-fix=off")
    gain = FAULTS[fault]
    for layer, matrix in (("first", "B"), ("attention", inner)):
        case = run.cases[f"s::blocks::{layer}"]
        assert (case["outcome"], case["cause"]) == ("failed", "quantization")
        pattern = rf"weights of \d of 64 rows of {matrix} \((?:5|5, 6)\) are (\S+) times those in floats"
        found = re.search(pattern, run.output)
        assert found is not None, run.output
        assert float(found[1]) == pytest.approx(gain, abs=0.25)
    assert run.cases["s::blocks::last"]["outcome"] == "passed"


def test_a_column_whose_input_has_a_wrong_scale_is_named(gate: Gate, pytester: pytest.Pytester) -> None:
    def wrong(of: Blocks) -> None:
        of.inputs[7] *= 2.0

    written(pytester.path, Written("awq", 4, 64, {"first": wrong}))
    run = gate("--ncnn-parity-fix=off")
    assert run.cases["s::blocks::first"]["cause"] == "quantization"
    assert re.search(r"weights of 1 of 100 columns of B \(7\) are (2|1\.9\d*|2\.0\d*) times", run.output)


@pytest.mark.parametrize("inner", ["q_weight", "out_weight"])
def test_a_bias_that_rounding_does_not_explain_is_named(
    gate: Gate, pytester: pytest.Pytester, inner: str
) -> None:
    written(pytester.path, Written(bits=8, biases={"last": 2.0, inner: 2.0}))
    run = gate("--ncnn-parity-fix=off")
    for layer, matrix, rows in (("last", "B", OUTPUTS), ("attention", inner, 64)):
        assert run.cases[f"s::blocks::{layer}"]["cause"] == "quantization"
        assert f"1 of its {rows} biases behind {matrix} ({rows - 1}) are off by up to 2, " in run.output


@pytest.mark.parametrize(("layer", "matrix"), [("attention", "k_weight"), ("last", "last")])
def test_a_scale_that_is_nan_is_the_files_fault(
    gate: Gate, pytester: pytest.Pytester, layer: str, matrix: str
) -> None:
    def lost(of: Blocks) -> None:
        of.scales[5, 0] = np.nan

    weight_blocks.write(pytester.path, Written(fault={matrix: lost}))
    networks.spec(pytester.path, f"{INPUTS}compare: [fp16-range]\n", "blocks")
    case = gate("--ncnn-parity-fix=off", "blocks.parity.yaml").cases[f"s::fp16-range::{layer}"]
    assert case["cause"] == "conversion", case
    assert "1 of its weights and scales is inf or nan in the file" in case["headline"]
