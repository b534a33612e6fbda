"""What layers give for 0 and inf, whatever the processor's kernels make of it."""

from pathlib import Path

import graphs
import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.ieee import (
    corrected,
    function_in_float64,
    gives_a_number_for_inf,
    gives_nan_for_a_number,
)
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
    outputs = corrected(layer, values, loaded.run_layer(layer, values), loaded.run_layer)
    with np.errstate(all="ignore"):
        dividend = {"UnaryOp 0=15": 1.0, "BinaryOp 0=8 1=1 2=3.0": 3.0}.get(line, DIVIDENDS)
        expected = (dividend / DIVISORS).astype(np.float32)
    defined = np.isfinite(expected)
    np.testing.assert_allclose(outputs["out0"].array[defined], expected[defined], rtol=1e-6)
    assert not np.isfinite(outputs["out0"].array[~defined]).any()


ENDS = np.array([0.0, np.inf, 4.0, 0.25, 1.0, 2.0, 3.0, 9.0] * 4, np.float32)
FUNCTIONS = {
    "UnaryOp 0=6": [np.inf, 0.0],
    "UnaryOp 0=8": [-np.inf, np.inf],
    "UnaryOp 0=14": [0.0, np.pi / 2],
    "UnaryOp 0=15": [np.inf, 0.0],
    "UnaryOp 0=17": [-np.inf, np.inf],
    "BinaryOp 0=8 1=1 2=3.0": [np.inf, 0.0],
    "BinaryOp 0=6 1=1 2=2.0": [0.0, np.inf],
    "BinaryOp 0=6 1=1 2=0.5": [0.0, np.inf],
}


def loaded(folder: Path, line: str, device: str = "cpu") -> tuple[LoadedNet, Layer]:
    """A network of one layer, which reads `x`."""
    kind, _, params = line.partition(" ")
    net = Network()
    net.layer(kind, "y", [net.layer("Input", "x")], ["out0"], params)
    net.write(folder / "net")
    graph = param.read(str(folder / "net.param"))
    files = Model(str(folder / "net.param"), str(folder / "net.bin"))
    return LoadedNet(NetSpec(0, device, "fp32"), files, graph.masks, 1, lambda _: None), graph.layers[-1]


@pytest.mark.parametrize("line", FUNCTIONS)
def test_functions_have_their_values_at_0_and_at_inf(line: str, tmp_path: Path) -> None:
    net, layer = loaded(tmp_path, line)
    values = {"x": Blob.of(ENDS)}
    outputs = net.run_layer(layer, values)
    true = corrected(layer, values, outputs, net.run_layer)["out0"].array
    np.testing.assert_allclose(true[:2], FUNCTIONS[line], rtol=1e-6)
    np.testing.assert_array_equal(true.reshape(4, 8)[:, 2:], outputs["out0"].array.reshape(4, 8)[:, 2:])
    own = np.isnan(outputs["out0"].array).any()
    assert gives_nan_for_a_number(layer, values, outputs) == own
    assert not gives_nan_for_a_number(layer, values, {"out0": Blob.of(true)})


@pytest.mark.parametrize(
    ("first", "second"),
    [((4, 8), (4,)), ((4, 8), (1,)), ((1,), (4, 8)), ((8,), (4, 8)), ((4, 8), (1, 8))],
)
@pytest.mark.parametrize("kind", ["3", "6"])
def test_inputs_are_broadcast_as_ncnn_does_it(
    first: tuple[int, ...], second: tuple[int, ...], kind: str, tmp_path: Path
) -> None:
    net = Network()
    blobs = [net.layer("Input", name) for name in ("x", "y")]
    net.layer("BinaryOp", "both", blobs, ["out0"], f"0={kind}")
    net.write(tmp_path / "net")
    graph = param.read(str(tmp_path / "net.param"))
    files = Model(str(tmp_path / "net.param"), str(tmp_path / "net.bin"))
    rng = np.random.RandomState(0)
    values = {
        name: Blob.of(rng.uniform(0.5, 2.0, shape).astype(np.float32))
        for name, shape in (("x", first), ("y", second))
    }
    edge = "y" if kind == "3" else "x"  # the divisor, or the base
    edges = values[edge].array.copy()
    edges.flat[::3] = 0.0
    values[edge] = Blob.of(edges)

    def made(device: str) -> np.ndarray:
        net = LoadedNet(NetSpec(0, device, "fp32"), files, graph.masks, 1, lambda _: None)
        layer = graph.layers[-1]
        outputs = net.run_layer(layer, values)
        if device == "cpu":
            outputs = corrected(layer, values, outputs, net.run_layer)
        return outputs["out0"].array

    np.testing.assert_allclose(made("cpu"), made("vulkan"), rtol=1e-4)


def test_a_nan_that_the_function_has_is_no_fault(tmp_path: Path) -> None:
    net, layer = loaded(tmp_path, "UnaryOp 0=5")
    values = {"x": Blob.of(-np.abs(ENDS))}
    outputs = net.run_layer(layer, values)
    assert np.isnan(outputs["out0"].array).any()
    assert not gives_nan_for_a_number(layer, values, outputs)


ROWS = {"inf": np.inf, "a number": 5.0, "-inf": -np.inf}


@pytest.mark.parametrize("shape", [(8,), (4, 8), (3, 8), (4, 8, 4), (1, 8, 5), (8, 4, 4)])
@pytest.mark.parametrize("end", ROWS)
def test_a_softmax_over_inf_is_nan_as_on_vulkan(
    shape: tuple[int, ...], end: str, tmp_path: Path
) -> None:
    axis = shape.index(8)
    net, layer = loaded(tmp_path, f"Softmax 0={axis} 1=1")
    array = np.random.RandomState(0).normal(size=shape).astype(np.float32)
    array[tuple(2 if n == axis else 0 for n in range(len(shape)))] = ROWS[end]
    values = {"x": Blob.of(array)}
    true = corrected(layer, values, net.run_layer(layer, values), net.run_layer)["out0"].array
    rows = np.moveaxis(true, axis, 0).reshape(8, -1)
    assert np.isnan(rows[:, 0]).all() == (end == "inf")
    np.testing.assert_allclose(rows[:, 1:].sum(0), 1.0, rtol=1e-5)
    device, layer = loaded(tmp_path, f"Softmax 0={axis} 1=1", "vulkan")
    np.testing.assert_allclose(device.run_layer(layer, values)["out0"].array, true, atol=1e-6)


@pytest.mark.parametrize(
    ("line", "true"),
    [
        ("UnaryOp f in0 y 0=7", [np.exp(88.6), np.inf, 0.0, np.inf]),
        ("UnaryOp f in0 y 0=8", [np.log(88.6), np.log(300.0), np.nan, np.inf]),
        ("BinaryOp f in0 y 0=9 1=1 2=3", [np.inf, np.inf, 0.0, np.inf]),
        ("BinaryOp f in0 y 0=3 1=1 2=2", [44.3, 150.0, -200.0, np.inf]),
    ],
)
def test_functions_go_on_to_the_end_of_fp32_and_are_inf_beyond(line: str, true: list[float]) -> None:
    layer = graphs.network(line).names["f"]
    value = Blob.of(np.array([88.6, 300.0, -400.0, np.inf], np.float32))
    assert function_in_float64(layer, {"in0": value}) == pytest.approx(true, rel=1e-5, nan_ok=True)


def test_of_other_layers_no_function_is_known() -> None:
    value = {"in0": Blob.of(np.ones(4, np.float32))}
    for line in ("ReLU f in0 y", "UnaryOp f in0 y 0=0", "BinaryOp f in0 y 0=0 1=1 2=3"):
        assert function_in_float64(graphs.network(line).names["f"], value) is None


@pytest.mark.parametrize(
    ("line", "made", "hides"),
    [
        ("Softmax f in0 y 0=1 1=1", [[0.0, 1.0], [0.5, 0.5]], True),
        ("Softmax f in0 y 0=1 1=1", [[np.nan, np.nan], [0.5, 0.5]], False),
        ("Softmax f in0 y 0=1 1=1", [[np.nan, 1.0], [0.5, 0.5]], True),
        ("Reduction f in0 y 0=10 1=1", [88.0], True),
        ("Reduction f in0 y 0=10 1=1", [np.inf], False),
        ("Reduction f in0 y 0=3 1=1", [88.0], False),
        ("MultiHeadAttention f x,in0 y 5=1", [[1.0, 2.0]], True),
        ("SDPA f x,x,x,in0 y 5=1", [[1.0, np.nan]], False),
        ("Clip f in0 y 0=0 1=1", [[1.0, 1.0], [0.0, 0.0]], False),
    ],
)
def test_inf_that_powers_of_e_hide_is_a_fault_of_their_kernel(
    line: str, made: list[float], hides: bool
) -> None:
    """What a Softmax makes of a row with inf is nan, and what a LogSumExp makes of it is inf."""
    layer = graphs.network("ReLU relu in0 x", line).names["f"]
    scores = np.array([[0.0, np.inf], [1.0, 1.0]], np.float32)
    values = {"x": Blob.of(np.ones((2, 2), np.float32)), "in0": Blob.of(scores)}
    outputs = {"y": Blob.of(np.array(made, np.float32))}
    assert gives_a_number_for_inf(layer, values, outputs) is hides
    masked = {**values, "in0": Blob.of(-np.abs(scores))}
    assert not gives_a_number_for_inf(layer, masked, outputs)
