"""Natural scales: what is bounded by how it is made, and what carries the bounds on."""

import pytest
from graphs import network

from pytest_ncnn_parity.network.natural_scale import Scale, levels_off, natural_scales, softmax_axis

PROBABILITY = Scale(1.0)
DISTRIBUTION = Scale(1.0, sums_to_one=True)


@pytest.mark.parametrize(
    "line",
    [
        "Sigmoid s in0 out",
        "HardSigmoid s in0 out 0=0.1666667 1=0.5",
        "TanH s in0 out",
        "Erf s in0 out",
        "UnaryOp s in0 out 0=16",
        "Convolution s in0 out 0=8 1=3 6=216 9=4",
        "ConvolutionDepthWise s in0 out 0=8 1=3 6=72 7=8 9=4",
        "InnerProduct s in0 out 0=8 2=64 9=4",
    ],
)
def test_what_levels_off_has_the_scale_of_its_bounds(line: str) -> None:
    graph = network(line)
    assert natural_scales(graph)["out"] == PROBABILITY
    assert levels_off(graph.layers[1])


@pytest.mark.parametrize(
    "line",
    [
        "Swish s in0 out",
        "HardSwish s in0 out",
        "GELU s in0 out",
        "Clip s in0 out 0=0.0 1=6.0",
        "ReLU s in0 out",
        "UnaryOp s in0 out 0=9",
        "UnaryOp s in0 out",
        "Convolution s in0 out 0=8 1=3 6=216 9=1",
        "Convolution s in0 out 0=8 1=3 6=216",
    ],
)
def test_what_is_not_bounded_by_levelling_off_has_none(line: str) -> None:
    assert natural_scales(network(line)) == {}


def test_a_softmax_sums_to_one_and_knows_where() -> None:
    graph = network("Softmax s in0 out 0=-1 1=1")
    assert natural_scales(graph) == {"out": DISTRIBUTION}
    assert softmax_axis(graph.layers[1], 3) == 2
    assert softmax_axis(network("Softmax s in0 out").layers[1], 2) == 0


@pytest.mark.parametrize(
    ("line", "probabilities", "distributions"),
    [
        ("Split c s out other", PROBABILITY, DISTRIBUTION),
        ("Reshape c s out 0=-1", PROBABILITY, DISTRIBUTION),
        ("Permute c s out 0=1", PROBABILITY, DISTRIBUTION),
        ("Flatten c s out", PROBABILITY, DISTRIBUTION),
        ("PixelShuffle c s out 0=2", PROBABILITY, DISTRIBUTION),
        # of a part of it, or of means, nothing sums to one
        ("Slice c s out other -23300=2,1,-233", PROBABILITY, PROBABILITY),
        ("Crop c s out 0=1", PROBABILITY, PROBABILITY),
        ("Pooling c s out 1=2", PROBABILITY, PROBABILITY),
        ("Interp c s out 0=2", PROBABILITY, PROBABILITY),
        ("GridSample c s,in0 out 0=1", PROBABILITY, PROBABILITY),
        ("ROIAlign c s,in0 out", PROBABILITY, PROBABILITY),
        ("PSROIPooling c s,in0 out", PROBABILITY, PROBABILITY),
        ("StatisticsPooling c s out 0=1", PROBABILITY, PROBABILITY),
        ("Dropout c s out 0=0.5", Scale(0.5), Scale(0.5)),
        ("Dropout c s out 0=2.0", Scale(2.0), None),
        ("Power c s out 0=1.0 1=255.0", Scale(255.0), None),
        ("Power c s out 0=2.0 1=-0.5 2=1.0", Scale(0.25), Scale(0.25)),
        ("Power c s out 0=1.0 1=1.0 2=40.0", None, None),
        ("Power c s out 0=-1.0", None, None),
        ("Diag c s out", PROBABILITY, PROBABILITY),
        ("CopyTo c s,s out", PROBABILITY, PROBABILITY),
        ("Shrink c s out", PROBABILITY, PROBABILITY),
        ("BinaryOp c s out 0=4 1=1 2=0.0", PROBABILITY, PROBABILITY),
        ("BinaryOp c s out 0=5 1=1 2=0.5", PROBABILITY, PROBABILITY),
        ("BinaryOp c s out 0=4 1=1 2=30.0", None, None),
        ("ReLU c s out", PROBABILITY, PROBABILITY),
        ("PReLU c s out 0=8", PROBABILITY, PROBABILITY),
        ("ELU c s out 0=1.0", PROBABILITY, PROBABILITY),
        ("Swish c s out", PROBABILITY, PROBABILITY),
        ("UnaryOp c s out 0=9", PROBABILITY, PROBABILITY),
        ("UnaryOp c s out 0=27", PROBABILITY, PROBABILITY),
        ("UnaryOp c s out 0=10", None, None),
        ("Reduction c s out 0=3", PROBABILITY, PROBABILITY),
        ("Padding c s out 0=1 5=1.0", PROBABILITY, PROBABILITY),
        ("BinaryOp c s out 0=7 1=1 2=1.0", PROBABILITY, PROBABILITY),
        ("UnaryOp c s out 0=5", PROBABILITY, PROBABILITY),
        ("BinaryOp c s out 0=2 1=1 2=0.5", Scale(0.5), Scale(0.5)),
        ("BinaryOp c s out 0=3 1=1 2=4.0", Scale(0.25), Scale(0.25)),
        # in another unit, as pixels from 0 to 255; a share of 1 among many is small by nature
        ("BinaryOp c s out 0=2 1=1 2=255.0", Scale(255.0), None),
        ("BinaryOp c s out 0=3 1=1 2=0.001", Scale(1000.0), None),
        ("BinaryOp c s out 0=3 1=1 2=0.0", None, None),
        ("BinaryOp c s out 0=0 1=1 2=40.0", None, None),
        # beyond the bounds, or enlarging what is small within them
        ("Padding c s out 0=1 5=-10.0", None, None),
        ("Reduction c s out", None, None),
        ("Reduction c s out 0=3 2=64.0", None, None),
        ("UnaryOp c s out 0=8", None, None),
        ("Convolution c s out 0=8 1=1 6=64", None, None),
        ("BatchNorm c s out 0=8", None, None),
    ],
)
def test_what_keeps_within_the_bounds_carries_the_scale_on(
    line: str, probabilities: Scale | None, distributions: Scale | None
) -> None:
    for maker, expected in (("Sigmoid", probabilities), ("Softmax", distributions)):
        assert natural_scales(network(f"{maker} s in0 s", line)).get("out") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Concat c p,q out", PROBABILITY),
        ("BinaryOp c p,q out 0=2", PROBABILITY),
        ("BinaryOp c p,q out 0=4", PROBABILITY),
        ("Eltwise c p,q out 0=0", PROBABILITY),
        ("BinaryOp c p,q out 0=0", Scale(2.0)),
        ("BinaryOp c p,q out 0=1", Scale(2.0)),
        ("BinaryOp c p,q out 0=3", None),
        ("Eltwise c p,q out 0=1", Scale(2.0)),
        ("Eltwise c p,q out 0=1 -23301=2,0.5,-0.25", Scale(0.75)),
        ("Eltwise c p,q out 0=1 -23301=3,0.5,0.5,0.5", None),
        ("BinaryOp c p,raw out 0=0", None),
        ("Concat c p,raw out", None),
        ("BinaryOp c p,raw out 0=2", None),
    ],
)
def test_of_two_values_both_must_be_bounded(line: str, expected: Scale | None) -> None:
    fork = ("Split f in0 a b raw", "Sigmoid p a p", "Softmax q b q")
    assert natural_scales(network(*fork, line)).get("out") == expected


def test_a_root_has_the_root_of_the_scale() -> None:
    for root in ("UnaryOp r f out 0=5", "BinaryOp r f out 0=6 1=1 2=0.5"):
        graph = network("Sigmoid s in0 s", "BinaryOp f s f 0=2 1=1 2=16.0", root)
        assert natural_scales(graph)["out"] == Scale(4.0)
    for power in ("0=6 1=1 2=-1.0", "0=6 1=1 2=0.0"):
        assert "out" not in natural_scales(network("Sigmoid s in0 s", f"BinaryOp r s out {power}"))


def test_a_picture_from_0_to_255_has_that_scale() -> None:
    graph = network(
        "TanH t in0 t", "BinaryOp u t u 0=0 1=1 2=1.0", "BinaryOp v u v 0=2 1=1 2=127.5", "Clip c v out"
    )
    assert natural_scales(graph)["out"] == Scale(127.5)
    shifted = network(
        "TanH t in0 t", "BinaryOp u t u 0=2 1=1 2=127.5", "BinaryOp v u out 0=0 1=1 2=127.5"
    )
    assert natural_scales(shifted)["out"] == Scale(127.5)


@pytest.mark.parametrize(
    ("maker", "lines", "expected"),
    [
        ("Sigmoid", ("BinaryOp d b d 0=0 1=1 2=0.01", "BinaryOp q a,d out 0=3"), Scale(1 / 1.01)),
        ("Sigmoid", ("BinaryOp d b d 0=0 1=1 2=-0.01", "BinaryOp q a,d out 0=3"), None),
        ("Sigmoid", ("BinaryOp d b d 0=2 1=1 2=0.01", "BinaryOp q a,d out 0=3"), None),
        ("Sigmoid", ("BinaryOp d b d 0=0 1=1 2=0.01", "BinaryOp q d,a out 0=3"), None),
        # it may divide by 0, or its values are no probabilities
        ("TanH", ("BinaryOp d b d 0=0 1=1 2=0.01", "BinaryOp q a,d out 0=3"), None),
        ("ReLU", ("BinaryOp d b d 0=0 1=1 2=0.01", "BinaryOp q a,d out 0=3"), None),
        ("Softmax", ("BinaryOp d b d 0=0 1=1 2=0.01", "BinaryOp q a,d out 0=3"), None),
        ("Sigmoid", ("UnaryOp e a e 0=7", "BinaryOp d e out 0=1 1=1 2=1.0"), PROBABILITY),
        ("TanH", ("UnaryOp e a e 0=7", "BinaryOp d e out 0=0 1=1 2=-1.0"), PROBABILITY),
        ("Sigmoid", ("UnaryOp e a e 0=7", "BinaryOp d e out 0=1 1=1 2=2.0"), None),
        ("ReLU", ("UnaryOp e a e 0=7", "BinaryOp d e out 0=1 1=1 2=1.0"), None),
        ("Softmax", ("UnaryOp e a e 0=7", "BinaryOp d e out 0=1 1=1 2=1.0"), None),
    ],
)
def test_what_levels_off_with_a_probability_has_a_scale(
    maker: str, lines: tuple[str, ...], expected: Scale | None
) -> None:
    graph = network(f"{maker} p in0 p", "Split s p a b", *lines)
    assert natural_scales(graph).get("out") == expected


def test_a_mean_of_shares_is_a_share() -> None:
    fork = ("Split f in0 a b", "Softmax p a p", "Softmax q b q", "BinaryOp c p,q c 0=0")
    half = network(*fork, "BinaryOp d c out 0=2 1=1 2=0.5")
    assert natural_scales(half)["out"] == Scale(1.0)
    places = network(*fork, "BinaryOp d c out 0=2 1=1 2=64.0")
    assert "out" not in natural_scales(places)


@pytest.mark.parametrize(
    ("one", "divide", "expected"),
    [
        ("2=1.0", "UnaryOp d p out 0=15", Scale(1.0)),
        ("2=1.0", "BinaryOp d p out 0=8 1=1 2=-2.0", Scale(2.0)),
        ("2=4.0", "UnaryOp d p out 0=15", Scale(0.25)),
        # bounded, but far from what they give
        ("2=1e-05", "UnaryOp d p out 0=15", None),
        ("2=-1.0", "UnaryOp d p out 0=15", None),
        ("2=1.0", "UnaryOp d p out 0=6", None),
        ("2=1.0", "BinaryOp d p out 0=3 1=1 2=2.0", None),
    ],
)
def test_a_sigmoid_in_layers_of_its_own_is_one(one: str, divide: str, expected: Scale | None) -> None:
    graph = network("UnaryOp e in0 e 0=7", f"BinaryOp p e p 0=0 1=1 {one}", divide)
    assert natural_scales(graph).get("out") == expected


@pytest.mark.parametrize(
    ("largest", "line", "expected"),
    [
        (0.0, "CopyTo c {},p out", PROBABILITY),
        (0.0, "Concat c p,{} out", PROBABILITY),
        (1.0, "BinaryOp c {},p out 0=1", PROBABILITY),
        (0.5, "BinaryOp c p,{} out 0=4", PROBABILITY),
        (7.0, "CopyTo c {},p out", None),
        # the unit of a product differs by element
        (0.5, "BinaryOp c p,{} out 0=2", None),
        (0.0, "CopyTo c {},raw out", None),
    ],
)
@pytest.mark.parametrize("constant", ["m", "copied"])
def test_a_constant_within_the_bounds_leaves_the_scale(
    largest: float, line: str, expected: Scale | None, constant: str
) -> None:
    graph = network(
        "Split f in0 a raw",
        "Softmax p a p",
        "MemoryData k in0 k 0=4",
        "Split g k m n",
        "Reshape r n copied 0=4",
        line.format(constant),
    )
    assert (
        natural_scales(graph, lambda layer: largest if layer.name == "k" else 1e9).get("out") == expected
    )
    assert "out" not in natural_scales(graph)


EXP = "UnaryOp exp x out 0=7"


@pytest.mark.parametrize(
    ("lines", "has_one"),
    [
        (["Softplus s in0 s", "UnaryOp n s x 0=1"], True),
        (["UnaryOp s in0 s 0=4", "BinaryOp n s x 0=2 1=1 2=-0.5"], True),
        (["Split f in0 a b", "BinaryOp s a,b s 0=2", "BinaryOp n s x 0=3 1=1 2=-0.5"], True),
        (["BinaryOp s in0 s 0=6 1=1 2=2.0", "UnaryOp n s x 0=1"], True),
        (["BinaryOp s in0 s 0=6 1=1 2=3.0", "UnaryOp n s x 0=1"], False),
        (["UnaryOp s in0 s 0=4", "Reduction r s r 0=0 5=1", "UnaryOp n r x 0=1"], True),
        (["AbsVal d in0 d", "ReLU s in0 s", "BinaryOp m s,d m 0=2", "UnaryOp n m x 0=1"], True),
        (["Softplus s in0 s", "UnaryOp n s m 0=1", "BinaryOp a m x 0=0 1=1 2=-1.0"], True),
        (["Sigmoid s in0 s", "UnaryOp log s x 0=8"], True),
        (["Softplus s in0 x"], False),
        (["UnaryOp n in0 x 0=1"], False),
        (["ReLU s in0 s 0=0.1", "UnaryOp n s x 0=1"], False),
        (["TanH d in0 d", "Softplus s in0 s", "BinaryOp m s,d x 0=2"], False),
        (["Softplus s in0 s", "UnaryOp n s m 0=1", "BinaryOp a m x 0=0 1=1 2=1.0"], False),
        (["UnaryOp log in0 x 0=8"], False),
    ],
)  # fmt: skip
def test_a_power_of_what_is_never_positive_levels_off(lines: list[str], has_one: bool) -> None:
    graph = network(*lines, EXP)
    assert natural_scales(graph).get("out") == (PROBABILITY if has_one else None)
