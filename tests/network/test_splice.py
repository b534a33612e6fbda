"""Layers of an int8 model put back in floats: what ncnn2int8 would have written without them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import calibrated
import numpy as np
import pytest
from calibrated import Model

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts
from pytest_ncnn_parity.network.versions.splice import LayerBytes, quantized_layer, spliced
from pytest_ncnn_parity.network.weight_tags import FP16


def same(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def number(models: Counterparts, name: str) -> int:
    return next(layer.number for layer in models.here.layers if layer.name == name)


@pytest.mark.parametrize("make", [calibrated.mobile, calibrated.plain])
def test_it_is_the_file_of_a_table_without_these_layers(
    make: Callable[..., Model], tmp_path: Path
) -> None:
    model = make(0, 2, 8, 12)
    scales = {layer.name: 20.0 + n for n, layer in enumerate(model.quantizable)}
    floats = model.write(tmp_path / "net")
    int8 = model.write_int8(tmp_path / "int8", scales)
    models = counterparts(
        param.read(str(tmp_path / "net.param")), param.read(str(tmp_path / "int8.param"))
    )
    weights = LayerBytes((tmp_path / "int8.bin").read_bytes(), int8)
    own = LayerBytes((tmp_path / "net.bin").read_bytes(), floats)
    at = {q.name: n for n, one in models.of.items() if (q := quantized_layer(one)) is not None}
    assert at.keys() == {layer.name for layer in model.quantizable}
    names = list(at)
    for left in ([], names[:1], names[1:2], names[2:5], names[-2:], names):
        model.write_int8(tmp_path / "wanted", scales, in_float=left)
        text, content = spliced(models, weights, own, [at[name] for name in left])
        assert same(text) == same((tmp_path / "wanted.param").read_text("utf-8")), left
        assert content == (tmp_path / "wanted.bin").read_bytes(), left


FLOATS = """\
7767517
6 7
Input in0 0 1 in0 0=4 1=4 2=2
Split s 1 2 in0 x y
Convolution a 1 1 x a 0=2 1=1 6=4
Convolution b 1 1 y b 0=2 1=1 6=4
Concat c 2 1 a b c 0=0
Convolution d 1 1 c out0 0=2 1=1 6=8
"""
INT8 = FLOATS.replace(" a 0=2 1=1 6=4", " a 0=2 1=1 6=4 8=102").replace(
    " b 0=2 1=1 6=4", " b 0=2 1=1 6=4 8=102"
)
INT8 = INT8.replace("6=8", "6=8 8=2")


@pytest.mark.parametrize(
    ("left", "terms"),
    [
        ("d", {"a": "2", "b": "2", "d": None}),  # what reads floats is given floats
        ("a", {"a": None, "b": "2", "d": "2"}),  # a Concat takes floats or int8, not both
    ],
)
def test_int8_that_cannot_be_handed_on_is_not_given(left: str, terms: dict[str, str | None]) -> None:
    models = counterparts(param.parse(FLOATS, "net.param"), param.parse(INT8, "int8.param"))
    content = bytes(range(6 * 12))
    spans = [(12 * n, 12 * n + 12) for n in range(6)]
    weights = LayerBytes(content, spans)
    text, written = spliced(models, weights, weights, [number(models, left)])
    layers = {layer.name: layer for layer in param.parse(text, "new.param").layers}
    assert {name: layers[name].params.get("8") for name in terms} == terms
    dropped = sum(term is not None and name in "ab" for name, term in terms.items())
    assert len(written) == len(content) - 4 * dropped


def test_a_no_break_space_is_part_of_a_name() -> None:
    name = "a\u00a0b"
    models = counterparts(
        param.parse(FLOATS.replace(" a 1 1", f" {name} 1 1"), "net.param"),
        param.parse(INT8.replace(" a 1 1", f" {name} 1 1"), "int8.param"),
    )
    weights = LayerBytes(bytes(6 * 12), [(12 * n, 12 * n + 12) for n in range(6)])
    text, _ = spliced(models, weights, weights, [number(models, "d")])
    (line,) = (line for line in text.splitlines() if f" {name} " in line)
    assert " 8=2" in line


def test_what_reads_several_values_keeps_each_in_its_place() -> None:
    lines = "Input in0 0 1 in0\nSplit s 1 3 in0 q k v\nMultiHeadAttention m 3 1 q k v out0 0=8 1=2 2=64"
    floats = f"7767517\n3 5\n{lines}\n"
    int8 = floats.replace("2=64", "2=64 18=2").replace("q k v", "a b c").replace(" m ", " other ")
    models = counterparts(param.parse(floats, "net.param"), param.parse(int8, "int8.param"))
    weights = LayerBytes(bytes(12), [(0, 0), (0, 0), (0, 12)])
    own = LayerBytes(bytes(40), [(0, 0), (0, 0), (0, 40)])
    text, content = spliced(models, weights, own, [number(models, "m")])
    assert same(text)[-1] == "MultiHeadAttention m 3 1 a b c out0 0=8 1=2 2=64".split()
    assert len(content) == 40


@pytest.mark.parametrize("count", [3, 4])
def test_weights_in_floats_are_stored_in_fp16(count: int) -> None:
    model = param.parse(
        f"7767517\n2 2\nInput in0 0 1 a\nInnerProduct f 1 1 a out0 0=1 2={count}\n", "net.param"
    )
    values = np.array([0.1, -3e-5, 2.0, 1.0][:count], np.float32)
    bias = np.array([0.1], np.float32).tobytes()

    def stored(tag: int, weights: np.ndarray) -> bytes:
        content = struct.pack("<I", tag) + weights.tobytes()
        content += bytes(-len(content) % 4) + bias
        return LayerBytes(content, [(0, 0), (0, len(content))]).in_half(model.layers[1])

    wanted = struct.pack("<I", FP16) + calibrated.in_half(values).tobytes()
    wanted += bytes(-len(wanted) % 4) + bias
    assert stored(0, values) == wanted
    assert stored(FP16, values.astype(np.float16)) == wanted  # by way of fp32, as ncnn reads them
    large = values * np.float32(1e6)
    assert stored(0, large) == struct.pack("<I", 0) + large.tobytes() + bias
    assert stored(7, values) == struct.pack("<I", 7) + values.tobytes() + bias  # of another kind
