"""Weights in int8 against those in floats: rounding is no fault, another scale or weight is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import calibrated
import numpy as np
import pytest
import weight_blocks
from calibrated import Wrong
from quantized import INT8_WEIGHTS
from written_graphs import fed

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.int8_tensors import blocks
from pytest_ncnn_parity.worker.weights.block_weights import BlockWeights
from pytest_ncnn_parity.worker.weights.int8_weights import (
    MOST_SPARE,
    Int8Weights,
    biases_off,
    full_scale,
    least_spare,
    read,
)
from pytest_ncnn_parity.worker.weights.matrices import read as read_quantized
from pytest_ncnn_parity.worker.weights.stored import StoredLayer, read_tensors

ONE = np.ones(1)  # nothing is folded


def test_outputs_of_a_group_share_its_scale() -> None:
    """The smaller output wastes steps that no other scale of its group could save."""
    integers = np.array([[127, 3, 9, 8], [30, -20, 9, 5], [64, 9, 1, 2], [10, 3, 3, 1]], np.int8)
    grouped = Int8Weights(integers, np.array([5.0, 5.0, 9.0, 9.0], np.float32))
    assert np.allclose(grouped.spare(127), [1.0, 1.0, 127 / 64, 127 / 64])
    of_their_own = Int8Weights(integers, np.array([5.0, 6.0, 9.0, 8.0], np.float32))
    assert np.allclose(of_their_own.spare(127), [1.0, 127 / 30, 127 / 64, 12.7])


def test_a_bias_may_be_corrected_by_what_rounding_shifts_an_output_by() -> None:
    scales, bias = np.array([50.0, 50.0, np.inf], np.float32), np.array([1.0, -2.0, 3.0], np.float32)
    rounding = Int8Weights(np.ones((3, 16), np.int8), scales).rounding
    most = 0.5 / 50.0 * 4.0 * 3.0  # of 16 weights, for inputs of up to 3
    assert list(biases_off(bias, bias - [0.9 * most, 0.0, 0.0], rounding, 3.0)) == [0.0, 0.0, 0.0]
    off = biases_off(bias, bias - [1.1 * most, 0.5, 0.01], rounding, 3.0)
    assert off == pytest.approx([1.1 * most, 0.5, 0.01], rel=1e-5)
    none = np.zeros(0)
    assert list(biases_off(none, none, rounding, 3.0)) == []
    assert biases_off(none, np.array([0.0, 5.0, 0.0]), rounding, 3.0)[1] == 5.0
    of_all = biases_off(np.array([1.0, 2.0]), np.array([1.0 - 0.9 * most, 2.5]), rounding, 3.0)
    assert list(of_all) == [0.0, 0.5]  # not one for each row: the coarsest row's may be all of theirs


@pytest.mark.parametrize("tagged", [True, False])
def test_weights_in_blocks_may_have_a_word_in_front_that_says_so(tmp_path: Path, tagged: bool) -> None:
    integers = np.array([[-7, 7, 0, -1, 5], [1, 2, 3, 4, -5]])
    packed = weight_blocks.Blocks(integers, np.ones((2, 1)), np.ones(5), 4).packed()
    assert packed[:3] == bytes([0x79, 0xF0, 0x05])
    scales = np.array([0.5, np.inf], np.float32)
    content = (INT8_WEIGHTS.tobytes() if tagged else b"") + packed + scales.tobytes()
    (tmp_path / "net.bin").write_bytes(b"0123" + content + b"more")
    layer = fed("Gemm gemm 1 1 in0 out0 3=1 5=1 8=2 9=5 18=400").layers[1]
    source = StoredLayer(layer, str(tmp_path / "net.bin"), (4, 4 + len(content)))
    quantized = read_quantized(source)
    assert quantized is not None
    assert quantized.not_finite == 1
    assert list(quantized.scales["B"]) == [0.5, np.inf]
    packing = blocks(layer)
    assert packing is not None
    packed = quantized.tensors[0].reshape(2, -1)
    weights = BlockWeights(packed, 5, np.ones((2, 1)), np.ones(5), packing)
    assert weights.integers(slice(0, 2)).tolist() == integers.tolist()
    assert read_quantized(StoredLayer(layer, source.path, (4, 3 + len(content)))) is None


@pytest.mark.parametrize("name", ["stem", "expand0", "depthwise0", "project1", "classes"])
@pytest.mark.parametrize("requantized", [True, False])
def test_they_are_read_from_the_file_and_are_rounded(
    name: str, requantized: bool, tmp_path: Path
) -> None:
    model = calibrated.mobile(3, 2, 6, 12)
    scales = {layer.name: 20.0 for layer in model.quantizable}
    spans = model.write_int8(tmp_path / "int8", scales, requantized=requantized)
    graph = param.read(str(tmp_path / "int8.param"))
    layer = next(one for one in graph.layers if one.name == name)
    weights = read(str(tmp_path / "int8.bin"), spans[layer.number], layer)
    assert weights is not None
    (own,) = (one for one in model.layers if one.name == name)
    floats = own.weights.reshape(len(own.weights), -1)
    steps = weights.against(floats, ONE)
    assert steps.outputs == ()
    assert steps.largest <= 0.501
    gains = np.linspace(-2.05, 3.0, len(floats)).reshape(-1, 1)
    assert weights.against(floats * gains, ONE).outputs
    assert weights.against(floats * gains, 1.0 / gains.ravel()).outputs == ()
    assert weights.against(floats * gains, None).outputs == ()
    assert weights.spare(full_scale(layer)) == pytest.approx(1.0)


def test_another_weight_and_another_scale_are_seen() -> None:
    model = calibrated.mobile(0, 1, 8, 12)
    (layer,) = (one for one in model.layers if one.name == "expand0")
    floats = layer.weights.reshape(len(layer.weights), -1)
    for what, outputs in (("stored", len(floats)), ("channel", 1)):
        integers, scales = calibrated.quantized(layer, Wrong((what,)))
        steps = Int8Weights(integers.reshape(floats.shape), scales).against(floats, ONE)
        assert len(steps.outputs) == outputs
        assert steps.factor == pytest.approx(4.0, rel=0.05)
    integers, scales = calibrated.quantized(layer, Wrong(("weights",)))
    steps = Int8Weights(integers.reshape(floats.shape), scales).against(floats, ONE)
    assert steps.outputs == ()  # those that are not clipped are right
    assert steps.clipped > 0.3


def test_weights_without_a_scale_are_not_clipped() -> None:
    """ncnn2int8 makes -127 of 0 * inf on x86."""
    floats = np.random.RandomState(0).normal(size=(8, 9))
    floats[2:4] = 0.0
    with np.errstate(divide="ignore"):
        scales = (63.0 / np.abs(floats).max(1)).astype(np.float32)
    integers = np.where(
        np.isinf(scales)[:, None], -127, np.rint(floats * np.nan_to_num(scales)[:, None])
    )
    weights = Int8Weights(integers.astype(np.int8), scales)
    steps = weights.against(floats, ONE)
    assert (steps.clipped, steps.outputs, steps.unscaled) == (0.0, (), ())
    assert weights.largest == 63
    alone = Int8Weights(weights.integers[2:4], weights.scales[2:4])
    assert (alone.largest, alone.against(floats[2:4], ONE).clipped) == (0, 0.0)


@pytest.mark.parametrize("end", [7, 8, 15, 31])
def test_one_scale_for_all_is_not_kept_to_fewer_bits_on_purpose(end: int) -> None:
    """All outputs end at the same number where they have the same scale, whichever it is."""
    integers = np.array([[end, 3, 1, 2], [5, -end, 3, 2], [1, 2, 3, -4]], np.int8)
    one = Int8Weights(integers, np.full(3, 0.5, np.float32))
    assert np.allclose(one.spare(127), 127 / end)


@pytest.mark.parametrize(
    ("how", "rounded"),
    [(np.rint, None), (np.floor, "down"), (np.ceil, "up"), (np.trunc, "towards 0")],
)
def test_weights_that_are_not_rounded_to_the_nearest(
    how: Callable[[Array], Array], rounded: str | None
) -> None:
    floats = np.random.RandomState(0).normal(0, 0.3, (8, 72)).astype(np.float32)
    scales = (127.0 / np.abs(floats).max(1)).astype(np.float32)

    def quantized(values: Array, scales: Array) -> Int8Weights:
        steps = how(values.astype(np.float64) * scales[:, None])
        return Int8Weights(np.clip(steps, -127, 127).astype(np.int8), scales)

    weights = quantized(floats, scales)
    steps = weights.against(floats, ONE)
    assert (steps.outputs, steps.rounded, steps.wrong) == ((), rounded, rounded is not None)
    assert (steps.against_nearest > 100) is steps.wrong
    halves = floats.astype(np.float16).astype(np.float32)  # half of what is nearer is not certain then
    assert weights.against(halves, ONE).rounded == rounded
    assert weights.against(floats, None).rounded is None  # where the factors are not known
    assert not quantized(floats[:1], scales[:1]).against(floats[:1], ONE).wrong  # too few to be certain


def test_a_quantizer_may_choose_for_each_weight() -> None:
    random = np.random.RandomState(0)
    floats = random.normal(0, 0.3, (8, 72)).astype(np.float32)
    scales = (127.0 / np.abs(floats).max(1)).astype(np.float32)
    wanted = floats.astype(np.float64) * scales[:, None]
    for least in (random.uniform(0, 1, wanted.shape), 0.9):  # at random, or down for most
        steps = np.floor(wanted) + (wanted - np.floor(wanted) > least)
        integers = np.clip(steps, -127, 127).astype(np.int8)
        assert not Int8Weights(integers, scales).against(floats, ONE).wrong


def test_tensors_beyond_the_end_of_a_file_are_empty(tmp_path: Path) -> None:
    """As where another version of ncnn lays out the last layer's weights otherwise."""
    path = tmp_path / "net.bin"
    path.write_bytes(bytes(4) + np.arange(6, dtype=np.float32).tobytes())
    (tagged, plain), at = read_tensors(str(path), 0, [(4, "tagged"), (2, "floats")])
    assert (tagged.tolist(), plain.tolist(), at) == ([0, 1, 2, 3], [4, 5], 28)
    (tagged, plain), at = read_tensors(str(path), 0, [(4, "tagged"), (3, "floats")])
    assert (tagged.tolist(), plain.tolist(), at) == ([0, 1, 2, 3], [], 20)


def test_what_a_file_in_fp16_lost_of_the_floats_is_no_fault() -> None:
    """The second output is subnormal in fp16, and 0 in ncnn's files."""
    floats = np.array([[0.3, -0.7, 0.11, 0.05], [3e-5, -2e-5, 1e-5, 2e-5]], np.float32)
    scales = (127.0 / np.abs(floats).max(1)).astype(np.float32)
    integers = np.rint(floats * scales[:, None]).astype(np.int8)
    weights = Int8Weights(integers, scales)
    halves = floats.astype(np.float16).astype(np.float32)
    halves[1] = 0.0
    assert weights.against(halves, ONE).outputs == ()
    halves[0, 1] = np.float16(-0.6)
    assert weights.against(halves, ONE).outputs == ()  # that of -127 may be clipped
    halves[0, 0] = np.float16(0.32)
    assert weights.against(halves, ONE).outputs == (0,)
    floats[1] = 0.0
    assert weights.against(floats, ONE).outputs == (1,)


def test_an_output_of_zeros_has_no_scale_and_no_fault() -> None:
    floats = np.array([[0.0, 0.0], [1.0, -0.5]], np.float32)
    integers = np.array([[0, 0], [127, -64]], np.int8)
    steps = Int8Weights(integers, np.array([np.inf, 127.0], np.float32)).against(floats, None)
    assert not steps.wrong


@pytest.mark.parametrize("scale", [np.inf, np.nan, 0.0])
def test_an_output_without_a_scale_is_0_in_floats_or_next_to_it(scale: float) -> None:
    floats = np.array([[0.25, -0.03], [1.0, -0.5]], np.float32)
    weights = Int8Weights(np.array([[0, 0], [127, -64]], np.int8), np.array([scale, 127.0], np.float32))
    steps = weights.against(floats, ONE)
    assert (steps.outputs, steps.unscaled, steps.wrong) == ((), (0,), True)
    assert steps.unscaled_largest == 0.25
    others = Int8Weights(np.array([[90, 0], [127, -64]], np.int8), weights.scales)
    assert (others.against(floats, ONE).outputs, others.against(floats, ONE).unscaled) == ((), (0,))
    assert weights.against(floats, np.array([-2.0, 1.0])).unscaled_largest == 0.5
    assert not weights.against(floats, np.array([0.0, 1.0])).wrong  # by what is folded into it
    assert not weights.against(floats, None).wrong  # which is not known
    next_to_nothing = np.array([[6e-5, 1e-42], [1.0, -0.5]], np.float32)  # 0 in ncnn's files in fp16
    assert not weights.against(next_to_nothing, ONE).wrong
    all_small = np.array([[6e-5, 1e-42], [6e-5, -3e-5]], np.float32)
    assert weights.against(all_small, ONE).unscaled == (0,)


def test_a_bias_that_is_computed_may_be_off_by_a_share_of_its_summands() -> None:
    off = biases_off(np.array([1.0, 1.0]), np.array([1.0, 1.05]), np.zeros(2), 3.0, np.array([1.0, 1e4]))
    assert list(off) == [0.0, 0.0]
    assert biases_off(np.ones(1), np.array([1.05]), np.zeros(1), 3.0, np.ones(1))[0] > 0.0


def by_scale(layer: calibrated.Layer, factor: float) -> Int8Weights:
    integers, scales = calibrated.quantized(layer, Wrong(("weights",), factor))
    return Int8Weights(integers.reshape(len(scales), -1), scales)


def test_scales_that_are_too_small_leave_steps_unused() -> None:
    for layer in calibrated.mobile(0, 1, 8, 12).quantizable:
        full = 31 if layer.six_bits else 127
        assert by_scale(layer, 0.25).spare(full) == pytest.approx(4.0, rel=0.04)
        assert (by_scale(layer, 0.5).spare(full) < MOST_SPARE).all()  # as ACIQ, or 7 bits, have it
        assert (by_scale(layer, 4.0).spare(full) == 1.0).all() or layer.six_bits


def test_outputs_that_all_end_at_fewer_bits_are_kept_to_them_on_purpose() -> None:
    integers = np.array([[31, 5, 3, 1], [9, -31, 1, 1]], np.int8)
    own = np.array([31.0, 40.0], np.float32)
    assert Int8Weights(integers, own).spare(127) == pytest.approx(1.0)
    assert Int8Weights(np.minimum(integers, 30), own).spare(127) == pytest.approx([127 / 30, 127 / 31])
    quartered = np.array([[32, 5, 3, 1], [9, -32, 1, 1]], np.int8)  # 127 / 4, rounded
    assert Int8Weights(quartered, own).spare(127) == pytest.approx(127 / 32)


def test_a_model_kept_to_fewer_bits_leaves_steps_everywhere() -> None:
    layer, scales = fed("InnerProduct f 1 1 in0 out0 0=1 2=4").layers[1], np.ones(1, np.float32)
    few, all_bits = (Int8Weights(np.array([[n, 1, 1, 1]], np.int8), scales) for n in (31, 127))
    assert least_spare([(layer, few), (layer, None)]) == pytest.approx(127 / 31)
    assert least_spare([(layer, few), (layer, all_bits)]) == 1.0
    assert least_spare([]) == 1.0


def test_outputs_that_are_dead_or_share_a_scale_leave_what_they_must() -> None:
    integers = np.array([[127, 5, 3, 1], [9, 0, 1, 1]], np.int8)
    own = np.array([127.0, 127.0 * 2.0], np.float32)
    assert Int8Weights(integers, own).spare(127) == pytest.approx([1.0, 127 / 9])
    dead = own * np.array([1.0, 1000.0], np.float32)
    assert (Int8Weights(integers, dead).spare(127) == 1.0).all()
    assert (Int8Weights(integers, np.full(2, 127.0, np.float32)).spare(127) == 1.0).all()
    assert (Int8Weights(integers[:, :3], own).spare(127) == 1.0).all()  # too few weights to say
    assert Int8Weights(integers, np.array([127.0, np.inf], np.float32)).spare(127)[1] == 1.0


@pytest.mark.parametrize(
    ("line", "full"),
    [
        ("Convolution c 1 1 in0 out0 0=1 1=3", 31),
        ("Convolution c 1 1 in0 out0 0=1 1=3 11=3 2=1 3=1", 31),
        ("Convolution c 1 1 in0 out0 0=1 1=3 11=1", 127),
        ("Convolution c 1 1 in0 out0 0=1 1=3 3=2", 127),
        ("Convolution c 1 1 in0 out0 0=1 1=3 2=2", 127),
        ("ConvolutionDepthWise c 1 1 in0 out0 0=1 1=3", 127),
    ],
)
def test_weights_of_3x3_kernels_are_kept_to_six_bits(line: str, full: int) -> None:
    assert full_scale(fed(line).layers[1]) == full
