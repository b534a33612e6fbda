"""A plan over a network of five layers, for the tests of what is made of plans."""

from __future__ import annotations

from pathlib import Path

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec

NETWORK = """\
7767517
5 6
Input       in0     0 1 in0 0=32 1=16 2=3
Split       fork    1 2 in0 left right
Convolution conv_1  1 1 left a 0=8 1=1 6=24 31=1
GELU        gelu_1  1 1 a out0
Softmax     prob_1  1 1 right out1 0=0 1=1
"""
SPEC = """\
model: {param: net.param, bin: net.bin}
inputs: {noise: {in0: {random: normal}}, flat: {in0: {constant: 1, shape: [3, 8, 8]}}}
"""


def loaded(folder: Path, text: str = "", network: str = NETWORK) -> Plan:
    """The plan of a spec with `text` after its model and inputs. There are no weights."""
    path = folder / "net.parity.yaml"
    path.write_text(SPEC + text, "utf-8")
    return Plan(spec.load(path), param.parse(network, "net.param"))
