"""The units of gated values, as ncnn itself multiplies and copies them."""

from pathlib import Path

import graphs
import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.scales import GATE_UNIT
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.worker.judge.gates import Gates
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made

SHAPE = (4, 3, 5)


VALUES = np.random.RandomState(1).normal(0, 1, SHAPE).astype(np.float32)


def followed(net: Network, folder: Path, fed: Array = VALUES) -> tuple[Gates, Made]:
    """The network run layer by layer on the CPU, with its gates."""
    net.write(folder / "net")
    graph = param.read(str(folder / "net.param"))
    model = Model(str(folder / "net.param"), str(folder / "net.bin"))
    loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), model, graph.masks, 1, lambda _: None)
    values = {"in0": Blob.of(fed)}
    gates = Gates(graph, graph.outputs, loaded.run_layer)
    for layer in graph.layers:
        if layer.type != "Input":
            values.update(loaded.run_layer(layer, values))
        gates.follow(layer, values)
    return gates, values


def product(net: Network, operator: str = "BinaryOp 0=2") -> str:
    """A value of size 20, times a probability."""
    net.layer("Input", "in0", params=f"0={SHAPE[2]} 1={SHAPE[1]} 2={SHAPE[0]}")
    a, b = net.split("in0", 2)
    net.layer("BinaryOp", "value", [a], params="0=2 1=1 2=20.0")
    net.layer("Sigmoid", "gate", [b])
    kind, params = operator.split()
    return net.layer(kind, "product", ["value", "gate"], params=params)


@pytest.mark.parametrize("operator", ["BinaryOp 0=2", "Eltwise 0=0"])
@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], lambda size: size),
        ([("Permute", "0=3")], lambda size: size.transpose(1, 2, 0)),
        ([("ReLU", "0=0.1")], lambda size: size),
        ([("UnaryOp", "0=0"), ("UnaryOp", "0=1")], lambda size: size),
        ([("Clip", "0=-1.0 1=1.0")], lambda size: np.minimum(size, 1.0)),
        ([("BinaryOp", "0=5 1=1 2=1.0")], lambda size: np.minimum(size, 1.0)),
        ([("BinaryOp", "0=3 1=1 2=0.25")], lambda size: size * 4.0),
        ([("BinaryOp", "0=8 1=1 2=1.0")], lambda _: None),  # a quotient is a value of its own
        ([("Reduction", "0=4 1=0 -23303=1,0 5=1")], lambda size: size.max(0)),
        ([("Pooling", "0=1 4=1")], lambda size: size.mean((1, 2))),
        ([("Interp", "0=1 1=2.0 2=2.0")], lambda size: size.repeat(2, 1).repeat(2, 2)),
        ([("Reshape", "0=-1"), ("BinaryOp", "0=2 1=1 2=-3.0")], lambda size: 3.0 * size.ravel()),
        ([("Crop", "0=1 1=1 2=1 3=3 4=2 5=3")], lambda size: size[1:, 1:, 1:4]),
        ([("ELU", "0=0.5")], lambda size: size),
        ([("Swish", ""), ("GELU", "")], lambda size: size),
        ([("GLU", "0=0")], lambda size: size[:2]),
        ([("UnaryOp", "0=14")], np.arctan),
        ([("Power", "0=1.0 1=-2.0 2=0.0")], lambda size: 2.0 * size),
        ([("Power", "0=1.0 1=1.0 2=0.5")], lambda _: None),
        ([("Exp", "")], lambda _: None),  # a value of its own
    ],
    ids=(
        "product permuted rectified negative clipped limited divided divisor largest pooled resized "
        "multiplied cropped exponential gated halved angle power shifted another"
    ).split(),
)
def test_the_unit_of_a_product_is_the_value(
    operator: str, layers: list[tuple[str, str]], expected: object, tmp_path: Path
) -> None:
    net = Network()
    blob = product(net, operator)
    for i, (kind, params) in enumerate(layers):
        blob = net.layer(kind, f"step{i}", [blob], params=params)
    gates, values = followed(net, tmp_path)
    right = expected(np.abs(values["value"].array))  # type: ignore[operator]
    unit = gates.unit(blob, whole=True)
    assert (unit is None) == (right is None)
    if right is not None:
        np.testing.assert_allclose(unit, right, rtol=1e-6)


def test_beside_a_product_concat_has_no_unit(tmp_path: Path) -> None:
    net = Network()
    blob = product(net)
    other = net.layer("MemoryData", "other", params="0=5 1=3 2=2", weights=[np.ones((2, 3, 5))])
    net.layer("Concat", "both", [blob, other], ["out0"], params="0=0")
    gates, values = followed(net, tmp_path)
    unit = gates.unit("out0", whole=True)
    assert unit is not None
    np.testing.assert_allclose(unit[:4], np.abs(values["value"].array), rtol=1e-6)
    assert not unit[4:].any()


def test_a_gate_for_each_channel_and_one_behind_another(tmp_path: Path) -> None:
    net = Network()
    once, again = net.split(product(net), 2)
    net.layer("Pooling", "mean", [again], params="0=1 4=1")
    net.layer("Sigmoid", "second", ["mean"])
    net.layer("Reshape", "channels", ["second"], params="0=1 1=1 2=4")
    net.layer("BinaryOp", "twice", [once, "channels"], ["out0"], params="0=2")
    gates, values = followed(net, tmp_path)
    size, gate, second = (np.abs(values[name].array) for name in ("value", "gate", "channels"))
    unit = gates.unit("out0", whole=True)
    np.testing.assert_allclose(unit, size * gate + size * second, rtol=1e-5)


def test_probabilities_alone_are_no_gate(tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0", params=f"0={SHAPE[2]} 1={SHAPE[1]} 2={SHAPE[0]}")
    a, b = net.split("in0", 2)
    net.layer(
        "BinaryOp", "both", [net.layer("Sigmoid", "p", [a]), net.layer("TanH", "q", [b])], params="0=2"
    )
    gates, _ = followed(net, tmp_path)
    assert gates.layers == set()
    assert gates.unit("both", whole=False) is None


@pytest.mark.parametrize("kind", ["Swish", "HardSwish", "GELU", "Mish"])
def test_what_gates_its_own_input_has_the_unit_of_that(kind: str, tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0", params=f"0={SHAPE[2]} 1={SHAPE[1]} 2={SHAPE[0]}")
    net.layer("ReLU", "relu", [net.layer(kind, "gated", ["in0"])], ["out0"])
    gates, values = followed(net, tmp_path)
    for blob in ("gated", "out0"):
        np.testing.assert_allclose(gates.unit(blob, whole=True), np.abs(values["in0"].array), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, -1])
def test_what_gates_one_half_of_its_input_has_the_unit_of_the_other(axis: int, tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0")
    net.layer("GLU", "out0", ["in0"], params=f"0={axis}")
    values = np.random.RandomState(0).normal(0, 1, (4, 3, 6)).astype(np.float32)
    gates, _ = followed(net, tmp_path, values)
    for whole in (True, False):
        unit = gates.unit("out0", whole)
        np.testing.assert_array_equal(unit, np.abs(np.split(values, 2, axis)[0]))


def test_a_layer_that_failed_has_no_unit() -> None:
    graph = graphs.network("GLU one in0 out0 0=4")
    natures = Natures(graph, None, lambda *_: {}, lambda _: VALUES, lambda _: 1.0)
    natures.follow(graph.names["one"], {"in0": Blob.of(VALUES)})
    half = np.zeros(VALUES.shape, np.float32)
    assert natures.scale("out0", half, Tolerance(), whole=True) == 0.0


def test_a_sum_behind_halves_that_are_shut_has_a_unit(tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0")
    net.layer("GLU", "shut", ["in0"], params="0=1")
    net.layer("InnerProduct", "out0", ["shut"], params="0=2 1=0 2=8", weights=[np.ones(8)])
    values = np.random.RandomState(0).normal(0, 1, (3, 8)).astype(np.float32)
    assert followed(net, tmp_path, values)[0].unit("out0", whole=False) is None
    values[:, 4:] = -12.0
    unit = followed(net, tmp_path, values)[0].unit("out0", whole=False)
    assert unit is not None
    assert unit.min() > 0.1


@pytest.mark.parametrize("kind", ["Swish", "Mish"])
def test_a_sum_of_what_gates_itself_and_is_shut_has_a_unit(kind: str, tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0")
    net.layer(kind, "shut", ["in0"])
    net.layer("InnerProduct", "out0", ["shut"], params="0=2 1=0 2=16", weights=[np.ones(16)])
    values = np.random.RandomState(0).normal(0, 1, (3, 8)).astype(np.float32)
    assert followed(net, tmp_path, values)[0].unit("out0", whole=False) is None
    unit = followed(net, tmp_path, -12.0 - np.abs(values))[0].unit("out0", whole=False)
    assert unit is not None
    assert unit.min() > 1.0


def test_a_value_that_is_added_to_itself_counts_twice(tmp_path: Path) -> None:
    net = Network()
    blob = product(net)
    net.layer("BinaryOp", "sum", [blob, blob], ["out0"])
    gates, values = followed(net, tmp_path)
    right = 2.0 * np.abs(values["value"].array)
    np.testing.assert_allclose(gates.unit("out0", whole=True), right, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "params", "times"),
    [
        ("BinaryOp", "0=0", 2.0),
        ("BinaryOp", "0=1", 2.0),
        ("BinaryOp", "0=4", 1.0),
        ("BinaryOp", "0=5", 1.0),
        ("Eltwise", "0=1", 2.0),
        ("Eltwise", "0=1 -23301=2,0.5,-3.0", 3.5),
        ("Eltwise", "0=2", 1.0),
    ],
    ids=[
        "sum",
        "difference",
        "larger",
        "smaller",
        "sum in Eltwise",
        "weighted sum",
        "largest in Eltwise",
    ],
)
@pytest.mark.parametrize("both", [True, False])
def test_where_values_meet_the_unit_is_that_of_all(
    kind: str, params: str, times: float, both: bool, tmp_path: Path
) -> None:
    net = Network()
    one, other = net.split(product(net), 2)
    other = net.layer("ReLU" if both else "Exp", "other", [other])
    net.layer(kind, "met", [one, other], ["out0"], params)
    gates, values = followed(net, tmp_path)
    unit = gates.unit("out0", whole=True)
    assert (unit is not None) == both
    if unit is not None:
        np.testing.assert_allclose(unit, times * np.abs(values["value"].array), rtol=1e-6)


NOTHING = np.full(SHAPE, -11.5, np.float32)


def heatmap(net: Network) -> str:
    net.layer("Input", "in0", params=f"0={SHAPE[2]} 1={SHAPE[1]} 2={SHAPE[0]}")
    return net.layer("Sigmoid", "heat", ["in0"])


def test_a_sum_of_nothing_has_the_unit_of_what_could_be_found(tmp_path: Path) -> None:
    """By channel: a mean, a difference that is 0 for equal values, and weights of 10; a bias is none."""
    net = Network()
    weights = np.zeros((3, 4, 1, 1))
    weights[0], weights[1], weights[2] = 0.25, [[[1.0]], [[-1.0]], [[1.0]], [[-1.0]]], 2.5
    params = "0=3 1=1 5=1 6=12"
    blob = net.layer("Convolution", "c", [heatmap(net)], params=params, weights=[weights, [0, 7, 0]])
    gates, values = followed(net, tmp_path, NOTHING)
    unit = gates.unit(blob, whole=True)
    assert unit is not None
    assert unit.shape == values[blob].shape
    np.testing.assert_allclose(unit[:, 0, 0], [1.0, 4.0, 10.0], rtol=1e-6)
    assert (unit == unit[:, :1, :1]).all()


@pytest.mark.parametrize("found", [1e-3, 0.5])
def test_a_sum_of_what_was_found_has_no_unit(tmp_path: Path, found: float) -> None:
    net = Network()
    net.layer("Reduction", "count", [heatmap(net)], ["out0"], "0=0 1=1")
    values = NOTHING.copy()
    values[0, 0, 0] = np.log(found / (1 - found))
    gates, _ = followed(net, tmp_path, values)
    assert gates.unit("out0", whole=True) is None


@pytest.mark.parametrize(
    ("kind", "params", "weights", "most"),
    [
        ("Scale", "0=4", [np.float32([1, 2, -3, 255])], [1, 2, 3, 255]),
        ("BatchNorm", "0=4", [np.full(4, 0.5), np.ones(4), np.full(4, 0.25), np.ones(4)], [1.0] * 4),
        ("Reduction", "0=0 1=0 -23303=2,1,2 4=0 5=1", [], [15.0] * 4),
        ("Reduction", "0=8 1=0 -23303=2,1,2 4=0 5=1", [], [15.0**0.5] * 4),
        pytest.param(
            *("RMSNorm", "0=5 1=1.0 2=0", [], [0.5**0.5] * 4),
            marks=pytest.mark.since_ncnn("1.0.20240820", "it does not know the operator"),
        ),
        ("LRN", "0=0 1=1 2=3.0 3=0.5 4=1.0", [], [0.5] * 4),
    ],
)
def test_sums_in_other_layers(
    tmp_path: Path, kind: str, params: str, weights: list[object], most: list[float]
) -> None:
    net = Network()
    blob = net.layer(kind, "sum", [heatmap(net)], params=params, weights=weights, flagged=False)
    gates, _ = followed(net, tmp_path, NOTHING)
    unit = gates.unit(blob, whole=True)
    assert unit is not None
    np.testing.assert_allclose(unit.reshape(4, -1)[:, 0], most, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "params"), [("MatMul", ""), ("Einsum", "-23300=9,105,107,44,107,106,45,62,105,106")]
)
def test_a_product_with_a_constant_matrix_is_a_sum(tmp_path: Path, kind: str, params: str) -> None:
    net = Network()
    net.layer("Input", "in0", params="0=4 1=3")
    net.layer("Sigmoid", "heat", ["in0"])
    weights = np.diag([1.0, 2.0, -3.0, 0.5])
    net.layer("MemoryData", "weights", params="0=4 1=4", weights=[weights], flagged=False)
    net.layer(kind, "sum", ["heat", "weights"], ["out0"], params)
    gates, _ = followed(net, tmp_path, NOTHING[0, :, :4])
    unit = gates.unit("out0", whole=True)
    assert unit is not None
    np.testing.assert_allclose(unit, [[1.0, 2.0, 3.0, 0.5]] * 3, rtol=1e-4)


def test_what_windows_laid_back_add_up_is_a_sum(tmp_path: Path) -> None:
    net = Network()
    net.layer("Unfold", "windows", [heatmap(net)], params="1=3 4=1")
    net.layer("Fold", "sum", ["windows"], ["out0"], f"1=3 4=1 20={SHAPE[2]} 21={SHAPE[1]}")
    gates, _ = followed(net, tmp_path, NOTHING)
    unit = gates.unit("out0", whole=True)
    assert unit is not None
    assert unit.shape == SHAPE
    np.testing.assert_allclose(unit, 9.0, rtol=1e-4)


def test_a_sum_is_followed_through_one_more(tmp_path: Path) -> None:
    """Layers for each channel do not count."""
    net = Network()
    mean = {"params": "0=4 1=1 5=0 6=16", "weights": [np.full((4, 4, 1, 1), 0.25)]}
    blur = {"params": "0=4 1=3 4=1 5=0 6=36 7=4", "weights": [np.full((4, 1, 3, 3), 1 / 9)]}
    x = net.layer("Convolution", "first", [heatmap(net)], **mean)
    x = net.layer("ReLU", "relu", [net.layer("ConvolutionDepthWise", "blur", [x], **blur)])
    x, other = net.split(net.layer("Convolution", "second", [x], **mean), 2)
    net.layer("Noop", "copy", [x], ["out0"])
    net.layer("Convolution", "third", [other], ["out1"], **mean)
    gates, _ = followed(net, tmp_path, NOTHING)
    unit = gates.unit("out0", whole=True)
    assert unit is not None
    assert 0.2 < unit.min() <= unit.max() <= 1.0
    assert gates.unit("out1", whole=True) is None


@pytest.mark.parametrize(("kind", "has_unit"), [("Sigmoid", True), ("Softmax", False)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_sum_has_a_unit_but_not_one_of_shares(
    tmp_path: Path, kind: str, has_unit: bool, weighted: bool
) -> None:
    """As a masked spectrum is decoded; what an attention adds up of 20,000 places is ordinary."""
    places = 20_000
    net = Network()
    net.layer("Input", "in0", params=f"0={places}")
    blob = net.layer(kind, "gate", ["in0"])
    if weighted:
        values = [np.full(places, 7.0)]
        net.layer("MemoryData", "values", params=f"0={places}", weights=values, flagged=False)
        blob = net.layer("BinaryOp", "product", [blob, "values"], params="0=2")
    net.layer("Reduction", "sum", [blob], ["out0"], "0=0 1=1")
    gates, found = followed(net, tmp_path, np.full(places, -11.5, np.float32))
    assert found["gate"].array.max() < 1e-4
    unit = gates.unit("out0", whole=True)
    assert (unit is not None) is has_unit
    if unit is not None:
        np.testing.assert_allclose(unit, [(7.0 if weighted else 1.0) * places], rtol=1e-4)


def test_a_softplus_has_the_unit_of_one(tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0", params=f"0={SHAPE[2]} 1={SHAPE[1]} 2={SHAPE[0]}")
    net.layer("Softplus", "positive", ["in0"], ["out0"])
    gates, _ = followed(net, tmp_path)
    np.testing.assert_array_equal(gates.unit("out0", whole=True), np.ones(SHAPE, np.float32))


@pytest.mark.parametrize(
    ("alpha", "added", "has_one"), [(1.0, 1.0, True), (0.5, 1.0, False), (1.0, 2.0, False)]
)
def test_an_elu_and_1_have_the_unit_of_one(
    alpha: float, added: float, has_one: bool, tmp_path: Path
) -> None:
    """Others do not level off at 0."""
    net = Network()
    net.layer("Input", "in0", params=f"0={SHAPE[2]} 1={SHAPE[1]} 2={SHAPE[0]}")
    net.layer("ELU", "elu", ["in0"], params=f"0={alpha}")
    net.layer("BinaryOp", "positive", ["elu"], ["out0"], f"0=0 1=1 2={added}")
    unit = followed(net, tmp_path)[0].unit("out0", whole=True)
    assert (unit is not None) is has_one
    assert unit is None or (unit == 1.0).all()


def test_a_norm_of_one_number_has_the_unit_of_its_factor(tmp_path: Path) -> None:
    net = Network()
    net.layer("Input", "in0", params="0=40 1=40 2=3")
    factors, offsets = np.array([1.0, -3.0, 2.0]), np.ones(3)
    params = {"params": "0=3 1=1e-6 2=1", "weights": [factors, offsets], "flagged": False}
    net.layer("ReLU", "relu", [net.layer("InstanceNorm", "norm", ["in0"], **params)], ["out0"])
    values = np.full((3, 40, 40), 0.3, np.float32)
    values[2, :20] = 0.7
    gates, _ = followed(net, tmp_path, values)
    for blob in ("norm", "out0"):
        unit = gates.unit(blob, whole=True)
        assert unit is not None
        np.testing.assert_allclose(GATE_UNIT * unit[:2, 0, 0], [1.0, 3.0], rtol=0.1)
        assert not unit[2].any(), "an ordinary channel has none"
