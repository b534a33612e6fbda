"""Values beyond fp16's range in rows of layers and of branches that are deeper than any recursion."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

RANGE = "fp16-range"
OFF = f"compare: [{RANGE}]\n"
DEEP = sys.getrecursionlimit() + 100  # layers
HARMLESS, HARMFUL = ("Clip", "0=-1.0 1=1.0"), ("BinaryOp", "0=3 1=1 2=1e6")


def ended(folder: Path, net: Network, blob: str, last: tuple[str, str]) -> None:
    kind, params = last
    net.layer(kind, "last", [blob], ["out0"], params)
    net.write(folder / "net")
    networks.fed(folder, OFF, in0=np.random.RandomState(0).uniform(1, 3, (4, 8)))


def row(folder: Path, layers: int, last: tuple[str, str]) -> None:
    """1e6 times the input, negated many times."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=4")
    x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=1e6")
    for i in range(layers):
        x = net.layer("UnaryOp", f"negated_{i}", [x], params="0=1")
    ended(folder, net, x, last)


def residual(folder: Path, blocks: int, last: tuple[str, str]) -> None:
    """1e6 times the input, of which each block takes the mean with its next integer."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=4")
    x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=1e6")
    for i in range(blocks):
        a, b = net.split(x, 2)
        b = net.layer("UnaryOp", f"ceil_{i}", [b], params="0=3")
        x = net.layer("Eltwise", f"mean_{i}", [a, b], params="0=1 -23301=2,0.5,0.5")
    ended(folder, net, x, last)


@pytest.mark.parametrize(
    ("make", "last"),
    [
        (partial(row, layers=DEEP), HARMLESS),
        (partial(residual, blocks=60), HARMFUL),
        (partial(residual, blocks=60), HARMLESS),
    ],
    ids=["harmless row", "harmful branches", "harmless branches"],
)
def test_they_are_followed_to_the_layer_that_decides(
    gate: Gate, pytester: pytest.Pytester, make: Callable[..., None], last: tuple[str, str]
) -> None:
    """Through 60 blocks there are 2^60 ways, and where they all end nothing may be wrong."""
    make(pytester.path, last=last)
    run = gate("--ncnn-parity-fix=off")
    harmful = last is HARMFUL
    assert run.ids("failed") == ([f"s::{RANGE}::large"] if harmful else [])
    if harmful:
        assert run.cases[f"s::{RANGE}::large"]["cause"] == "storage-overflow"
        assert run.cases[f"s::{RANGE}::last"]["outcome"] == "skipped"
        assert "large (BinaryOp)" in run.cases[f"s::{RANGE}::last"]["message"]
    else:
        assert run.ids("skipped") == []


def copies(folder: Path, blocks: int, meet: bool, mask: str = "") -> None:
    """1e-9 of the input, copied many times, in a row or in branches that `meet`; then its reciprocal."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=4")
    x = net.layer("BinaryOp", "tiny", [x], params="0=2 1=1 2=1e-9")
    for i in range(blocks):
        if meet:
            a, b = net.split(x, 2)
            x = net.layer("Concat", f"joined_{i}", [a, b], params=f"0=0{mask}")
            x = net.layer("Crop", f"half_{i}", [x], params=f"-23309=1,0 -23310=1,4 -23311=1,0{mask}")
        else:
            x = net.layer("Reshape", f"same_{i}", [x], params=f"0=8 1=4{mask}")
    net.layer("UnaryOp", "reciprocal", [x], ["out0"], "0=15")
    net.write(folder / "net")
    networks.fed(folder, OFF, in0=np.random.RandomState(0).uniform(1, 3, (4, 8)))


@pytest.mark.parametrize("mask", ["", " 31=18"], ids=["in fp16", "in fp32"])
def test_what_is_copied_many_times_is_that_of_its_first_maker(
    gate: Gate, pytester: pytest.Pytester, mask: str
) -> None:
    copies(pytester.path, DEEP, meet=False, mask=mask)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == [f"s::{RANGE}::tiny"]
    assert run.cases[f"s::{RANGE}::tiny"]["cause"] == "underflow"


@pytest.mark.parametrize("mask", ["", " 31=18"], ids=["in fp16", "in fp32"])
def test_copies_that_meet_again_are_part_of_the_fix(
    gate: Gate, pytester: pytest.Pytester, mask: str
) -> None:
    """All layers on the way of the tiny values have to hold them in fp32, and nothing else."""
    copies(pytester.path, 30, meet=True, mask=mask)
    run = gate("--ncnn-parity-fix-runs=20")
    assert run.ids("failed") == [f"s::{RANGE}::tiny"]
    fix = run.fixes[RANGE]
    assert fix["verified"]
    on_the_way = {"tiny", "reciprocal"} | {
        case["layer"] for case in run.cases.values() if not mask or case["type"] == "Split"
    }
    assert fix["masks"] == dict.fromkeys(on_the_way - {"in0", None}, 18)
