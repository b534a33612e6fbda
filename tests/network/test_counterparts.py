"""Which layers of another model make what a layer of this one makes."""

from __future__ import annotations

import random

import optimized
import pytest
from conftest import EXAMPLES
from written_graphs import named, network

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.versions.find_counterparts import Unlike, counterparts

INPUT = "Input in0 0 1 in0"
CONVOLUTION = "Convolution conv 1 1 in0 a 0=8 1=3 5=1 6=72"
EXPORT = (INPUT, CONVOLUTION, "BatchNorm norm 1 1 a b 0=8", "ReLU relu 1 1 b out0")


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


@pytest.mark.parametrize("slopes", [1, 8])
def test_a_prelu_may_be_folded(slopes: int) -> None:
    """ncnnoptimize makes a leaky ReLU of one with one slope first; another is wrong where it stands."""
    folded = network(INPUT, "Convolution conv 1 1 in0 out0 0=8 1=3 5=1 6=72 9=2 -23310=1,0.25")
    matched = counterparts(network(INPUT, CONVOLUTION, f"PReLU prelu 1 1 a out0 0={slopes}"), folded)
    assert named(matched) == {"prelu": (["conv"], ["conv", "prelu"], {"in0": "in0"})}


RESIDUAL = (
    INPUT,
    "Split s 1 2 in0 x y",
    "Convolution conv 1 1 x a 0=8 1=3 5=1 6=72",
    "BinaryOp factor 1 1 a b 0=2 1=1 2=0.2",
    "BinaryOp sum 2 1 b y c 0=0",
    "ReLU relu 1 1 c out0",
)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_factor_may_become_a_coefficient_of_a_sum(swapped: bool) -> None:
    """The convolutions are the same then, and the factor is a part of the sum."""
    weighted = "Eltwise sum 2 1 a y c 0=1 -23301=2,0.2,1.0"
    models = [network(*RESIDUAL), network(*RESIDUAL[:3], weighted, RESIDUAL[-1])]
    matched = counterparts(*reversed(models)) if swapped else counterparts(*models)
    assert named(matched)["conv"][:2] == (["conv"], ["conv"])
    assert matched.blobs["a"] == "a"
    assert "factor" not in named(matched)


def test_a_reshape_that_was_moved_behind_a_layer_shows_other_values() -> None:
    """ncnnoptimize makes an InnerProduct of a Convolution of a pooled blob, in front of its Reshape."""
    ends = (INPUT, "Pooling pool 1 1 in0 a 0=1 4=1"), ("Sigmoid gate 1 1 c out0",)
    reshape = "Reshape {} 1 1 {} {} 0=1 1=1 2=16"
    models = (
        (reshape.format("shape", "a", "b"), "Convolution fc 1 1 b c 0=16 1=1 5=1 6=256"),
        ("InnerProduct fc 1 1 a b 0=16 1=1 2=256", reshape.format("shaped", "b", "c")),
    )
    here, there = (network(*ends[0], *layers, *ends[1]) for layers in models)
    for matched in (counterparts(here, there), counterparts(there, here)):
        assert not {"shape", "shaped"} & named(matched).keys()
        assert "gate" in named(matched)
        assert "pool" in named(matched)


def test_the_bias_of_a_product_may_be_a_layer_behind_it() -> None:
    bias = ("MemoryData bias 0 1 g 0=8", "BinaryOp add 2 1 a g b 0=0", "ReLU relu 1 1 b out0")
    here = network(INPUT, "Gemm fc 1 1 in0 a 3=1 5=1 8=8 9=32 10=-1", *bias)
    there = network(INPUT, "Gemm fc 1 1 in0 b 3=1 5=1 6=1 8=8 9=32 10=4", bias[-1])
    for matched, at in ((counterparts(here, there), "add"), (counterparts(there, here), "fc")):
        assert named(matched).keys() == {at, "relu"}


def test_a_scalar_behind_a_product_is_not_folded_into_it() -> None:
    """No tool does that, and 1/sqrt(d) may stand behind other layers in another export."""
    product = "Gemm fc 1 1 in0 a 3=1 5=1 6=1 8=8 9=32 10=4"
    here = network(INPUT, product, "BinaryOp scale 1 1 a b 0=2 1=1 2=0.25", "ReLU relu 1 1 b out0")
    there = network(INPUT, product, "ReLU relu 1 1 a out0")
    assert named(counterparts(here, there))["fc"][:2] == (["fc"], ["fc"])


def test_what_begins_an_activation_is_not_folded_into_weights() -> None:
    """A HardSigmoid of several layers: the sum in front of its Clip is no bias of the convolution."""
    several = (
        "BinaryOp plus 1 1 a b 0=0 1=1 2=3",
        "Clip clip 1 1 b c 0=0 1=6",
        "BinaryOp sixth 1 1 c out0 0=3 1=1 2=6",
    )
    one = network(INPUT, CONVOLUTION, "HardSigmoid gate 1 1 a out0")
    matched = counterparts(network(INPUT, CONVOLUTION, *several), one)
    assert named(matched)["conv"][:2] == (["conv"], ["conv"])
    assert not {"plus", "clip"} & named(matched).keys()


@pytest.mark.parametrize("operator", ["BinaryOp join 2 1 {} c 0=2", "Eltwise join 2 1 {} c 0=1"])
def test_operands_of_a_sum_or_a_product_may_change_places(operator: str) -> None:
    branches = (
        INPUT,
        "Split s 1 2 in0 x y",
        "Convolution left 1 1 x a 0=8 1=3 5=1 6=72",
        "Convolution right 1 1 y b 0=8 1=3 5=1 6=72",
    )
    models = [
        network(*branches, operator.format(order), "ReLU relu 1 1 c out0") for order in ("a b", "b a")
    ]
    found = named(counterparts(*models))
    assert {name: there for name, (there, _, _) in found.items()} == {
        name: [name] for name in ("left", "right", "join", "relu")
    }


@pytest.mark.parametrize(
    "norm", ["LayerNorm {} 0=8 2={}", "RMSNorm {} 0=8 2={}", "GroupNorm {} 0=2 1=8 3={}"]
)
def test_factors_of_a_norm_may_be_layers_behind_it(norm: str) -> None:
    plain = norm.format("norm 1 1 in0 a", 0)
    behind = (
        "MemoryData gamma 0 1 g 0=8",
        "BinaryOp scaled 2 1 a g b 0=2",
        "MemoryData beta 0 1 h 0=8",
        "BinaryOp shifted 2 1 b h c 0=0",
    )
    last = "InnerProduct last 1 1 c out0 0=4 1=1 2=32"
    whole = network(INPUT, norm.format("norm 1 1 in0 c", 1), last)
    found = named(counterparts(network(INPUT, plain, *behind, last), whole))
    assert found["shifted"][0] == ["norm"]
    assert "norm" not in found
    assert found["last"][0] == ["last"]


def test_a_factor_in_front_of_a_sum_may_be_folded_into_weights() -> None:
    folded = network(*RESIDUAL[:3], "BinaryOp sum 2 1 a y c 0=0", RESIDUAL[-1])
    matched = counterparts(network(*RESIDUAL), folded)
    assert named(matched)["factor"][:2] == (["conv"], ["conv", "factor"])
    assert matched.blobs["b"] == "a"


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
    assert counterparts(beside, network(*EXPORT)).outputs == {"out0": "out0"}
    assert counterparts(network(*EXPORT), beside).outputs == {"out0": "out0"}
    with pytest.raises(Unlike, match="has other inputs: 'x', 'in0', where this model has 'in0'"):
        counterparts(network(*EXPORT), network("Input x 0 1 x", *EXPORT))


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


@pytest.mark.parametrize(
    ("full", "short", "others"),
    [
        (
            "Convolution c 1 1 in0 out0 0=8 1=3 11=3 2=1 12=1 3=1 13=1 4=1 14=1 15=1 16=1 5=0 6=72",
            "Convolution renamed 1 1 in0 out0 0=8 1=3 4=1 6=72",
            ("14=2", "3=2"),
        ),
        (
            "Deconvolution c 1 1 in0 out0 0=8 1=3 3=2 4=1 18=1 19=1 6=72",
            "Deconvolution renamed 1 1 in0 out0 0=8 1=3 3=2 4=1 18=1 6=72",
            ("19=2", "21=8"),
        ),
        (
            "Pooling c 1 1 in0 out0 0=1 1=3 11=3 2=2 12=2 3=1 13=1 14=1 15=1",
            "Pooling renamed 1 1 in0 out0 0=1 1=3 2=2 3=1",
            ("12=1", "15=2"),
        ),
    ],
)
def test_what_goes_without_saying_is_no_difference(
    full: str, short: str, others: tuple[str, ...]
) -> None:
    (pair,) = counterparts(network(INPUT, full), network(INPUT, short)).of.values()
    assert pair.by == "structure"
    for other in (f"{short} {text}" for text in others):
        with pytest.raises(Unlike, match="neither by name nor by structure"):
            counterparts(network(INPUT, full), network(INPUT, other))


TRUNK = (INPUT, CONVOLUTION, "Split s 1 2 a a0 a1")
HEAD = "0=4 1=1 5=1 6=32"
SCORES = (f"Convolution c1 1 1 a0 s0 {HEAD}", "Sigmoid s1 1 1 s0 scores")
BOXES = (f"Convolution c2 1 1 a1 b0 {HEAD}", "Sigmoid s2 1 1 b0 boxes")


def renamed(*lines: str, **names: str) -> tuple[str, ...]:
    return tuple(" ".join(names.get(word, word) for word in line.split()) for line in lines)


@pytest.mark.parametrize("flattened", [False, True])
def test_heads_that_are_alike_are_told_apart_by_the_names_of_their_outputs(flattened: bool) -> None:
    """The layers are named and numbered afresh, and one file may flatten what it gives."""
    names = {"c1": "x2", "s1": "y2", "c2": "x1", "s2": "y1", "s0": "n1", "b0": "n0"}
    heads = (*SCORES, *BOXES)
    if flattened:
        last = ("Flatten f 1 1 r1 scores", "Flatten g 1 1 r2 boxes")
        heads = (*renamed(*heads, scores="r1", boxes="r2"), *last)
    here = network(*TRUNK, *heads)
    there = network(*TRUNK, *renamed(*BOXES, *SCORES, **names))
    matched = counterparts(here, there)
    pairs = {here: there[-1:] for here, (there, *_) in named(matched).items()}
    assert pairs == {"conv": ["conv"], "c1": ["x2"], "s1": ["y2"], "c2": ["x1"], "s2": ["y1"]}
    assert (matched.blob("scores"), matched.blob("boxes")) == ("scores", "boxes")
    assert matched.moved == []


def test_an_output_is_what_has_its_name_whatever_makes_it_now() -> None:
    """Names of other outputs are no names to go by: a new export may have numbered them afresh."""
    here = network(*TRUNK, *SCORES, *renamed(*BOXES, Sigmoid="TanH"))
    swapped = renamed(*SCORES, *renamed(*BOXES, Sigmoid="TanH"), scores="boxes", boxes="scores")
    matched = counterparts(here, network(*TRUNK, *swapped))
    assert matched.outputs == {"scores": "scores", "boxes": "boxes"}
    heads = named(matched)
    assert (heads["s1"][0], heads["s2"][0]) == (["s1"], ["s2"])
    assert matched.moved == ["scores", "boxes"]
    moved = renamed(*SCORES, *renamed(*BOXES, Sigmoid="TanH"), scores="boxes", boxes="17")
    assert counterparts(here, network(*TRUNK, *moved)).outputs == {"scores": "boxes", "boxes": "17"}


@pytest.mark.parametrize("last", ["Flatten f 1 1 b1 out0", "ReLU r 1 1 b1 out0"])
def test_an_output_is_found_where_its_last_layer_is_gone(last: str) -> None:
    lines = (INPUT, CONVOLUTION, "Sigmoid s 1 1 a b1")
    here, there = network(*lines, last), network(*renamed(*lines, b1="out0"))
    assert counterparts(here, there).blob("out0") == "out0"
    assert counterparts(there, here).blob("out0") == "out0"


def test_inputs_of_other_names_are_known_by_their_readers() -> None:
    lines = (
        "Input image 0 1 image",
        "Input mask 0 1 mask",
        "Convolution c 1 1 image x 0=8 1=3 5=1 6=216",
        "Convolution m 1 1 mask y 0=8 1=3 5=1 6=72",
        "BinaryOp add 2 1 x y out0",
    )
    first, second, *rest = renamed(*lines, image="in1", mask="in0", c="1", m="2")
    matched = counterparts(network(*lines), network(second, first, *rest))
    assert matched.inputs == {"image": "in1", "mask": "in0"}
    crossed = network(*renamed(*lines, image="mask", mask="image"))
    assert counterparts(network(*lines), crossed).inputs == {"image": "image", "mask": "mask"}


def restructured(here: Graph, there: Graph) -> list[str]:
    matched = counterparts(here, there)
    return [here.layers[number].name for number in sorted(matched.restructured)]


def test_layers_are_restructured_next_to_other_operators_and_not_where_others_are_folded() -> None:
    changed = ("ReLU relu 1 1 a b", "Pooling pool 1 1 b c 1=2 2=2", "Softmax end 1 1 c out0")
    other = ("Pooling pool 1 1 a b 1=2 2=2", "ReLU relu 1 1 b c", "Softmax end 1 1 c out0")
    here = network(INPUT, CONVOLUTION, *changed)
    assert restructured(here, network(INPUT, CONVOLUTION, *other)) == ["conv", "relu", "pool", "end"]
    assert restructured(here, here) == []
    wrong = [line.replace("1=2", "1=3") for line in changed]
    assert restructured(here, network(INPUT, CONVOLUTION, *wrong)) == []
    folded = network(INPUT, CONVOLUTION.replace("a 0=8", "b 0=8 9=1"), *changed[1:])
    assert restructured(here, folded) == []
    assert (
        restructured(network(*EXPORT), network(INPUT, CONVOLUTION.replace(" a ", " out0 ") + " 9=1"))
        == []
    )
