"""x / inf is 0, whatever the processor's kernels make of it."""

from pathlib import Path

import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.worker.judge.reference import true_quotients
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob

DIVISORS = np.array([np.inf, -np.inf, np.nan, 4.0] * 8, np.float32)
DIVIDENDS = np.array([3.0] * 16 + [np.inf] * 16, np.float32)


@pytest.mark.parametrize(
    "line", ["UnaryOp 0=15", "BinaryOp 0=8 1=1 2=3.0", "BinaryOp 0=3", "BinaryOp 0=8"]
)
def test_what_is_divided_by_inf_is_0_and_inf_by_inf_is_nan(line: str, tmp_path: Path) -> None:
    kind, _, params = line.partition(" ")
    net = Network()
    blobs = [net.layer("Input", name, params="0=32") for name in ("x", "y")]
    read = {"BinaryOp 0=3": blobs, "BinaryOp 0=8": blobs[::-1]}.get(line, blobs[1:])
    net.layer(kind, "quotient", read, ["out0"], params)
    net.write(tmp_path / "net")
    graph = param.read(str(tmp_path / "net.param"))
    files = Model(str(tmp_path / "net.param"), str(tmp_path / "net.bin"))
    loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), files, graph.masks, 1, lambda _: None)
    values = {"x": Blob.of(DIVIDENDS), "y": Blob.of(DIVISORS)}
    layer = graph.layers[-1]
    outputs = true_quotients(layer, values, loaded.run_layer(layer, values), loaded.run_layer)
    with np.errstate(all="ignore"):
        dividend = {"UnaryOp 0=15": 1.0, "BinaryOp 0=8 1=1 2=3.0": 3.0}.get(line, DIVIDENDS)
        expected = (dividend / DIVISORS).astype(np.float32)
    defined = np.isfinite(expected)
    np.testing.assert_allclose(outputs["out0"].array[defined], expected[defined], rtol=1e-6)
    assert not np.isfinite(outputs["out0"].array[~defined]).any()
