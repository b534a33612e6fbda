"""Networks with weights in blocks of a few bits, as ncnnllm2int writes them (tools/quantize)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from network import Network

TOKENS, WIDTH, INNER, OUTPUTS = 24, 100, 64, 40
SIZES = (32, 64, 128)


@dataclass
class Blocks:
    """A matrix, (rows, columns), as `integers` with `scales`, (rows, blocks of a row), and `inputs`."""

    integers: np.ndarray
    scales: np.ndarray
    inputs: np.ndarray
    bits: int

    def packed(self) -> bytes:
        """Each row by itself, the least significant bits first."""
        bits = (self.integers[..., None] >> np.arange(self.bits)) & 1
        rows = np.packbits(bits.astype(np.uint8).reshape(len(bits), -1), axis=1, bitorder="little")
        return rows.tobytes() + bytes(-rows.size % 4)


def _clipped(values: np.ndarray, bits: int) -> np.ndarray:
    end = 2 ** (bits - 1) - 1
    return np.clip(np.trunc(values + np.copysign(0.5, values)), -end, end).astype(np.int64)


def _of_rows(scales: np.ndarray, size: int, columns: int) -> np.ndarray:
    return np.repeat(scales, size, 1)[:, :columns]


def _scales(weights: np.ndarray, bits: int, size: int) -> np.ndarray:
    starts = np.arange(0, weights.shape[1], size)
    largest = np.maximum.reduceat(np.abs(weights), starts, 1)
    return np.where(largest > 0, (2 ** (bits - 1) - 1) / np.where(largest > 0, largest, 1), 1.0)


def minmax(weights: np.ndarray, inputs: np.ndarray, bits: int, size: int) -> Blocks:
    """Rounded to nearest; the largest of each block becomes the largest integer."""
    scales = _scales(weights, bits, size)
    integers = _clipped(weights * _of_rows(scales, size, weights.shape[1]), bits)
    return Blocks(integers, scales, np.ones(weights.shape[1]), bits)


def mseclip(weights: np.ndarray, inputs: np.ndarray, bits: int, size: int) -> Blocks:
    """The scale of each block, up to twice as large, that leaves the least error."""
    best = _scales(weights, bits, size)
    starts = np.arange(0, weights.shape[1], size)

    def error(scales: np.ndarray) -> np.ndarray:
        of_rows = _of_rows(scales, size, weights.shape[1])
        return np.add.reduceat((_clipped(weights * of_rows, bits) / of_rows - weights) ** 2, starts, 1)

    least = error(best)
    for shrink in np.linspace(0.975, 0.5, 20):
        scales = _scales(weights, bits, size) / shrink
        now = error(scales)
        best, least = np.where(now < least, scales, best), np.minimum(now, least)
    integers = _clipped(weights * _of_rows(best, size, weights.shape[1]), bits)
    return Blocks(integers, best, np.ones(weights.shape[1]), bits)


def awq(weights: np.ndarray, inputs: np.ndarray, bits: int, size: int) -> Blocks:
    """Columns whose inputs are large are rounded more finely."""
    given = np.clip(1.0 / np.sqrt(np.abs(inputs).mean(0) + 1e-6), 1 / 16, 16)
    made = minmax(weights / given, inputs, bits, size)
    return Blocks(made.integers, made.scales, given, bits)


def gptq(weights: np.ndarray, inputs: np.ndarray, bits: int, size: int) -> Blocks:
    """Column by column, with the error of each made up for by those behind (Frantar, 2022)."""
    scales = _of_rows(_scales(weights, bits, size), size, weights.shape[1])
    hessian = inputs.T @ inputs
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    left, integers = weights.copy(), np.zeros(weights.shape, np.int64)
    for k in range(weights.shape[1]):
        integers[:, k] = _clipped(left[:, k] * scales[:, k], bits)
        error = (left[:, k] - integers[:, k] / scales[:, k]) / upper[k, k]
        left[:, k + 1 :] -= np.outer(error, upper[k, k + 1 :])
    return Blocks(integers, _scales(weights, bits, size), np.ones(weights.shape[1]), bits)


Method = Callable[[np.ndarray, np.ndarray, int, int], Blocks]
METHODS: Mapping[str, Method] = {"minmax": minmax, "mseclip": mseclip, "awq": awq, "gptq": gptq}


def _dead_row(of: Blocks) -> None:
    of.integers[5] = 0


def _dead_block(of: Blocks) -> None:
    of.integers[5, :64] = 0


def _half(of: Blocks) -> None:
    of.scales[5, 0] *= 2.0


def _twice(of: Blocks) -> None:
    of.scales[5] *= 0.5


def _other_sign(of: Blocks) -> None:
    of.integers[5] *= -1


def _next_row(of: Blocks) -> None:
    of.integers[[5, 6]] = of.integers[[6, 5]]


# what makes row 5 wrong, in one block or all, and by which factor it follows the row in floats then
FAULTS: Mapping[Callable[[Blocks], None], float] = {
    _dead_row: 0.0,
    _dead_block: 0.0,
    _half: 0.5,
    _twice: 2.0,
    _other_sign: -1.0,
    _next_row: 0.0,
}


@dataclass(frozen=True)
class Written:
    """How a model is quantized, and what is then made wrong: by matrix, what changes its blocks."""

    method: str = "minmax"
    bits: int = 4
    size: int = 32
    fault: Mapping[str, Callable[[Blocks], None]] = field(default_factory=dict)
    biases: Mapping[str, float] = field(default_factory=dict)


class _Network(Network):
    def raw(self, content: bytes) -> None:
        """What the layer that was added last reads."""
        self._weights.append(np.frombuffer(content, np.uint8))


MATRICES = ("first", "q_weight", "k_weight", "v_weight", "out_weight", "last")


def write(folder: Path, how: Written, seed: int = 0) -> None:
    """Gemm `first`, an attention and Gemm `last` in floats as net, and quantized as blocks.

    Inputs are correlated, and a few of them large, as those of language models are.
    """
    rng = np.random.RandomState(seed)
    common = rng.normal(size=(TOKENS, 8)) @ rng.normal(size=(8, WIDTH))
    x = common + 0.5 * rng.normal(size=(TOKENS, WIDTH))
    x[:, :3] *= 8.0
    np.save(folder / "in0.npy", x.astype(np.float32))
    shapes = dict.fromkeys(MATRICES, (INNER, INNER))
    shapes |= {"first": (INNER, WIDTH), "last": (OUTPUTS, INNER)}
    floats = {name: rng.normal(0, 1 / np.sqrt(s[1]), s) for name, s in shapes.items()}
    floats["first"] /= 2.0 * np.std(x @ floats["first"].T)  # an attention of large values picks one
    biases = {name: rng.normal(0, 0.3, s[0]).astype(np.float32) for name, s in shapes.items()}
    gemm = "2=0 3=1 4=0 5=1 6=1 7=0 10=4"
    params = {
        "first": f"{gemm} 8={INNER} 9={WIDTH}",
        "attention": f"0={INNER} 1=4 2={INNER * INNER}",
        "last": f"{gemm} 8={OUTPUTS} 9={INNER}",
    }
    held = {"first": ["first"], "attention": list(MATRICES[1:5]), "last": ["last"]}
    inputs = {name: rng.normal(size=(64, s[1])) for name, s in shapes.items()} | {"first": x}
    made = {name: METHODS[how.method](floats[name], inputs[name], how.bits, how.size) for name in shapes}
    for name, change in how.fault.items():
        change(made[name])
    term = f"18={100 * how.bits + 10 * (how.method == 'awq') + SIZES.index(how.size)}"
    for name, quantized in (("net", False), ("blocks", True)):
        net = _Network()
        blob = net.layer("Input", "in0", params=f"0={WIDTH} 1={TOKENS}")
        for layer, of in held.items():
            content = b""
            for matrix in of:
                bias = biases[matrix].copy()
                bias[-1] += how.biases.get(matrix, 0.0) * quantized
                plain = bytes(4) + floats[matrix].astype(np.float32).tobytes()
                content += made[matrix].packed() if quantized else plain
                content += (b"" if layer == "attention" else bytes(4)) + bias.tobytes()
            if quantized:
                content += b"".join(made[m].scales.astype(np.float32).tobytes() for m in of)
            if quantized and how.method == "awq":
                content += b"".join(made[m].inputs.astype(np.float32).tobytes() for m in of)
            kind = "MultiHeadAttention" if layer == "attention" else "Gemm"
            line = params[layer] + (f" {term}" if quantized else "")
            top = ["out0"] if layer == "last" else None
            blob = net.layer(kind, layer, [blob], top, line)
            net.raw(content)
        net.write(folder / name)
