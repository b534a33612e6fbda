"""A spec checked against its network: the plan it becomes, or the errors it is refused with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import SpecError

NETWORK = """\
7767517
4 5
Input       in0     0 1 in0 0=32 1=16 2=3
Split       fork    1 2 in0 left right
Convolution conv_1  1 1 left out0 0=8 1=1 6=24
Softmax     prob_1  1 1 right out1 0=0 1=1
"""
SPEC = """\
model: {param: net.param, bin: net.bin}
inputs: {noise: {in0: {random: normal}}}
"""


def plan(folder: Path, text: str = SPEC, network: str = NETWORK) -> Plan:
    (folder / "net.param").write_text(network)
    (folder / "net.bin").write_bytes(b"")
    path = folder / "net.parity.yaml"
    path.write_text(text, "utf-8")
    return check.plan(spec.load(path))


def errors(folder: Path, text: str, network: str = NETWORK) -> list[str]:
    """The errors of a spec, without the folder."""
    with pytest.raises(SpecError) as caught:
        plan(folder, text, network)
    return [error.removeprefix(f"{folder}/net.parity.yaml:") for error in caught.value.errors]
