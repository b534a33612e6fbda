"""Of terms that are all positive the bound of the sums inside a layer is what ncnn's layer makes."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np
import pytest
from network import FP32_WEIGHTS, Network

from pytest_ncnn_parity.network.param import read
from pytest_ncnn_parity.worker.judge.fp16.accumulators import largest_sum

Shape = tuple[int, ...]

# an operator, its parameters, the shape of its input, or of its inputs, how many weights it has
LAYERS = (
    ("Convolution", "0=6 1=3 11=2 4=1 3=2 6=144", (4, 9, 8), 144),
    ("ConvolutionDepthWise", "0=4 1=3 4=1 14=0 6=36 7=4", (4, 9, 8), 36),
    ("ConvolutionDepthWise", "0=6 1=3 2=2 6=108 7=2", (4, 9, 8), 108),
    ("Deconvolution", "0=6 1=3 11=2 3=2 13=3 6=144", (4, 5, 6), 144),
    ("Deconvolution", "0=6 1=4 3=2 4=1 6=384", (4, 5, 6), 384),
    ("Deconvolution", "0=6 1=3 2=2 3=1 4=2 15=1 6=216", (4, 5, 6), 216),
    ("InnerProduct", "0=6 2=480", (80,), 480),
    ("Gemm", "5=1 6=1 8=6 9=12 10=-1", (5, 12), 72),
    ("Gemm", "3=1 5=1 6=1 8=6 9=12 10=-1", (5, 12), 72),
    ("Gemm", "2=1 3=1 5=1 6=1 8=6 9=5 10=-1", (5, 12), 30),
    ("Gemm", "", [(5, 12), (12, 7)], 0),
    ("Gemm", "2=1 3=1", [(12, 5), (7, 12)], 0),
    ("Gemm", "4=1 5=0 6=1 7=6 9=12 10=-1", (12, 7), 72),
    ("MatMul", "", [(2, 5, 12), (2, 12, 7)], 0),
    ("MatMul", "0=1", [(3, 2, 5, 12), (7, 12)], 0),
    ("MultiHeadAttention", "0=12 1=2 2=144", (5, 12), 144),  # its last product is its largest
)


@pytest.mark.parametrize(("kind", "params", "shapes", "count"), LAYERS)
def test_what_is_summed_is_what_the_layer_sums(
    kind: str, params: str, shapes: Shape | list[Shape], count: int, tmp_path: Path
) -> None:
    rng = np.random.RandomState(0)
    net = Network()
    shapes = shapes if isinstance(shapes, list) else [shapes]
    inputs = [net.layer("Input", f"in{i}") for i in range(len(shapes))]
    # of an attention: query, key, value and output, each with its bias behind it
    of_each = [12] * 4 if kind == "MultiHeadAttention" else [0] if count else []
    written, tensors = [], []
    for i, biases in enumerate(of_each):
        weights = rng.uniform(0.1, 1, count) * (0.01 if biases and i < 2 else 1)
        tensors += [weights.astype(np.float32), np.zeros(biases, np.float32)]
        written += [FP32_WEIGHTS, *tensors[-2:]] if written else tensors[-2:]
    net.layer(kind, "it", inputs, ["out0"], params, written)
    net.write(tmp_path / "net")
    values = [rng.uniform(0.1, 1, shape).astype(np.float32) for shape in shapes]
    layer = read(tmp_path / "net.param").names["it"]
    bound = largest_sum(layer, values, lambda *counts: _first(tensors, counts))
    assert bound == pytest.approx(_of_ncnn(tmp_path, values).max(), rel=1e-3)


def _first(tensors: list[np.ndarray], counts: tuple[int, ...]) -> list[np.ndarray]:
    return [tensor[:count] for tensor, count in zip(tensors, counts, strict=False)]


def _of_ncnn(folder: Path, values: list[np.ndarray]) -> np.ndarray:
    net = ncnn.Net()
    net.load_param(str(folder / "net.param"))
    net.load_model(str(folder / "net.bin"))
    extractor = net.create_extractor()
    for i, value in enumerate(values):
        extractor.input(f"in{i}", ncnn.Mat(value).clone())
    rc, out = extractor.extract("out0")
    assert rc == 0
    return np.array(out)


def test_there_is_no_bound_of_weights_of_inf(tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0")
    net.layer("InnerProduct", "it", ["in0"], ["out0"], "0=2 2=8", [np.full(8, np.inf)])
    net.write(tmp_path / "net")
    layer = read(tmp_path / "net.param").names["it"]
    values = np.array([1.0, -1.0, 0.0, 2.0], np.float32)
    tensors = [np.full(8, np.inf, np.float32)]
    assert largest_sum(layer, [values], lambda *counts: _first(tensors, counts)) == 0.0
