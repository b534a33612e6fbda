"""Another model with weights in fp16, as ncnnoptimize and pnnx write them, against one in fp32."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from calibrated import FP16_WEIGHTS
from conftest import Gate

COMPARED = (
    "compare: [{name: half, candidate: {device: cpu, model: {param: half.param, bin: half.bin}}}]\n"
)
OUTPUTS, WEIGHTS = 8, 576


def with_half(folder: Path, factor: float = 1.0) -> None:
    """`networks.convolution`, and it with weights in fp16, those of c2's last output times `factor`."""
    networks.convolution(folder)
    (folder / "half.param").write_bytes((folder / "net.param").read_bytes())
    layers = np.fromfile(folder / "net.bin", np.float32).reshape(3, 1 + WEIGHTS + OUTPUTS)
    content = b""
    for number, (weights, biases) in enumerate(
        zip(layers[:, 1:-OUTPUTS], layers[:, -OUTPUTS:], strict=True)
    ):
        own = weights.reshape(OUTPUTS, -1).copy()
        own[-1] *= factor if number == 1 else 1.0
        content += FP16_WEIGHTS.tobytes() + own.astype(np.float16).tobytes() + biases.tobytes()
    (folder / "half.bin").write_bytes(content)
    networks.spec(folder, networks.NOISE + COMPARED)


def test_their_rounding_is_no_fault(gate: Gate, pytester: pytest.Pytester) -> None:
    with_half(pytester.path)
    run = gate()
    assert len(run.ids("passed")) == 3 + 1
    assert run.cases["noise::half::c2"]["metrics"]["scaled"] > 1e-4  # they are rounded


@pytest.mark.once
@pytest.mark.parametrize("wrong", [1.0, 1.03])
def test_a_layer_may_be_rounded_though_others_were_in_fp16_before(
    gate: Gate, pytester: pytest.Pytester, wrong: float
) -> None:
    """The first layer has its weights in fp16 in both files."""
    with_half(pytester.path, wrong)
    floats, halves = ((pytester.path / f"{name}.bin").read_bytes() for name in ("net", "half"))
    (pytester.path / "net.bin").write_bytes(halves[: len(halves) // 3] + floats[len(floats) // 3 :])
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed")[:1] == ([] if wrong == 1.0 else ["noise::half::c2"])
    assert run.cases["noise::half::c2"]["metrics"]["scaled"] > 2e-4


@pytest.mark.once
def test_a_weight_that_is_wrong_is_red(gate: Gate, pytester: pytest.Pytester) -> None:
    with_half(pytester.path, factor=1.03)
    assert gate("--ncnn-parity-fix=off").ids("failed")[0] == "noise::half::c2"


@pytest.mark.once
def test_between_two_such_files_layers_are_allowed_nothing(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A bias is off by 0.2 % of what its layer gives. An output may be: subnormal weights became 0."""
    with_half(pytester.path)
    content = bytearray((pytester.path / "half.bin").read_bytes())
    (pytester.path / "net.bin").write_bytes(content)
    biases = np.frombuffer(content, np.float32, OUTPUTS, len(content) - 4 * OUTPUTS)
    content[-4 * OUTPUTS :] = (biases + np.float32(0.005)).tobytes()
    (pytester.path / "half.bin").write_bytes(content)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == ["noise::half::c3"]
    assert run.cases["noise::half::c3"]["metrics"]["scaled"] < 0.01


@pytest.mark.once
@pytest.mark.parametrize("wrong", [False, True])
def test_weights_that_another_tool_cut_off_are_allowed_a_step(
    gate: Gate, pytester: pytest.Pytester, wrong: bool
) -> None:
    """As pnnx before 20261020 did. One weight that is two steps off is no rounding, nor are others."""
    with_half(pytester.path)
    floats = np.fromfile(pytester.path / "net.bin", np.float32).reshape(3, -1)
    own, its = bytearray(), (pytester.path / "half.bin").read_bytes()
    for number, layer in enumerate(floats):
        weights = layer[1:-OUTPUTS]
        cut = weights.astype(np.float16)
        cut -= np.where(np.abs(cut.astype(np.float32)) > np.abs(weights), np.spacing(cut), 0).astype(
            "f2"
        )
        cut[0] = cut[0] * np.float16(1.003 if wrong and number == 1 else 1.0)
        own += FP16_WEIGHTS.tobytes() + cut.tobytes() + layer[-OUTPUTS:].tobytes()
    assert len(own) == len(its)
    (pytester.path / "net.bin").write_bytes(own)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == (["noise::half::c2"] if wrong else [])
    assert run.cases["noise::half::c1"]["metrics"]["scaled"] > 2e-4


@pytest.mark.once
@pytest.mark.parametrize("factor", [1.0, 1.03])
@pytest.mark.parametrize("folded_there", [True, False])
def test_weights_that_were_folded_are_rounded_again(
    gate: Gate, pytester: pytest.Pytester, folded_there: bool, factor: float
) -> None:
    """Both files have weights in fp16; in one a BatchNorm is folded into them, and this factor."""
    rng = np.random.RandomState(2)
    weights = rng.normal(0, 0.1, (OUTPUTS, 2)).astype(np.float16)
    biases = rng.normal(0, 0.1, OUTPUTS).astype(np.float32)
    norm = np.float32([rng.uniform(0.5, 1.5, OUTPUTS) for _ in range(4)])  # slope, mean, variance, bias
    norm[1] = biases + 4.5 * weights.sum(1)  # which leaves a tenth of what the weights make of 4 to 5
    scale = norm[0] / np.sqrt(norm[2] + 1e-5)
    lines = ["Input in0 0 1 in0 0=24 1=24 2=2", "Convolution c 1 1 in0 x 0=8 1=1 5=1 6=16"]
    own = FP16_WEIGHTS.tobytes() + weights.tobytes() + biases.tobytes() + norm.tobytes()
    folded = (weights * scale[:, None] * factor).astype(np.float16)
    other = FP16_WEIGHTS.tobytes() + folded.tobytes() + (scale * (biases - norm[1]) + norm[3]).tobytes()
    names = ("net", "half") if folded_there else ("half", "net")
    for name, content, text in (
        (names[0], own, [*lines, "BatchNorm b 1 1 x out0 0=8 1=1e-5"]),
        (names[1], other, [lines[0], lines[1].replace(" x ", " out0 ")]),
    ):
        head = ["7767517", f"{len(text)} {len(text)}"]
        (pytester.path / f"{name}.param").write_text("\n".join([*head, *text, ""]), "utf-8")
        (pytester.path / f"{name}.bin").write_bytes(content)
    fed = "inputs: {noise: {in0: {random: uniform, low: 4, high: 5}}}\n"
    networks.spec(pytester.path, fed + COMPARED)
    red = [f"noise::half::{'b' if folded_there else 'c'}", "noise::half::output:out0"]
    assert gate("--ncnn-parity-fix=off").ids("failed") == ([] if factor == 1.0 else red)
