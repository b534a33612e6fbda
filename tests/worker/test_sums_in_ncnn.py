"""Of terms that are all positive the bound of the sums inside a layer is what ncnn's layer makes."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.network.param import read
from pytest_ncnn_parity.worker.judge.accumulators import largest_sum

# an operator, its parameters, the shape of its input, how many weights it has
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
)


@pytest.mark.parametrize(("kind", "params", "shape", "count"), LAYERS)
def test_what_is_summed_is_what_the_layer_sums(
    kind: str, params: str, shape: tuple[int, ...], count: int, tmp_path: Path
) -> None:
    rng = np.random.RandomState(0)
    weights = rng.uniform(0.1, 1, count).astype(np.float32)
    net = Network()
    net.layer(kind, "it", [net.layer("Input", "in0")], ["out0"], params, [weights])
    net.write(tmp_path / "net")
    value = rng.uniform(0.1, 1, shape).astype(np.float32)
    layer = read(tmp_path / "net.param").names["it"]
    bound = largest_sum(layer, value, lambda wanted: weights[:wanted])
    assert bound == pytest.approx(_of_ncnn(tmp_path, value).max(), rel=1e-3)


def _of_ncnn(folder: Path, value: np.ndarray) -> np.ndarray:
    net = ncnn.Net()
    net.load_param(str(folder / "net.param"))
    net.load_model(str(folder / "net.bin"))
    mat = ncnn.Mat(value).clone()  # `value` lives until then
    extractor = net.create_extractor()
    extractor.input("in0", mat)
    rc, out = extractor.extract("out0")
    assert rc == 0
    return np.array(out)
