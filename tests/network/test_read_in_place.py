"""Values correspond that matched layers read in the same places, whatever makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_graphs import named, network

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts

INPUT = "Input in0 0 1 in0"
CONVOLUTION = "Convolution conv 1 1 in0 a 0=8 1=3 5=1 6=72"
LAST = "Convolution last 1 1 {} out0 0=4 1=1 5=1 6=32"
RELU = "ReLU relu 1 1 a b"


def judged(matched: Counterparts) -> dict[str, tuple[list[str], list[str]]]:
    """By layer with a counterpart: the layers there, and those that they replace."""
    return {name: (layers, replaced) for name, (layers, replaced, _) in named(matched).items()}


def test_an_activation_that_one_file_lacks_is_where_the_difference_is() -> None:
    """What reads it reads there what it would be computed from, and is no part of the difference."""
    with_it = network(INPUT, CONVOLUTION, RELU, LAST.format("b"))
    inside = network(INPUT, f"{CONVOLUTION} 9=1", LAST.format("a"))
    without = network(INPUT, CONVOLUTION, LAST.format("a"))
    last = (["last"], ["last"])
    assert judged(counterparts(with_it, without)) == {"relu": (["conv"], ["conv", "relu"]), "last": last}
    assert judged(counterparts(without, with_it)) == {"conv": (["conv", "relu"], ["conv"]), "last": last}
    assert judged(counterparts(inside, without)) == {"conv": (["conv"], ["conv"]), "last": last}
    assert judged(counterparts(without, inside)) == {"conv": (["conv"], ["conv"]), "last": last}
    padded = network(INPUT, CONVOLUTION, RELU, "Padding pad 1 1 b c 0=1 1=1 2=1 3=1", LAST.format("c"))
    pads = network(INPUT, CONVOLUTION, LAST.format("a").replace("1=1", "1=1 4=1"))
    found = judged(counterparts(padded, pads))
    assert found == {"relu": (["conv"], ["conv", "relu"]), "last": (["last"], ["pad", "last"])}


@pytest.mark.parametrize("operator", ["ReLU", "GELU", "Softmax"])
def test_a_layer_that_was_left_out_is_where_the_difference_is(operator: str) -> None:
    ends = "Split s2 1 2 d d0 d1", LAST.format("d0"), "Pooling pool 1 1 d1 out1 0=1 4=1"
    sum_ = "Split s 1 2 in0 x y", CONVOLUTION.replace("in0", "x"), "BinaryOp add 2 1 a y c 0=0"
    here = network(INPUT, *sum_, f"{operator} act 1 1 c d", *ends)
    there = network(INPUT, *sum_, ends[0].replace(" d ", " c "), *ends[1:])
    alone = {name: ([name], [name]) for name in ("conv", "last", "pool")}
    assert judged(counterparts(here, there)) == {**alone, "act": (["add"], ["add", "act"])}
    assert judged(counterparts(there, here)) == {**alone, "add": (["add", "act"], ["add"])}


def test_what_may_be_elsewhere_is_not_held_against_what_is_in_front_of_it() -> None:
    """An activation is behind a Pooling there, and a BatchNorm may be in the weights of its reader."""
    pool = "Pooling pool 1 1 {} {} 1=2 2=2"
    here = network(INPUT, CONVOLUTION, RELU, pool.format("b", "c"), LAST.format("c"))
    relu = "ReLU r 1 1 b c"
    there = network(INPUT, CONVOLUTION, pool.format("a", "b"), relu, LAST.format("c"))
    assert judged(counterparts(here, there)) == {
        "conv": (["conv"], ["conv"]),
        "last": (["pool", "r", "last"], ["relu", "pool", "last"]),
    }
    front = INPUT, "TanH t 1 1 in0 a"
    normed = network(*front, "BatchNorm norm 1 1 a b 0=8", LAST.format("b"))
    found = judged(counterparts(normed, network(*front, LAST.format("a"))))
    assert found == {"t": (["t"], ["t"]), "last": (["last"], ["norm", "last"])}


@pytest.mark.parametrize("operator", ["ReLU", "GELU"])
def test_one_activation_behind_a_concat_may_stand_for_those_in_front_of_it(operator: str) -> None:
    front = INPUT, "Split s 1 2 in0 x y", "AbsVal a 1 1 x a", "TanH t 1 1 y t"
    two = f"{operator} p 1 1 a p", f"{operator} q 1 1 t q", "Concat cat 2 1 p q c 0=0"
    one = "Concat cat 2 1 a t c0 0=0", f"{operator} both 1 1 c0 c"
    found = judged(counterparts(*(network(*front, *some, LAST.format("c")) for some in (two, one))))
    assert (found["a"], found["t"]) == ((["a"], ["a"]), (["t"], ["t"]))


def test_a_layer_in_both_directions_may_be_two() -> None:
    """What reads them tells that their values are joined in place of its value."""
    lstm = "LSTM lstm 1 1 in0 a 0=8 1=512 2=2"
    two = (
        "Split s 1 2 in0 x y",
        "LSTM lstm 1 1 x f 0=8 1=256",
        "LSTM back 1 1 y g 0=8 1=256 2=1",
        "Concat join 2 1 f g a 0=1",
    )
    end = "InnerProduct end 1 1 a out0 0=4 1=1 2=64"
    one, other = network(INPUT, lstm, end), network(INPUT, *two, end)
    together, alone = ["lstm", "back", "join"], (["end"], ["end"])
    assert judged(counterparts(one, other)) == {"lstm": (together, ["lstm"]), "end": alone}
    found = judged(counterparts(other, one))
    assert found == {"join": (["lstm"], together), "end": alone}


def test_a_product_of_several_is_not_one_of_them() -> None:
    product = "Gemm {} 1 1 {} {} 3=1 5=1 6=1 8={} 9=8 10=-1"
    ends = [f"Softmax {x}s 1 1 {x} out{n} 0=1" for n, x in enumerate("qkv")]
    three = [product.format(x, f"in0_{x}", x, 8) for x in "qkv"]
    here = network(INPUT, "Split s 1 3 in0 in0_q in0_k in0_v", *three, *ends)
    sliced = "Slice sl 1 3 qkv q k v -23300=3,8,8,-233 1=1"
    there = network(INPUT, product.format("q", "in0", "qkv", 24), sliced, *ends)
    found = judged(counterparts(here, there))
    assert found == {f"{x}s": (["q", "sl", f"{x}s"], [x, f"{x}s"]) for x in "qkv"}


ERF = (
    "Split s 1 2 a a0 a1",
    "BinaryOp half 1 1 a0 h 0=2 1=1 2=0.7071068",
    "Erf erf 1 1 h e",
    "BinaryOp one 1 1 e f 0=0 1=1 2=1",
    "BinaryOp mul 2 1 a1 f g 0=2",
    "BinaryOp end 1 1 g b 0=2 1=1 2=0.5",
)


@pytest.mark.parametrize("same", [True, False])
def test_into_weights_that_are_the_same_nothing_was_folded(same: bool, tmp_path: Path) -> None:
    """So what a layer reads has one value in both files, however it is computed."""
    lines = INPUT, CONVOLUTION
    here = network(*lines, "GELU gelu 1 1 a b", LAST.format("b"))
    there = network(*lines, *ERF, LAST.format("b"))
    rng = np.random.RandomState(0)
    conv, last = (rng.normal(size=n).astype(np.float32) for n in (72 + 8, 32 + 4))
    tag = bytes(4)
    files = tmp_path / "a.bin", tmp_path / "b.bin"
    for path, weights in zip(files, (last, last if same else 2 * last), strict=True):
        path.write_bytes(tag + conv.tobytes() + tag + weights.tobytes())
    found = judged(counterparts(here, there, files))
    names = [line.split()[1] for line in ERF[1:]]
    if same:
        assert found["gelu"] == (names, ["gelu"])
        assert found["last"] == (["last"], ["last"])
    else:
        assert found["last"] == ([*names, "last"], ["gelu", "last"])


def test_a_padding_may_be_in_the_parameters_of_its_reader_and_a_view_tells_nothing(
    tmp_path: Path,
) -> None:
    """Their weights are the same, but what they read is not."""
    front = INPUT, "Convolution conv 1 1 in0 a 0=8 1=1 5=1 6=8"
    padded = network(*front, "Padding pad 1 1 a b 0=1 1=1 2=1 3=1", LAST.format("b"))
    flat = network(*front, "Flatten flat 1 1 a b", LAST.format("b"))
    rng = np.random.RandomState(0)
    first, last = (rng.normal(size=n).astype(np.float32).tobytes() for n in (8 + 8, 32 + 4))
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(4) + first + bytes(4) + last)
    other = tmp_path / "b.bin"
    other.write_bytes(bytes(4) + first + bytes(4) + last + bytes(4))
    ends = [LAST.format("a").replace("1=1", "1=1 4=1"), LAST.format("a")]
    for here, name, end in zip((padded, flat), ("pad", "flat"), ends, strict=True):
        found = judged(counterparts(here, network(*front, end), (path, other)))
        assert found == {"conv": (["conv"], ["conv"]), "last": (["last"], [name, "last"])}
    active = network(*front, "GELU gelu 1 1 a b", LAST.format("b").replace("1=1", "1=1 4=1"))
    moved = network(*front, "Padding pad 1 1 a b 0=1 1=1 2=1 3=1", LAST.format("b"))
    found = judged(counterparts(active, moved, (path, other)))
    assert found == {"gelu": (["conv"], ["conv", "gelu"]), "last": (["pad", "last"], ["last"])}


@pytest.mark.parametrize("active_here", [True, False])
@pytest.mark.parametrize("padded_here", [True, False])
@pytest.mark.parametrize("operator", ["GELU", "ReLU", "PReLU"])
def test_what_pads_behind_a_lost_activation_is_no_part_of_the_difference(
    operator: str, padded_here: bool, active_here: bool
) -> None:
    """One file has a Padding in front of the last layer, in the other that layer pads by itself."""

    def written(padded: bool, active: bool) -> Graph:
        blob, lines = "a", [INPUT, CONVOLUTION]
        if active:
            lines.append(f"{operator} act 1 1 a b {'0=8' if operator == 'PReLU' else ''}")
            blob = "b"
        if padded:
            lines.append(f"Padding pad 1 1 {blob} c 0=1 1=1 2=1 3=1")
            blob = "c"
        return network(*lines, LAST.format(blob).replace("1=1", f"1=3 4={int(not padded)}"))

    here, there = written(padded_here, active_here), written(not padded_here, not active_here)
    lost = (["conv"], ["conv", "act"]) if active_here else (["conv", "act"], ["conv"])
    last = (["last"], ["pad", "last"]) if padded_here else (["pad", "last"], ["last"])
    name = "act" if active_here else "conv"
    assert judged(counterparts(here, there)) == {name: lost, "last": last}


def test_activations_that_one_activation_stands_for_are_judged_where_it_is() -> None:
    """What is between them holds other values, and is fed with none."""
    front = INPUT, "Split s 1 2 in0 x y", "AbsVal a 1 1 x a", "Softmax t 1 1 y t"
    views = "Reshape r{0} 1 1 {0} r{0} 0=8", "Reshape r{1} 1 1 {1} r{1} 0=8"
    behind = [line.format("p", "q") for line in views]
    two = "Sigmoid p 1 1 a p", "Sigmoid q 1 1 t q", *behind, "Concat cat 2 1 rp rq c 0=0"
    before = [line.format("a", "t") for line in views]
    one = *before, "Concat cat 2 1 ra rt c0 0=0", "Sigmoid both 1 1 c0 c"
    end = "Permute end 1 1 c out0 0=1"
    found = judged(counterparts(*(network(*front, *some, end) for some in (two, one))))
    assert found == {
        "a": (["a"], ["a"]),
        "t": (["t"], ["t"]),
        "end": (["ra", "rt", "cat", "both", "end"], ["p", "q", "rp", "rq", "cat", "end"]),
    }


@pytest.mark.parametrize(("count", "judged_together"), [(16, 2), (18, 1)])
def test_where_many_activations_differ_none_is_looked_for_elsewhere(
    count: int, judged_together: int
) -> None:
    """Each second layer activates in one file, and the others in the other file."""
    blobs = [*(f"b{n}" for n in range(1, count)), "out0"]
    layers = [
        f"Convolution c{n} 1 1 {read} {made} 0=8 1=3 5=1 6=576 9="
        for n, (read, made) in enumerate(zip(["in0", *blobs], blobs, strict=False))
    ]
    one, other = (network(INPUT, *(f"{x}{(n + k) % 2}" for n, x in enumerate(layers))) for k in (0, 1))
    found = judged(counterparts(one, other))
    assert {len(replaced) for _, replaced in found.values()} == {judged_together}


def test_a_layer_that_only_one_file_has_behind_an_input_leaves_the_input_what_it_is() -> None:
    here = network(INPUT, "ReLU first 1 1 in0 z", CONVOLUTION.replace("in0", "z"), LAST.format("a"))
    found = named(counterparts(here, network(INPUT, CONVOLUTION, LAST.format("a"))))
    assert found["conv"] == (["conv"], ["first", "conv"], {"in0": "in0"})
