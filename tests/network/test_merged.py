"""Convolutions that one file has merged into one are judged where their sum is."""

from __future__ import annotations

import pytest
from written_graphs import named, network

from pytest_ncnn_parity.network.versions.find_counterparts import counterparts

INPUT, LAST = "Input in0 0 1 in0", "Convolution last 1 1 {} out0 0=4 1=1 6=32"


def blocks(merged: bool, count: int = 2, ending: str = "ReLU relu{n} 1 1 d{n} e{n}") -> list[str]:
    """Blocks of a 3x3 and a 1x1 convolution and the value itself, added up; or `merged`."""
    lines, x = [INPUT], "in0"
    for n in range(count):
        if merged:
            lines.append(f"Convolution rep{n} 1 1 {x} d{n} 0=8 1=3 4=1 5=1 6=576")
        else:
            lines += [
                f"Split split{n} 1 3 {x} x{n} y{n} z{n}",
                f"Convolution wide{n} 1 1 x{n} a{n} 0=8 1=3 4=1 5=1 6=576",
                f"Convolution point{n} 1 1 y{n} b{n} 0=8 1=1 5=1 6=64",
                f"BatchNorm self{n} 1 1 z{n} c{n} 0=8",
                f"BinaryOp one{n} 2 1 a{n} b{n} s{n} 0=0",
                f"BinaryOp two{n} 2 1 s{n} c{n} d{n} 0=0",
            ]
        lines.append(ending.format(n=n))
        x = f"e{n}"
    return [*lines, LAST.format(x)]


def test_the_sum_is_what_the_merged_one_computes() -> None:
    matched = counterparts(network(*blocks(False)), network(*blocks(True)))
    assert {name: one[:2] for name, one in named(matched).items()} == {
        "two0": (["rep0"], ["wide0", "point0", "self0", "one0", "two0"]),
        "relu0": (["relu0"], ["relu0"]),
        "two1": (["rep1"], ["wide1", "point1", "self1", "one1", "two1"]),
        "relu1": (["relu1"], ["relu1"]),
        "last": (["last"], ["last"]),
    }
    assert matched.only_here == matched.only_there == []


def test_the_other_way_round_the_merged_one_is_judged_with_the_sum() -> None:
    matched = counterparts(network(*blocks(True)), network(*blocks(False)))
    assert named(matched)["rep1"][0] == ["wide1", "point1", "self1", "one1", "two1"]
    assert named(matched).keys() == {"rep0", "relu0", "rep1", "relu1", "last"}


def test_the_name_of_one_of_them_and_its_activation_make_no_difference() -> None:
    text = "\n".join(blocks(True, ending=""))
    for n in range(2):
        text = text.replace(f"rep{n}", f"wide{n}").replace(f"d{n} 0=8", f"e{n} 0=8 9=1")
    matched = counterparts(network(*blocks(False)), network(*filter(None, text.splitlines())))
    assert named(matched)["relu1"][0] == ["wide1"]
    assert named(matched).keys() == {"relu0", "relu1", "last"}


@pytest.mark.parametrize(
    "between",
    ["ReLU other 1 1 a0 t", "Pooling other 1 1 a0 t 1=3 3=1"],
    ids=["activation", "pooling"],
)
def test_what_is_not_linear_is_no_part_of_it(between: str) -> None:
    lines = blocks(False)
    at = lines.index("Convolution wide0 1 1 x0 a0 0=8 1=3 4=1 5=1 6=576") + 1
    lines.insert(at, between)
    lines = [line.replace("one0 2 1 a0", "one0 2 1 t") for line in lines]
    assert "two0" not in named(counterparts(network(*lines), network(*blocks(True))))


def test_one_of_a_row_is_not_merged_with_the_next() -> None:
    """It might as well be merged with the one behind that."""
    ends = (
        "Convolution first 1 1 in0 a 0=8 1=3 4=1 5=1 6=576",
        "Convolution last 1 1 b out0 0=8 1=1 5=1 6=64",
    )
    here = network(INPUT, ends[0], "Convolution between 1 1 a b 0=8 1=1 5=1 6=64", ends[1])
    there = network(INPUT, ends[0], ends[1].replace(" b ", " a "))
    matched = counterparts(here, there)
    assert named(matched)["first"][1] == ["first"]
    assert named(matched)["last"][1] == ["between", "last"]
