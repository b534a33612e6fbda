"""What quantizing a layer keeps, in whatever words both files say it."""

from __future__ import annotations

import math

import pytest
from written_graphs import fed

from pytest_ncnn_parity.network.versions.kept_by_quantizing import Difference, differences

CONV = "Convolution c 1 1 in0 c 0=8 1=3 5=1 6=216"


def found(here: list[str], there: list[str], end: float = math.inf) -> list[Difference]:
    own, other = fed(*here).layers[1:], fed(*there).layers[1:]
    cores = [next(one for one in some if one.name == "c") for some in (own, other)]
    return list(differences(cores[0], own, cores[1], other, end))


def activated(*words: str) -> list[str]:
    """A Convolution with the activation `words`, which are parameters of it or another layer."""
    (first, *more) = words or ("",)
    return [CONV, *words] if " " in first and not first.startswith("9=") else [f"{CONV} {first}", *more]


RELU, CLIP = "ReLU r 1 1 c r", "Clip r 1 1 c r"


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("", "9=0"),
        ("9=1", RELU),
        (RELU, f"{RELU} 0=0.0"),
        ("9=2 -23310=1,0", "9=1"),
        ("9=2 -23310=1,0.1", f"{RELU} 0=1e-1"),
        ("9=2 -23310=1,1", "9=0"),
        ("9=3 -23310=2,0,6.0", f"{CLIP} 0=0.0 1=6"),
        ("9=3 -23310=2,0.0,3.402823e+38", "9=1"),
        (f"{CLIP} 0=-0.0", "9=1"),
        (CLIP, "9=0"),
        ("9=6 -23310=2,0.166667,0.5", "HardSwish h 1 1 c h 0=0.16666667 1=0.5"),
        ("9=6 -23310=2,0.2,0.5", "HardSwish h 1 1 c h"),
        ("9=4", "Sigmoid s 1 1 c s"),
        ("9=5", "Mish s 1 1 c s"),
        ("PReLU p 1 1 c p 0=1", "9=2 -23310=1,0.1"),  # its slope stands with the weights
        ("9=2", "9=1"),  # without a slope
        ("9=17", "9=1"),
        ("UnaryOp u 1 1 c u 0=0", "9=1"),
    ],
)
def test_spellings_of_the_same_or_of_what_is_not_known(here: str, there: str) -> None:
    assert found(activated(here), activated(there)) == []
    assert found(activated(there), activated(here)) == []


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        ("9=1", "", ("ReLU", "none")),
        (RELU, "9=2 -23310=1,0.01", ("ReLU", "ReLU with slope 0.01")),
        ("9=1", "9=3 -23310=2,0.0,3.0", ("ReLU", "Clip from 0 to 3")),
        ("9=3 -23310=2,-1,6", f"{CLIP} 0=-1 1=6.1", ("Clip from -1 to 6", "Clip from -1 to 6.1")),
        ("9=6 -23310=2,0.2,0.5", "9=1", ("HardSwish 0.2 0.5", "ReLU")),
        ("9=4", "Mish m 1 1 c m", ("Sigmoid", "Mish")),
    ],
)
def test_another_activation(here: str, there: str, words: tuple[str, str]) -> None:
    assert found(activated(here), activated(there)) == [Difference("activation", *words)]


def test_an_activation_may_stand_behind_what_is_folded() -> None:
    held = "MemoryData k 0 1 k 0=8"
    folded = [held, CONV, "BatchNorm n 1 1 c n 0=8", "BinaryOp b 2 1 n k b 0=2", "ReLU r 1 1 b r"]
    assert found(folded, activated("9=1")) == []
    assert len(found(folded, activated(""))) == 1
    sum_of_two = [CONV, "BinaryOp b 2 1 c in0 b 0=0", "ReLU r 1 1 b r"]
    assert found(sum_of_two, activated("")) == []  # which is not known
    assert found([f"{CONV} 9=1", "Clip r 1 1 c r"], activated("")) == []


def test_an_activation_that_was_a_layer_in_front_is_gone() -> None:
    front, behind = "ReLU r 1 1 in0 r", "Convolution c 1 1 r c 0=8 1=3 5=1 6=216"
    gone = [Difference("input's activation", "ReLU", "none")]
    assert found([front, behind], [CONV]) == gone
    copied = "Split s 1 2 r x y", "Convolution c 1 1 y c 0=8 1=3 5=1 6=216"
    assert found([front, *copied], [CONV]) == gone
    assert found([front, behind], [front, behind]) == []
    assert found([front, CONV], [CONV]) == []  # which reads something else
    assert found(["Padding p 1 1 in0 p", front, behind], [CONV]) == []


def test_what_int8_clips_an_activation_need_not_clip() -> None:
    clip = activated("9=3 -23310=2,0,6")
    assert found(clip, activated("9=1"), end=5.5) == []
    assert found(clip, activated("9=1"), end=6.01) == []  # by less than a step
    assert len(found(clip, activated("9=1"), end=6.2)) == 1
    assert len(found(clip, activated(""), end=5.5)) == 1


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("4=0", ""),
        ("2=1 3=1 13=1 11=3", "12=1"),
        ("4=1", "4=1 14=1 15=1 16=1"),
        ("18=1.0", ""),  # nothing is padded
        ("4=-233", "4=1"),  # which may be the same
        ("4=1 18=0.0", "4=1"),
        ("4=x", "4=1"),
        ("8=2 31=4", ""),
    ],
)
def test_parameters_in_other_words(here: str, there: str) -> None:
    assert found([f"{CONV} {here}"], [f"{CONV} {there}"]) == []


@pytest.mark.parametrize(
    ("here", "there", "names"),
    [
        ("4=1", "4=1 18=1.0", ["pad_value (18=)"]),
        ("", "4=1", ["pad_left (4=)", "pad_right (15=)", "pad_top (14=)", "pad_bottom (16=)"]),
        ("3=2", "3=2 13=1", ["stride_h (13=)"]),
        ("", "2=2", ["dilation_w (2=)", "dilation_h (12=)"]),
    ],
)
def test_other_parameters(here: str, there: str, names: list[str]) -> None:
    assert [one.what for one in found([f"{CONV} {here}"], [f"{CONV} {there}"])] == names


def test_parameters_of_no_effect_or_of_a_layer_in_front() -> None:
    point = "Convolution c 1 1 in0 c 0=8 1=1 5=1 6=24"
    assert found([f"{point} 2=2"], [point]) == []
    apart = ["Padding p 1 1 in0 p 0=1 1=1 2=1 3=1", "Convolution c 1 1 p c 0=8 1=3 6=216"]
    assert found(apart, [f"{CONV} 4=1"]) == []
    depth = "ConvolutionDepthWise c 1 1 in0 c 0=8 1=3 6=72"
    assert found([f"{depth} 7=8"], [f"{depth} 7=4"]) == [Difference("group (7=)", "8", "4")]


def test_of_other_operators_only_what_says_what_they_compute() -> None:
    gemm = "Gemm c 1 1 in0 c 3=1 5=1 8=16 9=16"
    assert found([f"{gemm} 0=1.0 12=0"], [f"{gemm} 18=2 20=8 3=0"]) == []
    assert found([f"{gemm} 0=0.5"], [f"{gemm} 18=2"]) == [Difference("alpha (0=)", "0.5", "1")]
    heads = "MultiHeadAttention c 1 1 in0 c 0=16 2=256"
    assert found([f"{heads} 1=4 6=0.5"], [f"{heads} 1=4 18=2"]) == []  # a default of others
    assert found([f"{heads} 1=4"], [f"{heads} 18=2"]) == [Difference("num_heads (1=)", "4", "1")]
