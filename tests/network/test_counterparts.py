"""Which layers of another model make what a layer of this one makes."""

from __future__ import annotations

import random

import optimized
import pytest
from conftest import EXAMPLES

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.counterparts import Counterparts, Unlike, counterparts
from pytest_ncnn_parity.network.graph import Graph

INPUT = "Input in0 0 1 in0"
CONVOLUTION = "Convolution conv 1 1 in0 a 0=8 1=3 5=1 6=72"
EXPORT = (INPUT, CONVOLUTION, "BatchNorm norm 1 1 a b 0=8", "ReLU relu 1 1 b out0")


def network(*lines: str) -> Graph:
    layers = [" ".join(line.split()) for line in lines]
    blobs = sum(int(line.split()[3]) for line in layers)
    return param.parse("\n".join(["7767517", f"{len(layers)} {blobs}", *layers, ""]), "net.param")


def named(matched: Counterparts) -> dict[str, tuple[list[str], list[str], dict[str, str]]]:
    """By layer here: the layers there, those that are replaced, and what is fed."""
    here = matched.here.layers
    return {
        here[n].name: ([x.name for x in one.layers], [x.name for x in one.replaced], dict(one.feeds))
        for n, one in matched.of.items()
    }


def test_what_is_folded_is_judged_at_the_last_layer_that_is_replaced() -> None:
    folded = network(INPUT, "Convolution conv 1 1 in0 out0 0=8 1=3 5=1 6=72 9=1")
    matched = counterparts(network(*EXPORT), folded)
    assert named(matched) == {"relu": (["conv"], ["conv", "norm", "relu"], {"in0": "in0"})}
    assert {n: one.name for n, one in matched.judged_at.items()} == {1: "relu", 2: "relu"}
    assert matched.only_here == matched.only_there == []


def test_an_activation_that_stays_is_judged_by_itself() -> None:
    folded = network(INPUT, CONVOLUTION, "ReLU relu 1 1 a out0")
    matched = counterparts(network(*EXPORT), folded)
    assert named(matched) == {
        "norm": (["conv"], ["conv", "norm"], {"in0": "in0"}),
        "relu": (["relu"], ["relu"], {"a": "b"}),
    }


def test_the_other_way_round_several_layers_stand_for_one() -> None:
    folded = network(INPUT, "Convolution conv 1 1 in0 out0 0=8 1=3 5=1 6=72 9=1")
    matched = counterparts(folded, network(*EXPORT))
    assert named(matched) == {"conv": (["conv", "norm", "relu"], ["conv"], {"in0": "in0"})}


def test_a_layer_whose_value_another_one_reads_as_well_is_not_folded() -> None:
    branch = ("Split s 1 2 a a0 a1", "BatchNorm norm 1 1 a0 b 0=8", "Sigmoid aside 1 1 a1 out1")
    lines = (INPUT, CONVOLUTION, *branch, "ReLU relu 1 1 b out0")
    matched = counterparts(network(*lines), network(*lines))
    assert all(there == [here] for here, (there, _, _) in named(matched).items())
    assert "s" not in named(matched)  # it only copies


def test_what_only_one_of_them_has_is_listed_where_it_counts() -> None:
    there = (
        INPUT,
        CONVOLUTION,
        "BatchNorm norm 1 1 a b 0=8",
        "Padding pad 1 1 b c",
        "ReLU r 1 1 c out0",
    )
    matched = counterparts(network(*EXPORT), network(*there))
    assert named(matched)["relu"] == (["pad", "r"], ["relu"], {"b": "b"})
    beside = network(*EXPORT[:3], "Split s 1 2 b b0 b1", "ReLU relu 1 1 b0 out0", "Sigmoid z 1 1 b1 x")
    with pytest.raises(Unlike, match="has other outputs: 'out0', where this model has 'out0', 'x'"):
        counterparts(beside, network(*EXPORT))


def test_networks_without_a_layer_in_common_are_distinguished() -> None:
    with pytest.raises(Unlike, match=r"no layer of net\.param matches"):
        counterparts(network(*EXPORT), network(INPUT, "Softmax s 1 1 in0 out0"))


@pytest.mark.parametrize("seed", range(3))
def test_alike_branches_in_another_order_are_told_apart_without_their_views(seed: int) -> None:
    path = EXAMPLES / "style_decoder" / "style_decoder.param"
    text, names = optimized.exported_anew(path, random.Random(seed))
    matched = counterparts(param.read(str(path)), param.parse(text, "anew.param"))
    pairs = {here: names[there[-1]] for here, (there, *_) in named(matched).items()}
    assert {here: there for here, there in pairs.items() if here != there} == {}
    gone = {one.name for one in matched.here.layers} - set(names.values())
    assert len(gone) == 45  # three in each of 15 blocks
    assert {layer.number for layer in matched.here.layers if layer.name in gone} <= set(
        matched.judged_at
    )
    assert matched.only_here == matched.only_there == []


def test_what_goes_without_saying_is_no_difference() -> None:
    full = "Convolution c 1 1 in0 out0 0=8 1=3 11=3 2=1 12=1 3=1 13=1 4=1 14=1 15=1 16=1 5=0 6=72"
    short = "Convolution renamed 1 1 in0 out0 0=8 1=3 4=1 6=72"
    (pair,) = counterparts(network(INPUT, full), network(INPUT, short)).of.values()
    assert pair.by == "structure"
    for other in (short.replace("4=1", "4=1 14=2"), short.replace("4=1", "4=1 3=2")):
        with pytest.raises(Unlike, match="neither by name nor by structure"):
            counterparts(network(INPUT, full), network(INPUT, other))
