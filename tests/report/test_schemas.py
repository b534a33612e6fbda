"""--ncnn-parity-schema: what it says to editors and readers of reports is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import EXAMPLES

from pytest_ncnn_parity.spec import spec, yaml12
from pytest_ncnn_parity.spec.spec import SpecError

SPEC = jsonschema.Draft202012Validator(spec.schema())
FULL = """\
model: {param: net.param, bin: net.bin}
inputs:
  noise:    {in0: {random: normal, shape: [3, 16, 16], seed: 0, low: -1, high: 1.5}}
  flat:     {in0: {constant: 0.5, shape: [3, 16, 16]}}
  recorded: {in0: {file: in0.npz, key: a}, expect: {out0: {file: out0.npy}}}
  blob:     {in0: {constant: 1}, expect: {constant: 2}}
  portrait: {in0: {image: face.png, color: rgb, size: [16, 16], mean: [1.0e-3, 2, 3], norm: [1, 1, 1]}}
compare:
  - shipped
  - fp16-range
  - {name: own, reference: {}, candidate: {device: "vulkan:1", precision: fp16-storage,
     options: {use_sgemm_convolution: false, num_threads: 2}}}
tolerance:
  fp16: {scaled: 1e-3}
  fp16-storage: {atol: 1, rtol: 0.1, cosine: 0.9, sqnr_db: 20}
  layers: {"type:Softmax": {scaled: 5.0e-2}}
  outputs: {out0: {cosine: 0.999}}
layers: {include: ["*"], exclude: ["type:Split"]}
setup: layers:register
masks: {sum_249: 18}
known: [{layer: conv_7, comparison: fp16-range, reason: why}, {output: out0, sample: flat, reason: why}]
"""
BAD = [
    ("model: {param: net.param, bin: net.bin}", "model: {param: net.param}"),
    ("bin: net.bin}", "bin: net.bin, weights: x}"),
    ("compare:", "comparisons:"),
    ("  - shipped", "  - shiped"),
    ("random: normal", "random: gauss"),
    ("random: normal", "random: normal, constant: 1"),
    ("shape: [3, 16, 16], seed", "shape: [3, 16, HEIGHT], seed"),
    ("shape: [3, 16, 16], seed: 0", "shape: [0], seed: 0"),
    ("seed: 0", "seed: -1"),
    ("constant: 0.5", "constant: half"),
    ("image: face.png, color: rgb", "image: face.png, color: rbg"),
    ("{file: in0.npz, key: a}", "{key: a}"),
    ("expect: {out0: {file: out0.npy}}", "expect: {out0: {constant: 1}}"),
    ("expect: {out0: {file: out0.npy}}", "expect: {}"),
    ("  noise: ", "  no/ise: "),
    ("vulkan:1", "vulkan-1"),
    ("precision: fp16-storage", "precision: fp16_storage"),
    ("fp16-storage: {atol", "fp16storage: {atol"),
    ("scaled: 1e-3", "scaled: -1e-3"),
    ("cosine: 0.999", "cosine: 1.5"),
    ("layers:register", "layers.register"),
    ("sum_249: 18", "sum_249: 256"),
    ("sum_249: 18", "sum_249: 18.5"),
    ("{layer: conv_7, comp", "{layer: conv_7, output: out0, comp"),
    ("{output: out0, sample", "{sample"),
    (", reason: why}]", "}]"),
]


def errors(text: str) -> list[Any]:
    return list(SPEC.iter_errors(yaml12.load(text).data))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.parity.yaml")), ids=lambda path: path.stem)
def test_the_example_specs_are_valid(path: Path) -> None:
    assert errors(path.read_text("utf-8")) == []


def test_every_key_there_is_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "net.parity.yaml"
    path.write_text(FULL, "utf-8")
    spec.load(path)
    assert errors(FULL) == []


@pytest.mark.parametrize(("right", "wrong"), BAD)
def test_what_the_plugin_refuses_the_editor_marks(tmp_path: Path, right: str, wrong: str) -> None:
    assert FULL.count(right) == 1
    text = FULL.replace(right, wrong)
    path = tmp_path / "net.parity.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SpecError):
        spec.load(path)
    assert errors(text)
