"""A comparison of another model by itself: its own names, the same values, no masks of the spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ncnn_parity.compare.comparisons import OtherFiles, Pair
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts
from pytest_ncnn_parity.plan.as_own import as_own
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.sources import RandomSource

NETWORK = """\
7767517
4 5
Input       in0     0 1 in0 0=16 1=16 2=3
Convolution conv_1  1 1 in0 a 0=8 1=1 6=24
Split       fork    1 2 a left right
GELU        gelu_1  1 1 left out0
"""
OTHER = """\
7767517
4 5
Input       data    0 1 data
Convolution first   1 1 data 7 0=8 1=1 6=24
Split       s       1 2 7 8 9
GELU        second  1 1 8 prob
"""
SPEC = """\
model: {param: net.param, bin: net.bin}
inputs: {noise: {in0: {random: normal}}, inner: {a: {random: normal, shape: [8, 16, 16]}}}
outputs: [out0]
masks: {conv_1: 18}
layers: {include: [gelu_1]}
tolerance: {outputs: {out0: {scaled: 0.01}, "out*": {cosine: 0.9}}}
known:
  - {output: out0, sample: inner, comparison: opt, reason: known}
compare:
  - {name: opt, candidate: {device: vulkan, precision: fp16, model: {param: opt.param, bin: opt.bin}}}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "net.parity.yaml"
    path.write_text(SPEC, "utf-8")
    here, there = param.parse(NETWORK, "net.param"), param.parse(OTHER, "opt.param")
    files = OtherFiles("opt.param", "opt.bin")
    return Plan(spec.load(path), here, others={files: counterparts(here, there)})


def test_names_are_the_others_and_values_the_same(plan: Plan) -> None:
    (comparison,) = plan.spec.comparisons
    own, pair = as_own(plan, comparison)
    assert own.spec.param.name == "opt.param"
    assert own.spec.path == plan.spec.path
    assert isinstance(pair, Pair)
    assert pair.masks_can_fix
    assert (pair.name, pair.other_files, pair.half) == ("opt", None, "fp16")
    assert list(own.spec.inputs["noise"]) == ["data"]
    assert list(own.spec.inputs["inner"]) == ["7"]
    (source,) = own.spec.inputs["noise"].values()
    assert isinstance(source, RandomSource)
    assert source.shape == [3, 16, 16]  # as the spec's own model states
    assert own.outputs == ("prob",)
    assert set(own.masked.masks) == {0}
    assert [layer.name for layer in own.layers] == ["data", "first", "s", "second"]


def test_what_is_said_of_an_output_holds_for_its_counterpart(plan: Plan) -> None:
    own, pair = as_own(plan, plan.spec.comparisons[0])
    (output,) = (case for case in own.cases(pair, "inner") if case.output)
    assert output.tolerance.scaled == 0.01
    assert own.known("inner", output) == "known"
    assert own.known("noise", output) is None
    assert output.tolerance.cosine is None  # a pattern of names is one of names there
