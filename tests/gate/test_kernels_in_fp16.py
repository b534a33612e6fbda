"""What kernels compute or store inside in fp16 is predicted where Vulkan suffers from it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import ncnn
import numpy as np
import pytest
from conftest import Gate
from network import FP32_WEIGHTS, Network
from quantized import INT8_WEIGHTS

pytestmark = [
    pytest.mark.once,
    pytest.mark.since_ncnn("1.0.20260526", "older kernels compute otherwise, or there are none"),
]

RNG = np.random.RandomState(0)
C, MAP, WIDE = 8, (8, 6, 10), 64
FLAT = np.zeros(C)
OVERFLOW, STORED, LOST, COARSE = "accumulator-overflow", "storage-overflow", "underflow", "precision"
LEAKY, MISH, SWISH = "9=2 -23310=1,0.1", "9=5", "9=6 -23310=2,1.6666667e-1,0.5"


class Made(NamedTuple):
    """A layer and what it reads."""

    kind: str
    params: str
    weights: list[np.ndarray]
    inputs: list[np.ndarray]


def uniform(least: float, most: float, *shape: int) -> np.ndarray:
    return RNG.uniform(least, most, shape)


def normal(size: float, *shape: int) -> np.ndarray:
    return RNG.normal(0.0, size, shape)


def gemm(size: float, params: str, *more: np.ndarray) -> Made:
    return Made(
        "Gemm", params, [], [uniform(size / 2, size, 8, WIDE), uniform(size / 2, size, WIDE, 8), *more]
    )


def attention(size: float) -> Made:
    """Queries of 20 times `size` before they are scaled by an eighth; keys are small."""
    sizes = (
        uniform(0.5, 1, WIDE, WIDE) * size,
        *(normal(1, WIDE, WIDE) * s for s in (1e-4, 0.05, 0.05)),
    )
    written: list[np.ndarray] = []
    for matrix in sizes:
        written += [FP32_WEIGHTS, matrix, np.zeros(WIDE)]
    return Made(
        "MultiHeadAttention", f"0={WIDE} 1=1 2={WIDE**2}", written[1:], [uniform(15, 30, 6, WIDE)]
    )


def scores(size: float, width: int) -> Made:
    query = normal(size, 1, 16, width)
    return Made("SDPA", "", [], [query, query + normal(0.1, 1, 16, width), normal(1, 1, 16, width)])


def product(size: float, activation: str) -> Made:
    """Half of the sums are -24 times `size` or less."""
    weights = np.concatenate([uniform(-1, -0.5, C, WIDE), normal(0.01, C, WIDE)])
    params = f"0={2 * C} 1=0 2={2 * C * WIDE} {activation}"
    return Made("InnerProduct", params, [weights], [uniform(0.5, 1, WIDE) * size])


def pointwise(size: float, activation: str) -> Made:
    weights = np.concatenate([uniform(-1, -0.5, 4, C), normal(0.01, 4, C)])
    return Made(
        "Convolution", f"0={C} 1=1 5=0 6={C * C} {activation}", [weights], [uniform(0.5, 1, *MAP) * size]
    )


def batch_norm(size: float, deviation: float) -> Made:
    """Values of this `size`. In place of a deviation of 0 ncnn takes 1e-4, so that the factor is 1e5."""
    weights = [np.full(C, 10.0), FLAT, np.full(C, deviation**2), FLAT]
    return Made("BatchNorm", f"0={C}", weights, [normal(size, *MAP)])


def weighted(factor: float) -> Made:
    x = uniform(5000, 6000, *MAP)
    return Made("Eltwise", f"0=1 -23301=2,{factor},-{factor}", [], [x, x + normal(100.0, *MAP)])


def groups(epsilon: float, *shape: int) -> Made:
    return Made("GroupNorm", f"0=2 1={C} 2={epsilon} 3=0", [], [normal(1e-5, *shape)])


def unary(kind: int, x: np.ndarray) -> Made:
    return Made("UnaryOp", f"0={kind}", [], [x])


def total(factor: str, size: float = 1.1) -> Made:
    """A sum of `size` times 65504 that is multiplied by a factor."""
    return Made("Reduction", f"0=0 1=1 {factor}", [], [np.full(WIDE, size * 65504 / WIDE)])


def rows(*sizes: float) -> Made:
    """The norms of rows of these sizes."""
    return Made("Reduction", "0=8 1=0 -23303=1,1 4=1 5=1", [], [np.outer(sizes, np.ones(C))])


def remainder(kind: int, x: np.ndarray, divisor: float = 0.25) -> Made:
    return Made("BinaryOp", f"0={kind} 1=1 2={divisor}", [], [x])


def priors(largest: float) -> Made:
    sizes = f"-23300=1,285.0 -23301=1,{largest} -23302=2,2.0,3.0"
    others = "3=0.1 4=0.1 5=0.2 6=0.2 7=1 8=0 9=-233 10=-233 11=-233 12=-233 13=0.5"
    return Made("PriorBox", f"{sizes} {others}", [], [normal(1, 4, 2, 2), normal(1, 3, 30, 30)])


def softmax(classes: int) -> Made:
    return Made("Softmax", "0=1 1=1", [], [normal(0.5, 3, classes)])


def quantize(scale: float) -> Made:
    return Made("Quantize", "0=1", [np.full(1, scale)], [normal(30.0 / scale, *MAP)])


def in_int8(size: float) -> Made:
    """Sums of integers times factors of 8e-6 times the square of `size`."""
    x, weights = normal(size, WIDE), normal(size, 2 * C, WIDE)
    scales, scale = 127 / np.abs(weights).max(1), 127 / np.abs(x).max()
    integers = np.rint(weights * scales[:, None]).astype(np.int8)
    written = [
        INT8_WEIGHTS.view(np.float32),
        integers.reshape(-1).view(np.float32),
        scales,
        np.array([scale]),
    ]
    return Made("InnerProduct", f"0={2 * C} 1=0 2={2 * C * WIDE} 8=2", written, [x])


def given_in_int8(scale: float) -> Made:
    """Sums that become int8 by `scale`: about 30, whatever it is."""
    x, weights = normal(1, *MAP), normal(10 / scale, C, C)
    scales = 127 / np.abs(weights).max(1)
    integers = np.rint(weights * scales[:, None]).astype(np.int8)
    first, others = INT8_WEIGHTS.view(np.float32), [scales, np.array([30.0]), np.array([scale])]
    written = [first, integers.reshape(-1).view(np.float32), *others]
    return Made("Convolution", f"0={C} 1=1 5=0 6={C * C} 8=102", written, [x])


TINY, QUARTERS = normal(1e-4, WIDE), RNG.randint(0, 40, WIDE) * 0.25 + 0.0625
# by name: a layer, and its cause if fp16 spoils it
LAYERS: dict[str, tuple[Made, str | None]] = {
    "gemm": (gemm(50, "0=0.125"), OVERFLOW),
    "gemm_ok": (gemm(10, "0=0.125"), None),
    "gemm_alpha": (gemm(10, "0=1e-8"), LOST),
    "gemm_beta": (gemm(1, "1=1e5", normal(1e-3, 8, 8)), OVERFLOW),
    "gemm_of_no_addend": (gemm(1, "1=1e5"), OVERFLOW),
    "attention": (attention(60), OVERFLOW),
    "attention_ok": (attention(6), None),
    "sdpa": (scores(60, 36), OVERFLOW),
    "sdpa_stored": (scores(160, 36), STORED),
    "sdpa_ok": (scores(1, 36), None),
    "sdpa_flash": (scores(60, 40), None),
    "leaky": (product(3600, LEAKY), OVERFLOW),
    "mish": (product(3600, MISH), OVERFLOW),
    "hard_swish": (product(3600, SWISH), OVERFLOW),
    "relu_ok": (product(3600, "9=1"), None),
    "leaky_ok": (product(200, LEAKY), None),
    "conv_leaky": (pointwise(20000, LEAKY), OVERFLOW),
    "norm_of_0": (batch_norm(1e-3, 0), STORED),
    "norm_ok": (batch_norm(1, 1), None),
    "sum_product": (weighted(12.0), OVERFLOW),
    "sum_ok": (weighted(2.0), None),
    "groups_of_rows": (groups(1e-12, C, WIDE), STORED),
    "groups_of_volumes": (groups(1e-12, C, 2, 3, 4), STORED),
    "groups_of_rows_ok": (groups(1e-5, C, WIDE), None),
    "volumes": (Made("InstanceNorm", f"0={C} 1=1e-12 2=0", [], [normal(1e-5, C, 2, 3, 4)]), STORED),
    "acosh": (unary(25, np.linspace(1, 60000, WIDE)), OVERFLOW),
    "acosh_ok": (unary(25, np.linspace(2, 300, WIDE)), None),
    "expm1": (unary(21, TINY), LOST),
    "expm1_ok": (unary(21, TINY * 1e4), None),
    "log1p": (unary(27, np.abs(TINY)), LOST),
    "log1p_ok": (unary(27, np.abs(TINY) * 1e4), None),
    "atanh": (unary(26, TINY), LOST),
    "atanh_ok": (unary(26, TINY * 2e3), None),
    "sinh": (unary(22, TINY), LOST),
    "sinh_ok": (unary(22, TINY * 1e4), None),
    "elu": (Made("ELU", "0=1", [], [TINY]), LOST),
    "elu_ok": (Made("ELU", "0=1", [], [TINY * 1e3]), None),
    "celu": (Made("CELU", "0=0.5", [], [TINY]), LOST),
    "selu": (Made("SELU", "", [], [TINY]), LOST),
    "scaled_sum": (total("2=0.5"), OVERFLOW),
    "scaled_sum_ok": (total("2=0.125", 0.9), None),
    "norms": (rows(1e-3, 10.0, 500.0), OVERFLOW),
    "norms_ok": (rows(1e-3, 10.0, 50.0), None),
    # no quotient is whole, because ncnn's kernel for AVX2 makes one less of it
    "fmod": (remainder(12, (RNG.randint(130, 360, WIDE) * 5 + 1) * 32.0, 0.3125), OVERFLOW),
    "fmod_ok": (remainder(12, QUARTERS), None),
    "remainder": (remainder(17, np.floor(uniform(20000, 60000, WIDE)) + 0.125), STORED),
    "remainder_ok": (remainder(17, QUARTERS), None),
    "priors": (priors(300.0), OVERFLOW),
    "priors_ok": (priors(200.0), None),
    "quantize": (quantize(1e5), OVERFLOW),
    "quantize_ok": (quantize(1e3), None),
    "int8": (in_int8(0.01), LOST),
    "int8_ok": (in_int8(1.0), None),
    "int8_given": (given_in_int8(1e5), STORED),
    "int8_given_ok": (given_in_int8(1e3), None),
    "softmax": (softmax(6625), COARSE),
    "softmax_ok": (softmax(300), None),
}


UNFLAGGED = ("BatchNorm", "Quantize")


if ncnn.__version__ < "1.0.20261020":  # it does not run on Vulkan
    LAYERS = {name: made for name, made in LAYERS.items() if not name.startswith("int8")}


def network(folder: Path) -> None:
    net, files = Network(), []
    for name, (layer, _) in LAYERS.items():
        blobs = []
        for i, value in enumerate(layer.inputs):
            blobs.append(net.layer("Input", f"{name}_{i}"))
            np.save(folder / f"{name}_{i}.npy", value.astype(np.float32))
            files.append(f"{name}_{i}: {{file: {name}_{i}.npy}}")
        flagged = layer.kind not in UNFLAGGED and not name.startswith("int8")
        net.layer(layer.kind, name, blobs, [f"out_{name}"], layer.params, layer.weights, flagged)
    net.write(folder / "net")
    text = f"model: {{param: net.param, bin: net.bin}}\ninputs:\n  s: {{{', '.join(files)}}}\n"
    (folder / "net.parity.yaml").write_text(f"{text}compare: [shipped, fp16-range]\n")


def test_what_is_predicted_of_a_kernel_is_what_vulkan_does(gate: Gate, tmp_path: Path) -> None:
    network(tmp_path)
    run = gate(str(tmp_path), "--ncnn-parity-fix=off")
    expected = {name: cause for name, (_, cause) in LAYERS.items()}
    for comparison in ("fp16-range", "shipped"):
        causes = {name: run.cases[f"s::{comparison}::{name}"]["cause"] for name in LAYERS}
        assert causes == expected, comparison
        skipped = [n for n in LAYERS if run.cases[f"s::{comparison}::{n}"]["outcome"] == "skipped"]
        integers = [name for name in LAYERS if name in ("quantize_ok", "int8_given_ok")]
        assert skipped == (integers if comparison == "fp16-range" else []), comparison
