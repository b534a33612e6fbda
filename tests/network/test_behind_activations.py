"""What may be folded into a layer without activation in one file, and not in the other."""

from __future__ import annotations

import pytest
from written_graphs import named, network

from pytest_ncnn_parity.network.versions.find_counterparts import counterparts

INPUT = "Input in0 0 1 in0"
CONVOLUTION = "Convolution conv 1 1 in0 a 0=8 1=3 5=1 6=72"
BEHIND = {
    "norm": ("BatchNorm norm 1 1 a b 0=8",),
    "norms": ("BatchNorm norm 1 1 a s 0=8", "Scale scale 1 1 s b 0=8"),
    "factor": ("BinaryOp factor 1 1 a b 0=2 1=1 2=0.5",),
    "block": ("BatchNorm norm 1 1 a n 0=8", "ReLU relu 1 1 n b"),
}
END = "Pooling pool 1 1 b out0 0=0 1=2 2=2"


@pytest.mark.parametrize("missing_there", [True, False])
@pytest.mark.parametrize("behind", BEHIND)
def test_what_is_behind_a_lost_activation_is_judged_by_itself(behind: str, missing_there: bool) -> None:
    lines = (*BEHIND[behind], END)
    with_it = network(INPUT, f"{CONVOLUTION} 9=1", *lines)
    without = network(INPUT, CONVOLUTION, *lines)
    pair = (with_it, without) if missing_there else (without, with_it)
    matched = counterparts(*pair)
    names = [line.split()[1] for line in (CONVOLUTION, *lines)]
    layers = {name: (layers, replaced) for name, (layers, replaced, _) in named(matched).items()}
    assert layers == {name: ([name], [name]) for name in names}
    assert matched.only_here == matched.only_there == []


def test_names_are_not_needed() -> None:
    ours = network(INPUT, f"{CONVOLUTION} 9=1", *BEHIND["norm"], END)
    lines = (INPUT, CONVOLUTION, *BEHIND["norm"], END)
    words = [line.split() for line in lines]
    theirs = network(*(" ".join([kind, f"layer{n}", *rest]) for n, (kind, _, *rest) in enumerate(words)))
    layers = {name: layers for name, (layers, *_) in named(counterparts(ours, theirs)).items()}
    assert layers == {"conv": ["layer1"], "norm": ["layer2"], "pool": ["layer3"]}


def test_what_was_folded_is_still_one_unit() -> None:
    """A row of blocks: in one of them the activation was lost, in the others the norms were folded."""
    ours = network(
        INPUT,
        "Convolution c0 1 1 in0 a 0=8 1=3 5=1 6=72 9=1",
        "BatchNorm n0 1 1 a b 0=8",
        "Convolution c1 1 1 b c 0=8 1=3 5=1 6=576",
        "BatchNorm n1 1 1 c d 0=8",
        "ReLU r1 1 1 d out0",
    )
    theirs = network(
        INPUT,
        "Convolution c0 1 1 in0 a 0=8 1=3 5=1 6=72",
        "BatchNorm n0 1 1 a b 0=8",
        "Convolution c1 1 1 b out0 0=8 1=3 5=1 6=576 9=1",
    )
    assert named(counterparts(ours, theirs)) == {
        "c0": (["c0"], ["c0"], {"in0": "in0"}),
        "n0": (["n0"], ["n0"], {"a": "a"}),
        "r1": (["c1"], ["c1", "n1", "r1"], {"b": "b"}),
    }
