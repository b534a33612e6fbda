"""Layers whose weights are the same are found, whatever they are called and wherever they stand."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calibrated import FP16_WEIGHTS
from conftest import EXAMPLES
from network import FP32_WEIGHTS, Network
from written_graphs import named, network

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts
from pytest_ncnn_parity.network.versions.weight_digests import digests, spans
from pytest_ncnn_parity.network.weight_tags import BF16, FP16, FP32_IN_OLD_FILES, INT8

INPUT = "Input in0 0 1 in0"
MODELS = sorted(path for path in EXAMPLES.rglob("*.param") if path.with_suffix(".bin").exists())


@pytest.mark.parametrize("path", MODELS, ids=[path.stem for path in MODELS])
def test_the_last_layer_ends_with_the_file(path: Path) -> None:
    content = path.with_suffix(".bin").read_bytes()
    found = spans(param.read(str(path)), content)
    assert max(end for _, end in found.values()) == len(content)


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("Convolution x 1 1 in0 a 0=4 1=3 5=1 6=108", 4 + 4 * 108 + 4 * 4),
        ("Convolution x 2 1 in0 in0 a 0=4 1=3 19=1 6=0", 0),
        ("Deconvolution x 1 1 in0 a 0=4 1=3 6=108 19=1", 4 + 4 * 108),
        ("InnerProduct x 1 1 in0 a 0=4 1=1 2=12", 4 + 4 * 12 + 4 * 4),
        ("BatchNorm x 1 1 in0 a 0=3", 4 * 12),
        ("Scale x 1 1 in0 a 0=3 1=1", 4 * 6),
        ("Scale x 2 1 in0 in0 a 0=-233", 0),
        ("LayerNorm x 1 1 in0 a 0=3", 4 * 6),
        ("RMSNorm x 1 1 in0 a 0=3 2=0", 0),
        ("GroupNorm x 1 1 in0 a 0=2 1=4", 4 * 8),
        ("MemoryData x 0 1 a 0=3 1=2", 4 * 6),
        ("MemoryData x 0 1 a 0=3 1=2 21=0", 4 + 4 * 6),
        ("Gemm x 1 1 in0 a 3=1 5=1 6=1 8=4 9=3 10=4", 4 + 4 * 12 + 4 + 4 * 4),
        ("Gemm x 2 1 in0 in0 a 3=1", 0),
        ("Padding x 1 1 in0 a 6=3", 4 * 3),
    ],
)
def test_what_a_layer_reads_follows_from_its_line(line: str, size: int) -> None:
    last = "Scale last 1 1 a out0 0=2"
    assert spans(network(INPUT, line, last), bytes(size + 8))[2] == (size, size + 8)


@pytest.mark.parametrize(
    ("tag", "size"), [(FP16, 12), (BF16, 12), (FP32_IN_OLD_FILES, 20), (INT8, 8), (7, 1032)]
)
def test_a_tag_says_how_long_weights_are(tag: int, size: int) -> None:
    """Five of them: of 16 or 8 bits, which fill whole words, in fp32, or behind a table."""
    graph = network(INPUT, "InnerProduct x 1 1 in0 out0 0=1 2=5")
    content = struct.pack("<I", tag) + bytes(size)
    assert spans(graph, content) == {1: (0, 4 + size)}
    assert spans(graph, content[:-1]) == {}


@pytest.mark.parametrize("unknown", ["my.Own x 1 1 in0 a", "InnerProduct x 1 1 in0 a 0=2 2=6 8=2"])
def test_behind_a_layer_that_is_not_known_nothing_is(unknown: str) -> None:
    assert spans(network(INPUT, unknown, "Scale last 1 1 a out0 0=2"), bytes(99)) == {}


def test_a_file_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    graph = network(INPUT, "Scale x 1 1 in0 out0 0=2")
    assert digests(graph, tmp_path / "none.bin") == {}
    (tmp_path / "empty.bin").write_bytes(b"")
    assert digests(graph, tmp_path / "empty.bin") == {}


@pytest.mark.parametrize("last", [-(2.0**-14), -(2.0**-14) * 1.01])
def test_weights_in_fp16_are_those_that_fp32_is_rounded_to(last: float, tmp_path: Path) -> None:
    """A half is rounded up or to even; what is subnormal becomes 0, if not in every file; and inf."""
    graph = network(INPUT, "InnerProduct x 1 1 in0 out0 0=1 2=5 1=1")
    bias = struct.pack("<f", 0.1)
    for name, stored in (
        ("exact", struct.pack("<I5f", 0, 1.0 + 2.0**-11, 1.5 * 2.0**-15, 65520.0, 0.1, last)),
        ("half", struct.pack("<I5H2x", FP16, 0x3C01, 0x0300, 0x7C00, 0x2E66, 0x8400)),
        ("flushed", struct.pack("<I5H2x", FP16, 0x3C01, 0, 0x7C00, 0x2E66, 0x8400)),
        ("even", struct.pack("<I5H2x", FP16, 0x3C00, 0, 0x7C00, 0x2E66, 0x8400)),
        ("off", struct.pack("<I5H2x", FP16, 0x3C02, 0, 0x7C00, 0x2E66, 0x8400)),
    ):
        (tmp_path / name).write_bytes(stored + bias)
    exact, half, flushed, even, off = (
        digests(graph, tmp_path / one)[1] for one in ("exact", "half", "flushed", "even", "off")
    )
    assert exact.is_same(half) is exact.is_same(flushed) is half.is_same(exact) is (last == -(2.0**-14))
    assert exact.is_same(even) is even.is_same(exact) is (last == -(2.0**-14))
    assert half.is_same(flushed)
    assert not half.is_same(even)
    assert not exact.is_same(off)
    assert not exact.is_same(replace(exact, exact=b""))
    (tmp_path / "other").write_bytes((tmp_path / "half").read_bytes()[:-4] + struct.pack("<f", 0.2))
    assert not exact.is_same(digests(graph, tmp_path / "other")[1])


class HalfNetwork(Network):
    """Its weights are in fp16 in the file, rounded as ncnn does it."""

    def write(self, stem: Path) -> None:
        for n, some in enumerate(self._weights):
            if some is not FP32_WEIGHTS:
                self._weights[n] = some.astype(np.float16)
            else:
                self._weights[n] = FP16_WEIGHTS
        super().write(stem)


def row(path: Path, seeds: list[int], net: Network | None = None, first: int = 0) -> None:
    """Convolutions in a row, numbered in their order from `first`, with the weights of `seeds`."""
    net = net or Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=4")
    for n, seed in enumerate(seeds):
        weights = np.random.RandomState(seed).normal(0, 1, (4, 4, 3, 3))
        words = "0=4 1=3 4=1 6=144"
        x = net.layer("Convolution", f"conv_{n + first}", [x], params=words, weights=[weights])
        x = net.layer("ReLU", f"relu_{n}", [x], ["out0"] if n == len(seeds) - 1 else None)
    net.write(path)


def matched(folder: Path, here: str = "here", there: str = "there") -> Counterparts:
    graphs = [param.read(str(folder / f"{name}.param")) for name in (here, there)]
    return counterparts(*graphs, (folder / f"{here}.bin", folder / f"{there}.bin"))


@pytest.mark.parametrize("kinds", [(Network, Network), (Network, HalfNetwork), (HalfNetwork, Network)])
def test_where_one_of_a_row_is_missing_the_others_keep_their_weights(
    kinds: tuple[type[Network], type[Network]], tmp_path: Path
) -> None:
    """Where one file has them in fp16, too."""
    row(tmp_path / "here", [0, 1, 2, 3, 4], kinds[0]())
    row(tmp_path / "there", [0, 1, 3, 4], kinds[1]())
    found = matched(tmp_path)
    layers = {name: one[0] for name, one in named(found).items() if name.startswith("conv")}
    assert layers == {
        "conv_0": ["conv_0"],
        "conv_1": ["conv_1"],
        "conv_3": ["conv_2"],
        "conv_4": ["conv_3"],
    }
    assert [layer.name for layer in found.only_here] == ["conv_2", "relu_2"]
    assert "with the same weights, in place of conv_2, relu_2, conv_3" in str(found.of[7])
    more = matched(tmp_path, "there", "here")
    assert [layer.name for layer in more.only_there] == ["conv_2", "relu_2"]
    assert more.only_here == []


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("places", [[0, 2, 1, 3, 4], [0, 3, 2, 1, 4]])
def test_weights_that_changed_places_are_wrong_and_the_layers_stay(
    places: list[int], first: int, tmp_path: Path
) -> None:
    """Also where an export numbers them otherwise, so that conv_2 is now another one."""
    row(tmp_path / "here", [0, 1, 2, 3, 4])
    row(tmp_path / "there", places, first=first)
    found = named(matched(tmp_path))
    convs = {f"conv_{n}": [f"conv_{n + first}"] for n in range(5)}
    assert {name: one[0] for name, one in found.items() if name in convs} == convs


def joined(path: Path, swapped: bool, wrong: bool) -> None:
    """Two convolutions of one value in a Concat, in either order; one of them is `wrong`."""
    rng = np.random.RandomState(0)
    net = Network()
    x, y = net.split(net.layer("Input", "in0", params="0=8 1=8 2=4"), 2)
    blobs = []
    for name, blob in (("left", x), ("right", y)):
        weights = rng.normal(0, 1, (4, 4, 3, 3)) * (2.0 if wrong and name == "left" else 1.0)
        words = "0=4 1=3 4=1 6=144"
        blobs.append(net.layer("Convolution", name, [blob], params=words, weights=[weights]))
    net.layer("Concat", "join", blobs[::-1] if swapped else blobs, ["out0"], "0=0")
    net.write(path)


@pytest.mark.parametrize("wrong", [False, True])
def test_operands_of_a_concat_in_another_order_are_the_same(wrong: bool, tmp_path: Path) -> None:
    joined(tmp_path / "here", False, False)
    joined(tmp_path / "there", True, wrong)
    found = named(matched(tmp_path))
    assert {name: one[0] for name, one in found.items()} == {name: [name] for name in found}
    assert found.keys() == {"left", "right", "join"}
