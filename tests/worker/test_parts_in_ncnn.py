"""Parts as ncnn itself carries them: what its operators do to values, they do to labels."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.compare.judging import judge
from pytest_ncnn_parity.compare.nature import Nature
from pytest_ncnn_parity.compare.tolerance import DEFAULTS
from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parts import Parts
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made

SIDE, CLASSES = 10, 3


def head(net: Network) -> None:
    """Boxes in pixels from one convolution, scores from another and a Sigmoid."""
    rng = np.random.RandomState(0)
    net.layer("Input", "in0", params=f"0={SIDE} 1={SIDE} 2=8")
    one, other = net.split("in0", 2)
    for blob, name, out, size in ((one, "boxes", 4, 80.0), (other, "logits", CLASSES, 0.5)):
        weights = [rng.normal(0, size, (out, 8)), rng.normal(0, size, out)]
        net.layer("Convolution", name, [blob], params=f"0={out} 1=1 5=1 6={8 * out}", weights=weights)
    net.layer("Sigmoid", "scores", ["logits"])


def run(net: Network, folder: Path) -> tuple[Parts, Made]:
    """The network run layer by layer on the CPU, with its parts."""
    net.write(folder / "net")
    graph = param.read(str(folder / "net.param"))
    model = Model(str(folder / "net.param"), str(folder / "net.bin"))
    loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), model, graph.masks, 1, lambda _: None)
    values = {"in0": Blob.of(np.random.RandomState(1).normal(0, 1, (8, SIDE, SIDE)).astype(np.float32))}

    def on_labels(layer: Layer) -> Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]:
        def copy(labels: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            blobs = {**values, **{blob: Blob.of(array) for blob, array in labels.items()}}
            return {blob: value.array for blob, value in loaded.run_layer(layer, blobs).items()}

        return copy

    parts = Parts(graph)
    for layer in graph.layers:
        if layer.type != "Input":
            values.update(loaded.run_layer(layer, values))
        shapes = {blob: values[blob].array.shape for blob in (*layer.inputs, *layer.outputs)}
        parts.follow(layer, shapes, on_labels(layer))
    return parts, values


def unit_of_each(nature: Nature, shape: tuple[int, ...]) -> np.ndarray:
    """The natural scale of each element."""
    labels = np.broadcast_to(nature.parts, shape)
    return np.vectorize(nature.units.get)(labels)


@pytest.mark.parametrize(
    ("lines", "axis"),
    [
        ([("Reshape", f"0={SIDE * SIDE} 1=7")], 0),
        ([("Reshape", f"0={SIDE * SIDE} 1=7"), ("Permute", "0=1")], 1),
        ([("Permute", "0=3"), ("Reshape", "0=7 1=-1")], 1),
        ([("Flatten", ""), ("Reshape", f"0={SIDE} 1={SIDE} 2=7")], 0),
        ([("Padding", "0=1 1=1 2=1 3=1 4=1"), ("Crop", "0=1 1=1 2=0 3=5 4=6 5=7")], 0),
        ([("Split", ""), ("Interp", "0=1 3=10 4=10")], None),
    ],
    ids=["rows", "columns", "permuted", "flattened", "padded and cropped", "resized"],
)
def test_ncnn_carries_labels_as_it_carries_values(
    tmp_path: Path, lines: list[tuple[str, str]], axis: int | None
) -> None:
    net = Network()
    head(net)
    blob = net.layer("Concat", "cat", ["boxes", "scores"], params="0=0")
    for i, (kind, params) in enumerate(lines):
        blob = net.layer(kind, f"step{i}", [blob], params=params)
    parts, values = run(net, tmp_path)
    shape = values[blob].array.shape
    nature = parts.nature(blob, len(shape))
    if axis is None:  # Interp makes values of its own
        assert nature.parts is None
        return
    expected = np.zeros(7)
    expected[4:] = 1.0
    rows = unit_of_each(nature, shape).swapaxes(0, axis).reshape(7, -1)
    assert (rows == expected[:, None]).all()
    assert nature.parts is not None
    assert nature.parts.size == 7


def test_a_detector_of_two_strides_has_four_parts(tmp_path: Path) -> None:
    net = Network()
    head(net)
    near, far = net.split("boxes", 2)
    sure, unsure = net.split("scores", 2)
    pools = [
        net.layer("Pooling", f"pool{i}", [b], params="0=1 1=2 2=2") for i, b in enumerate((far, unsure))
    ]
    strides = []
    for i, (boxes, scores) in enumerate(((near, sure), pools)):
        cat = net.layer("Concat", f"cat{i}", [boxes, scores], params="0=0")
        strides.append(net.layer("Reshape", f"flat{i}", [cat], params="0=-1 1=7"))
    net.layer("Concat", "out", strides, params="0=1")
    parts, values = run(net, tmp_path)
    reference = values["out"].array
    nature = parts.nature("out", 2)
    assert reference.shape == (7, 125)
    assert len(nature.units) == 4
    units = unit_of_each(nature, reference.shape)
    assert (units[:4] == 0).all()
    assert (units[4:] == 1).all()
    tolerance = DEFAULTS["fp16"].output
    for row in range(7):
        candidate = reference.copy()
        candidate[row, 3] += 0.1 * (1.0 if row >= 4 else np.abs(reference[row]).max())
        assert judge(candidate, reference, tolerance, nature, whole=True).agrees is False, row
    assert judge(reference * np.float32(1.01), reference, tolerance, nature, whole=True).agrees


def test_scores_alone_are_one_part_again(tmp_path: Path) -> None:
    net = Network()
    head(net)
    net.layer("Concat", "cat", ["boxes", "scores"], params="0=0")
    net.layer("Slice", "cut", ["cat"], ["out0", "out1"], params="-23300=2,4,-233 1=0")
    parts, _ = run(net, tmp_path)
    assert set(parts.nature("out0", 3).units.values()) == {0.0}
    assert set(parts.nature("out1", 3).units.values()) == {1.0}
