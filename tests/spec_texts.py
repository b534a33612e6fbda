"""Specs as text: the least that is one, one with every key, and what reading a text ends in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import Spec, SpecError

LEAST = """\
model: {param: net.param, bin: net.bin}
inputs: {noise: {in0: {random: normal}}}
"""

# the spec of design.md, key by key
WHOLE = """\
model: {param: gfpgan.param, bin: gfpgan.bin}
inputs:
  noise:    {in0: {random: normal, shape: [3, 512, 512], seed: 0}}
  flat:     {in0: {constant: 0.5, shape: [3, 512, 512]}}
  bounded:  {in0: {random: uniform, low: -1, high: 1.5}}
  clipped:  {in0: {random: normal, mean: 0.5, std: 2, low: 0}}
  portrait: {in0: {image: portrait.png, color: bgr, size: [512, 256],
                   mean: [127.5, 127.5, 127.5], norm: [0.00784, 7.84e-3, 0.00784]}}
  recorded: {in0: {file: in0.npy}}
  archived: {in0: {file: in0.npz, key: first}}
compare:
  - cpu-vs-vulkan
  - fp16-vs-fp32
  - fp16-range
  - name: without-winograd
    reference: {device: "vulkan:1", precision: fp16-storage, options: {use_winograd_convolution: false}}
    candidate: {device: cpu, precision: bf16, options: {num_threads: 2}, worker: board}
  - {on: board, compare: [shipped]}
  - {name: int8, candidate: {device: cpu, model: {param: gfpgan-int8.param, bin: gfpgan-int8.bin}}}
tolerance:
  fp32: {atol: 1e-6}
  fp16: {scaled: 2.0e-2}
  fp16-storage: {rtol: 1e-2}
  fp16-packed: {scaled: 0.1, cosine: 0.99, sqnr_db: 30}
  bf16: {scaled: 1}
  headroom: 2
  layers:  {"type:Softmax": {scaled: 5.0e-2, headroom: 1.5}, "conv_1*": {atol: 1e-3, rtol: 1e-2}}
  outputs: {out0: {cosine: 0.999}}
layers: {include: ["*"], exclude: ["type:Split"]}
masks: {sum_249: 18}
known:
  - {layer: conv_7, comparison: fp16-vs-fp32-vulkan, sample: noise, reason: "llvmpipe only"}
  - {output: out0, reason: "see above"}
"""


def load(folder: Path, text: str) -> Spec:
    path = folder / "net.parity.yaml"
    path.write_text(text, "utf-8")
    return spec.load(path)


def errors(folder: Path, text: str) -> list[str]:
    """The errors of a spec, without the folder."""
    with pytest.raises(SpecError) as caught:
        load(folder, text)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return [error.removeprefix(f"{folder}/net.parity.yaml:") for error in caught.value.errors]
