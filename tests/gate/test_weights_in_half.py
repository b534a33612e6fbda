"""Another model with weights in fp16, as ncnnoptimize and pnnx write them, against one in fp32."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import networks
import numpy as np
import pytest
import written_graphs
from calibrated import FP16_WEIGHTS
from conftest import Gate

COMPARED = (
    "compare: [{name: half, candidate: {device: cpu, model: {param: half.param, bin: half.bin}}}]\n"
)
Arrays = Iterable[np.ndarray]
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


def as_files(
    folder: Path,
    lines: list[str],
    name: str,
    weights: Iterable[np.ndarray],
    biases: Iterable[np.ndarray],
) -> None:
    """NAME.param of these `lines`, and NAME.bin: for each layer its weights in fp16, and its biases."""
    (folder / f"{name}.param").write_text(written_graphs.text(*lines), "utf-8")
    content = [
        FP16_WEIGHTS.tobytes() + own.tobytes() + added.tobytes()
        for own, added in zip(weights, biases, strict=True)
    ]
    (folder / f"{name}.bin").write_bytes(b"".join(content))


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
@pytest.mark.parametrize(
    ("count", "bias", "red"),
    [(24, 0.0, []), (24, 1e-3, ["f12", "output:out0"]), (80, 0.0, ["output:out0"])],
)
def test_what_roundings_add_up_to_is_judged_as_fp16_storage_is(
    gate: Gate, pytester: pytest.Pytester, count: int, bias: float, red: list[str]
) -> None:
    """In each layer all weights are a step larger: outputs may be 0.05 off. A bias is not rounded."""
    rng, size = np.random.RandomState(0), 8
    weights = rng.uniform(0.0625, 0.1875, (count, size * size)).astype(np.float16)
    blobs = ["in0", *(f"b{n}" for n in range(1, count)), "out0"]
    lines = [
        "Input in 0 1 in0 0=8",
        *(f"InnerProduct f{n} 1 1 {blobs[n]} {blobs[n + 1]} 0=8 1=1 2=64" for n in range(count)),
    ]
    biases = np.zeros((count, size), np.float32)
    as_files(pytester.path, lines, "net", weights, biases)
    biases[12] = bias
    as_files(pytester.path, lines, "half", np.nextafter(weights, np.float16(1)), biases)
    networks.spec(pytester.path, "inputs: {ones: {in0: {constant: 1}}}\n" + COMPARED)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == [f"ones::half::{name}" for name in red]
    output = run.cases["ones::half::output:out0"]
    assert 0.01 < output["metrics"]["scaled"] < 0.05 + (count > 24) * 0.02
    said = "weights are rounded to fp16 otherwise" in (output["message"] or "")
    assert (output["cause"], said) == ("model" if red else None, count > 24)


@pytest.mark.once
@pytest.mark.parametrize(("taken", "red"), [(0.93, []), (0.98, ["n::half::f"])])
def test_a_bias_that_takes_away_most_leaves_what_rounding_does(
    gate: Gate, pytester: pytest.Pytester, taken: float, red: list[str]
) -> None:
    """All weights of 1/8 are a step larger: 1e-3 of the sum, 0.014 of what is left, or 0.05."""
    lines = ["Input in 0 1 in0 0=8", "InnerProduct f 1 1 in0 out0 0=8 1=1 2=64"]
    weights = np.full(64, 0.125, np.float16)
    for name, own in (("net", weights), ("half", np.nextafter(weights, np.float16(1)))):
        as_files(pytester.path, lines, name, [own], [np.full(8, -taken, np.float32)])
    networks.spec(pytester.path, "inputs: {n: {in0: {constant: 1}}}\n" + COMPARED)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == red
    assert run.cases["n::half::f"]["metrics"]["scaled"] > 0.01


@pytest.mark.once
@pytest.mark.parametrize(("places", "red"), [(1, []), (20, ["s::half::output:out0"])])
def test_a_place_where_terms_cancel_moves_as_far_as_rounding_moves_it(
    gate: Gate, pytester: pytest.Pytester, places: int, red: list[str]
) -> None:
    """Both terms are 300 there, and one weight of 1 is a step larger: 0.06 of the largest value."""
    lines = [
        "Input in 0 1 in0",
        "Convolution one 1 1 in0 terms 0=2 1=1 5=1 6=4",
        "Convolution two 1 1 terms out0 0=1 1=1 5=1 6=2",
    ]
    for name, weight in (("net", 1.0), ("half", 1 + 2**-10)):
        weights = np.float16([weight, 0, 0, 1]), np.float16([1, -1])
        as_files(pytester.path, lines, name, weights, [np.float32([0, 0]), np.float32([0])])
    terms = np.random.RandomState(0).normal(0, 1, (2, 64, 64)).astype(np.float32)
    terms[:, 0, :places] = 300
    networks.fed(pytester.path, COMPARED, in0=terms)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == red
    assert run.cases["s::half::output:out0"]["metrics"]["scaled"] > 0.05


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
