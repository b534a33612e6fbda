"""Which layers of another model may have weights that were rounded to 16 bits otherwise."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_graphs import network

from pytest_ncnn_parity.network.versions.find_counterparts import counterparts
from pytest_ncnn_parity.network.versions.half import distances
from pytest_ncnn_parity.network.versions.rounded_weights import Roundings
from pytest_ncnn_parity.network.weight_tags import FP16

LINES = "Input in0 0 1 in0", "InnerProduct fc 1 1 in0 a 0=1 1=1 2=3", "Scale last 1 1 a out0 0=1"
WEIGHTS, BIAS, FACTOR = (0x3C00, 0x0400, 0xBC00), 0.25, 2.0


def bytes_of(
    weights: tuple[int, ...] = WEIGHTS, bias: float = BIAS, factor: float = FACTOR, tag: int = FP16
) -> bytes:
    return struct.pack("<I3H2x2f", tag, *weights, bias, factor)


@pytest.mark.parametrize(
    ("there", "layers"),
    [
        (bytes_of(), set()),
        (bytes_of((0x3C01, 0x0400, 0xBC00)), {1}),
        (bytes_of((0x3BFF, 0x03FF, 0xBC01)), {1}),
        (bytes_of((0x3C00, 0x0000, 0xBC00)), {1}),  # a subnormal weight became 0
        (bytes_of((0x3C02, 0x0400, 0xBC00)), set()),
        (bytes_of((0x3C01, 0x0400, 0xBC00), bias=0.2501), set()),
        (bytes_of((0x3C01, 0x0400, 0xBC00), factor=2.01), {1}),
        (bytes_of((0x3C01, 0x0400, 0xBC00), tag=0x01306B48), set()),
        (bytes_of((0x3C01, 0x0400, 0xBC00))[:-8], set()),  # cut short
        (b"", set()),
    ],
)
def test_each_weight_may_be_one_step_off_and_nothing_else(
    there: bytes, layers: set[int], tmp_path: Path
) -> None:
    files = tmp_path / "here", tmp_path / "there"
    for path, content in zip(files, (bytes_of(), there), strict=True):
        path.write_bytes(content)
    models = replace(counterparts(network(*LINES), network(*LINES), files), halves=(1, 1))
    assert Roundings(models, files).possible() == layers
    assert Roundings(replace(models, halves=(0, 0)), files).possible() == set()
    assert Roundings(replace(models, halves=(1, 0)), files).possible() == {1}
    assert Roundings(replace(models, halves=(0, 0), brains=(0, 1)), files).possible() == {1}


FLOATS = struct.pack("<I3f2f", 0, 1.0002, 2**-14, -0.9998, BIAS, FACTOR)  # bytes_of() rounds these


@pytest.mark.parametrize(
    ("there", "line", "expected"),
    [
        (bytes_of((0x3C01, 0x0400, 0xBC00)), LINES[1], ({1}, True)),
        (FLOATS, LINES[1], ({1}, True)),
        (bytes_of((0x3C01, 0x0400, 0xBC00)), f"{LINES[1]} 31=16", ({1}, True)),
        (bytes_of(), LINES[1], (set(), False)),  # nothing differs
        (bytes_of((0x3C02, 0x0400, 0xBC00)), LINES[1], (set(), False)),
        (FLOATS.replace(struct.pack("<f", 1.0002), struct.pack("<f", 1.002)), LINES[1], (set(), False)),
        (bytes_of((0x3C01, 0x0400, 0xBC00), bias=0.2501), LINES[1], (set(), False)),
        (bytes_of((0x3C01, 0x0400, 0xBC00), factor=2.01), LINES[1], ({1}, False)),
        (bytes_of((0x3C01, 0x0400, 0xBC00)) + b"more", LINES[1], ({1}, False)),
        (bytes_of((0x3C01, 0x0400, 0xBC00)), f"{LINES[1]} 9=1", (set(), False)),
    ],
)
def test_whether_nothing_else_differs(
    there: bytes, line: str, expected: tuple[set[int], bool], tmp_path: Path
) -> None:
    files = tmp_path / "here", tmp_path / "there"
    for path, content in zip(files, (bytes_of(), there), strict=True):
        path.write_bytes(content)
    models = counterparts(network(*LINES), network(LINES[0], line, LINES[2]), files)
    assert Roundings(replace(models, halves=(1, 1)), files).proven() == expected
    assert Roundings(models, files).proven() == (set(), False)


FIRST, FACTOR_OF_1_03 = (LINES[0], f"{LINES[1]} 9=1"), "BinaryOp m 1 1 {} {} 0=2 1=1 2=1.03"
SMALL, LAST = "BinaryOp s 1 1 {} s 1=1 2=0.01", "Scale last 1 1 {} t 0=1"
SUM, GEMM = "BinaryOp sum 2 1 {} {} out0", "Gemm g 1 1 in0 out0 3=1 5=1 6=1 7=1 8=1 9=3 10=0 {}"


@pytest.mark.parametrize(
    ("own", "its", "expected"),
    [
        ([LINES[2]], [FACTOR_OF_1_03.format("a", "b"), "Scale last 1 1 b out0 0=1"], ({1}, False)),
        ([LINES[2]], ["Scale last 1 1 a b 0=1", FACTOR_OF_1_03.format("b", "out0")], ({1}, False)),
        (["Scale last 1 1 a b 0=1", "Flip f 1 1 b out0"], [LINES[2]], ({1}, False)),
        (["Scale last 1 1 a b 0=1", "GELU f 1 1 b out0"], [LINES[2]], ({1}, False)),
        (
            ["Scale last 1 1 a b 0=1", "ELU e 1 1 b out0 0=1.0"],
            ["Scale last 1 1 a b 0=1", "ELU e 1 1 b out0 0=0.9"],
            ({1}, False),
        ),
        (["Reshape r 1 1 a b 0=1", "Scale last 1 1 b out0 0=1"], [LINES[2]], ({1}, True)),
        (["Split s 1 1 a b", "Scale last 1 1 b out0 0=1"], [LINES[2]], ({1}, True)),
        (  # another value is read
            [SMALL.format("a"), LAST.format("s"), SUM.format("t", "s")],
            [SMALL.format("a"), LAST.format("a"), SUM.format("t", "s")],
            ({1}, False),
        ),
        (
            [SMALL.format("a"), LAST.format("s"), SUM.format("t", "s")],
            [SMALL.format("a"), LAST.format("s"), SUM.format("s", "t")],
            ({1}, True),
        ),
    ],
)
def test_whether_layers_are_connected_alike(
    own: list[str], its: list[str], expected: tuple[set[int], bool], tmp_path: Path
) -> None:
    files = tmp_path / "here", tmp_path / "there"
    for path, weights in zip(files, (WEIGHTS, (0x3C01, 0x0400, 0xBC00)), strict=True):
        path.write_bytes(bytes_of(weights))
    models = counterparts(network(*FIRST, *own), network(*FIRST, *its), files)
    assert Roundings(replace(models, halves=(1, 1)), files).proven() == expected


@pytest.mark.parametrize(
    ("own", "its", "is_rounding"),
    [
        (LINES[1], LINES[1], True),
        (LINES[1], f"{FACTOR_OF_1_03.format('in0', 'x')}|{LINES[1].replace('in0', 'x')}", False),
        (f"{FACTOR_OF_1_03.format('in0', 'x')}|{LINES[1].replace('in0', 'x')}", LINES[1], False),
        (GEMM.format(""), GEMM.format("31=16"), True),
        (GEMM.format(""), GEMM.format("1=0.0"), False),  # beta: it adds no bias any more
    ],
)
def test_a_layer_that_reads_or_says_something_else_is_no_rounding(
    own: str, its: str, is_rounding: bool, tmp_path: Path
) -> None:
    files = tmp_path / "here", tmp_path / "there"
    for path, weights in zip(files, (WEIGHTS, (0x3C01, 0x0400, 0xBC00)), strict=True):
        tag = bytes(4 if "Gemm" in own else 0)  # of the bias
        path.write_bytes(bytes_of(weights)[:-8] + tag + struct.pack("<f", BIAS))
    models = counterparts(*(network(LINES[0], *lines.split("|")) for lines in (own, its)), files)
    found, nothing_else = Roundings(replace(models, halves=(1, 1)), files).proven()
    assert (bool(found), nothing_else) == (is_rounding, is_rounding)


APART = (
    LINES[0],
    "InnerProduct fc 1 1 in0 a 0=2 1=1 2=4",
    "BatchNorm norm 1 1 a b 0=2 1=0.25",
    "ReLU last 1 1 b out0",
)
FOLDED = LINES[0], "InnerProduct fc 1 1 in0 out0 0=2 1=1 2=4 9=1"


@pytest.mark.parametrize("folded_here", [False, True])
@pytest.mark.parametrize(
    ("factor", "bias", "line", "is_rounding"),
    [
        (1.0, 0.0, FOLDED[1], True),
        (1.0005, 0.0, FOLDED[1], True),
        (1.004, 0.0, FOLDED[1], False),
        (1.0, 1e-4, FOLDED[1], False),
        (1.0, 0.0, f"{FOLDED[1][:-3]} 9=2 -23310=1,0.1", False),
        (1.0, 0.0, f"{FOLDED[1][:-3]} 9=7", False),
    ],
)
def test_weights_that_a_norm_was_folded_into(
    factor: float, bias: float, line: str, is_rounding: bool, folded_here: bool, tmp_path: Path
) -> None:
    """The slopes of the norm are 2 and 3, its means and offsets 0.1 to 0.4, its deviations 1 and 2."""
    weights, norm = (
        np.float32([[1.1, 0.5], [-0.3, 2]]),
        np.float32([2, 3, 0.1, 0.2, 0.75, 3.75, 0.3, 0.4]),
    )
    scale = np.float32([2.0, 1.5])
    biases = np.float32([0.5, -1.0])
    folded = (weights * scale[:, None] * np.float32(factor)).astype(np.float16)
    moved = (biases - norm[2:4]) * scale + norm[6:] + np.float32(bias)
    tag = np.uint32(FP16).tobytes()
    sides = [
        (network(*APART), bytes(4) + weights.tobytes() + biases.tobytes() + norm.tobytes()),
        (network(LINES[0], line), tag + folded.tobytes() + moved.tobytes()),
    ]
    graphs, contents = zip(*reversed(sides) if folded_here else sides, strict=True)
    files = tmp_path / "here", tmp_path / "there"
    for path, content in zip(files, contents, strict=True):
        path.write_bytes(content)
    models = replace(counterparts(*graphs, files), halves=(0, 1))
    number = 1 if folded_here else 3
    assert Roundings(models, files).proven() == ({number} if is_rounding else set(), is_rounding)


def test_a_product_that_is_written_otherwise_may_be_rounded_otherwise(tmp_path: Path) -> None:
    """Nothing says that its line is the same."""
    here = network(LINES[0], "InnerProduct fc 1 1 in0 out0 0=1 1=1 2=3")
    view, conv = "Reshape r 1 1 in0 x 0=1 1=1 2=-1", "Convolution fc 1 1 x out0 0=1 1=1 5=1 6=3"
    files = tmp_path / "here", tmp_path / "there"
    for path, content in zip(files, (bytes_of(), bytes_of((0x3C01, 0x0400, 0xBC00))), strict=True):
        path.write_bytes(content[:-4])
    models = replace(counterparts(here, network(LINES[0], view, conv), files), halves=(1, 1))
    assert Roundings(models, files).possible() == {1}
    assert Roundings(models, files).proven() == (set(), False)


def test_steps_of_fp16() -> None:
    values = [(1.0, 1.0), (1.0, 1 + 2**-10), (2**-14, 2**-20), (2**-24, -(2**-24)), (65504.0, np.inf)]
    sides = (np.float16(one).view("<u2") for one in zip(*values, strict=True))
    assert distances(*sides).tolist() == [0, 1, 1, 0, np.inf]
    assert distances(*(np.float16([one]).view("<u2") for one in (2**-14, -(2**-14)))).tolist() == [2]
