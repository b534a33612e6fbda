"""What becomes 0 in fp16 is followed through layers that are right with a 0, to one that is not."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

FP16, RANGE = "fp16-vs-fp32-vulkan", "fp16-range"
BOTH = f"compare: [{FP16}, {RANGE}]\n"


def normalized(folder: Path, behind: str, epsilon: float = 1e-8) -> None:
    """x / sqrt(sum(x * x) + epsilon), by `behind` the root; one row of x is 0, as silence is."""
    net = Network()
    a, b, c = net.split(net.layer("Input", "in0", params="0=16 1=4"), 3)
    x = net.layer("BinaryOp", "squares", [a, b], params="0=2")
    x = net.layer("Reduction", "sum", [x], params="0=0 1=0 -23303=1,1 4=1 5=1")
    x = net.layer("BinaryOp", "epsilon", [x], params=f"0=0 1=1 2={epsilon:g}")
    x = net.layer("UnaryOp", "root", [x], params="0=5")
    if behind == "copies":
        x = net.layer("Reshape", "reshape", [x], params="0=1 1=4")
        x, other = net.split(x, 2)
        net.layer("Noop", "beside", [other], ["out1"])
    if behind in ("reciprocal", "product"):
        x = net.layer("UnaryOp", "reciprocal", [x], params="0=15") if behind == "reciprocal" else x
        net.layer("BinaryOp", "last", [c, x], ["out0"], "0=2")
    elif behind == "offset":
        x = net.layer("BinaryOp", "last", [c, x], params="0=3")
        net.layer("BinaryOp", "offset", [x], ["out0"], "0=0 1=1 2=1")
    else:
        net.layer("BinaryOp", "last", [c, x], ["out0"], "0=3")
    net.write(folder / "net")
    values = np.random.RandomState(0).normal(size=(4, 16))
    values[2] = 0.0
    networks.fed(folder, BOTH, in0=values)


DIVIDES = "last (BinaryOp) makes 16 inf or nan"


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ("division", DIVIDES),
        ("copies", DIVIDES),
        ("reciprocal", "reciprocal (UnaryOp) makes 1 inf or nan"),
    ],
)
def test_an_epsilon_that_is_lost_breaks_a_division_behind_its_root(
    gate: Gate, pytester: pytest.Pytester, behind: str, said: str
) -> None:
    normalized(pytester.path, behind)
    run = gate()
    for comparison in (FP16, RANGE):
        red = run.cases[f"s::{comparison}::epsilon"]
        assert (red["outcome"], red["cause"]) == ("failed", "underflow")
        assert f" 0 in fp16, and {said}" in red["message"]
        # each is right with what the reference gives it
        assert {run.cases[f"s::{comparison}::{name}"]["outcome"] for name in ("root", "last")} == {
            "passed"
        }
        assert run.fixes[comparison]["verified"] is True
        assert {"epsilon", "root"} <= set(run.fixes[comparison]["masks"])
    assert run.ids("failed", RANGE) == [f"s::{RANGE}::epsilon"]
    assert run.cases[f"s::{FP16}::output:out0"]["cause"] == "underflow"


def test_an_epsilon_is_at_fault_where_what_is_divided_by_its_root_is_lost_as_well(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    normalized(pytester.path, "offset")
    # with what fp16 makes of these alone, only the quotient is wrong: 1 is added to it
    networks.fed(pytester.path, BOTH, in0=np.random.RandomState(0).normal(0.0, 5e-8, (4, 16)))
    run = gate()
    for comparison in (FP16, RANGE):
        assert run.cases[f"s::{comparison}::epsilon"]["cause"] == "underflow"
        assert run.cases[f"s::{comparison}::in0"]["outcome"] == "passed"


@pytest.mark.parametrize(("behind", "epsilon"), [("product", 1e-8), ("division", 1e-3)])
def test_a_zero_that_breaks_nobody_is_no_fault(
    gate: Gate, pytester: pytest.Pytester, behind: str, epsilon: float
) -> None:
    normalized(pytester.path, behind, epsilon)
    assert gate().ids("failed") == []


def test_masks_that_keep_the_epsilon_keep_the_division_right(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    normalized(pytester.path, "division")
    with (pytester.path / "net.parity.yaml").open("a", encoding="utf-8") as spec:
        spec.write("masks: {epsilon: 18, root: 18}\n")
    assert gate().ids("failed") == []


def test_of_two_inputs_with_zeros_the_one_that_breaks_the_reader_is_named(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The dividend has values that are 0 in fp16 as well, which do no harm."""
    normalized(pytester.path, "division")
    values = np.load(pytester.path / "in0.npy")
    values[:, 0] = [1e-9, -1e-9, 0.0, 1e-9]
    networks.fed(pytester.path, BOTH, in0=values)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed", RANGE) == [f"s::{RANGE}::epsilon"]


def test_a_power_of_a_zero_is_a_zero_whatever_the_shapes_are(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A pooling by a learned power, of which one channel is dead. ncnn's pow(0, p) on x86 is 2.4e38."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=4")
    x = net.layer("Clip", "clip", [x], params="0=1e-6 1=100.0")
    x = net.layer("BinaryOp", "cubes", [x], params="0=6 1=1 2=3.0")
    x = net.layer("Pooling", "mean", [x], params="0=1 4=1")
    power = net.layer("MemoryData", "power", params="0=1", weights=[np.array([1 / 3])], flagged=False)
    x = net.layer("BinaryOp", "root", [x, power], params="0=6")
    weights = np.random.RandomState(0).normal(0, 0.5, (8, 4))
    net.layer("InnerProduct", "fc", [x], ["out0"], "0=8 1=0 2=32", [weights])
    net.write(pytester.path / "net")
    values = np.random.RandomState(1).uniform(0.1, 2.0, (4, 8, 8))
    values[2] = 0.0
    networks.fed(pytester.path, BOTH, in0=values)
    assert gate("--ncnn-parity-fix=off").ids("failed") == []


def test_a_root_of_0_that_the_cpu_computes_wrongly_is_no_fault_of_lost_values(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=24 1=1")
    x = net.layer("UnaryOp", "sizes", [x], params="0=0")
    net.layer("BinaryOp", "root", [x], ["out0"], "0=6 1=1 2=0.5")
    net.write(pytester.path / "net")
    networks.fed(pytester.path, BOTH, in0=np.array([[0.0, 1e-8, 0.5, 1.0] * 6]))
    run = gate("--ncnn-parity-fix=off")
    for comparison in (FP16, RANGE):
        assert run.cases[f"s::{comparison}::sizes"]["outcome"] == "passed"


@pytest.mark.parametrize("behind", ["cosine", "scaled"])
def test_an_angle_that_is_off_by_a_turn_is_followed_to_what_reads_it(
    gate: Gate, pytester: pytest.Pytester, behind: str
) -> None:
    """The phase of what is real: its imaginary part is 1e-14, and atan2 of -0 and 0 differ by a turn."""
    net = Network()
    real, imaginary = (net.layer("Input", name, params="0=32") for name in ("in0", "in1"))
    real = net.layer("BinaryOp", "twice", [real], params="0=2 1=1 2=2.0")
    imaginary = net.layer("BinaryOp", "half", [imaginary], params="0=2 1=1 2=0.5")
    x = net.layer("BinaryOp", "angle", [imaginary, real], params="0=10")
    if behind == "cosine":
        net.layer("UnaryOp", "cosine", [x], ["out0"], "0=10")
    else:
        net.layer("BinaryOp", "scaled", [x], ["out0"], "0=2 1=1 2=3.0")
    net.write(pytester.path / "net")
    real_values = np.random.RandomState(0).normal(0, 2.0, 32)
    imaginary_values = np.random.RandomState(1).normal(0, 1.0, 32)
    real_values[::4], imaginary_values[::4] = -1.0, -1e-14
    networks.fed(pytester.path, BOTH, in0=real_values, in1=imaginary_values)
    red = gate("--ncnn-parity-fix=off").ids("failed", RANGE)
    assert red == ([] if behind == "cosine" else [f"s::{RANGE}::half"])


# what makes inf of values that become 0, and what reads it: with parameters, and whether it is right
LOGARITHM, RECIPROCAL = ("UnaryOp", "0=8"), ("UnaryOp", "0=15")
READERS = {
    "clipped": (LOGARITHM, [("Clip", "0=-5.0 1=5.0")], True),
    "clipped far behind": (LOGARITHM, [("Reshape", "0=16 1=4"), ("Clip", "0=-5.0 1=5.0")], True),
    "softmax": (LOGARITHM, [("Softmax", "0=1 1=1")], True),
    "at most": (RECIPROCAL, [("BinaryOp", "0=5 1=1 2=50.0")], True),
    "times": (LOGARITHM, [("BinaryOp", "0=2 1=1 2=0.001")], False),
    "an output": (LOGARITHM, [], False),
    "clipped too late": (LOGARITHM, [("UnaryOp", "0=4"), ("Clip", "0=0.0 1=1000.0")], False),
}


@pytest.mark.parametrize(("maker", "readers", "right"), READERS.values(), ids=READERS.keys())
def test_inf_that_a_zero_becomes_is_judged_by_its_readers(
    gate: Gate,
    pytester: pytest.Pytester,
    maker: tuple[str, str],
    readers: list[tuple[str, str]],
    right: bool,
) -> None:
    """Probabilities, one of which is 0, and 1e-9 is added."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=4")
    x = net.layer("BinaryOp", "epsilon", [x], params="0=0 1=1 2=1e-9")
    for number, (kind, params) in enumerate([maker, *readers]):
        outputs = ["out0"] if number == len(readers) else None
        x = net.layer(kind, f"reader{number}", [x], outputs, params)
    net.write(pytester.path / "net")
    values = np.random.RandomState(0).uniform(0.1, 1.0, (4, 16))
    values[2, 5] = 0.0
    values[0, 0] = 1.0 - 2.0**-24  # the square of its logarithm is 0 in fp16 as well, and does no harm
    networks.fed(pytester.path, BOTH, in0=values)
    run = gate("--ncnn-parity-fix=off")
    if right:
        assert run.ids("failed") == []
    else:
        assert run.ids("failed", RANGE) == [f"s::{RANGE}::epsilon"]
        assert run.cases[f"s::{FP16}::epsilon"]["cause"] == "underflow"
        assert f"s::{FP16}::output:out0" in run.ids("failed")


def test_inf_is_followed_to_a_reader_that_is_not_selected(gate: Gate, pytester: pytest.Pytester) -> None:
    """A Clip twelve layers behind the logarithm."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("BinaryOp", "epsilon", [x], params="0=0 1=1 2=1e-9")
    x = net.layer("UnaryOp", "log", [x], params="0=8")
    for number in range(12):
        x = net.layer("BinaryOp", f"factor{number}", [x], params="0=2 1=1 2=0.9")
    net.layer("Clip", "clip", [x], ["out0"], "0=-0.5 1=5.0")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, f"inputs: {{s: {{in0: {{constant: 0.0}}}}}}\ncompare: [{RANGE}]\n")
    assert gate("--ncnn-parity-fix=off").ids("failed") == []
    alone = gate("--ncnn-parity-fix=off", "-k", "epsilon")
    assert alone.ids("passed") == [f"s::{RANGE}::epsilon"]


def test_a_lost_square_that_is_magnified_before_a_logarithm_is_a_fault(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """log(1 + 60000 * sqrt(a * a + b * b)), the spectrum of a voice: 1e-8 is 0, and 7 becomes 1."""
    net = Network()
    inputs = [net.layer("Input", name, params="0=16 1=4") for name in ("a", "b")]
    squares = [net.layer("UnaryOp", f"square_{x}", [x], params="0=4") for x in inputs]
    x = net.layer("BinaryOp", "sum", squares, params="0=0")
    x = net.layer("UnaryOp", "root", [x], params="0=5")
    x = net.layer("BinaryOp", "times", [x], params="0=2 1=1 2=60000.0")
    x = net.layer("BinaryOp", "plus", [x], params="0=0 1=1 2=1.0")
    net.layer("UnaryOp", "log", [x], ["out0"], "0=8")
    net.write(pytester.path / "net")
    values = np.random.RandomState(0).uniform(0.01, 0.05, (2, 4, 16))
    values[:, 2, 5:8] = 1e-4
    networks.fed(pytester.path, BOTH, a=values[0], b=values[1])
    run = gate()
    lost = ["square_a", "square_b", "sum"]
    assert run.ids("failed", RANGE) == [f"s::{RANGE}::{name}" for name in lost]
    for comparison in (FP16, RANGE):
        assert {run.cases[f"s::{comparison}::{name}"]["cause"] for name in lost} == {"underflow"}
        assert {"sum", "root"} < set(run.fixes[comparison]["masks"]) <= {*lost, "root"}
        assert run.fixes[comparison]["verified"] is True


def test_inf_that_is_taken_out_is_a_fault_whatever_its_readers_make_of_it(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("BinaryOp", "epsilon", [x], params="0=0 1=1 2=1e-9")
    x = net.layer("UnaryOp", "log", [x], params="0=8")
    net.layer("Clip", "clip", [x], ["out0"], "0=-5.0 1=5.0")
    net.write(pytester.path / "net")
    values = np.random.RandomState(0).uniform(0.1, 1.0, 16)
    values[3] = 0.0
    networks.fed(pytester.path, f"compare: [{RANGE}]\n", in0=values)
    assert gate().ids("failed") == []
    networks.fed(pytester.path, f"compare: [{RANGE}]\noutputs: [log, out0]\n", in0=values)
    assert gate("--ncnn-parity-fix=off").ids("failed") == [f"s::{RANGE}::epsilon"]


@pytest.mark.parametrize(("floor", "right"), [(8.0, True), (60.0, False)])
def test_another_logarithm_that_a_maximum_replaces_is_no_fault(
    gate: Gate, pytester: pytest.Pytester, floor: float, right: bool
) -> None:
    """log10(max(x, 1e-10)), and nothing more than `floor` below its largest: the spectrum of a voice."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=4")
    x = net.layer("Clip", "clamp", [x], params="0=1e-10 1=1e10")
    a, b = net.split(net.layer("UnaryOp", "log", [x], params="0=17"), 2)
    a = net.layer("Reduction", "largest", [a], params="0=4 1=1 4=0 5=1")
    a = net.layer("BinaryOp", "floor", [a], params=f"0=1 1=1 2={floor}")
    net.layer("BinaryOp", "maximum", [b, a], ["out0"], "0=4")
    net.write(pytester.path / "net")
    values = np.random.RandomState(0).uniform(0.5, 2.0, (4, 16))
    values[1, :8] = 10.0 ** np.linspace(-12.0, -8.5, 8)
    values[0, 0] = 100.0
    networks.fed(pytester.path, BOTH, in0=values)
    run = gate("--ncnn-parity-fix=off")
    assert (run.ids("failed") == []) is right
    if not right:
        assert run.cases[f"s::{RANGE}::clamp"]["cause"] == "underflow"


def entropy(folder: Path, keeps_off_zero: tuple[str, str], weighted: bool, rest: float = -25.0) -> None:
    """The sum of log(p + 1e-8), or with another operator that keeps p off 0; most of p is tiny.

    `weighted`: each logarithm is multiplied by its p. `rest`: the logits of what is tiny.
    """
    operator, params = keeps_off_zero
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=4")
    x = net.layer("Softmax", "p", [x], params="0=1 1=1")
    a, x = net.split(x, 2) if weighted else (None, x)
    x = net.layer(operator, "epsilon", [x], params=params)
    x = net.layer("UnaryOp", "log", [x], params="0=8")
    if a is not None:
        x = net.layer("BinaryOp", "terms", [a, x], params="0=2")
    net.layer("Reduction", "sum", [x], ["out0"], "0=0 1=0 -23303=1,1 4=1 5=1")
    net.write(folder / "net")
    logits = np.full((4, 16), rest)
    logits[:, 3], logits[:, 7] = 1.0, 0.5
    logits[:, 5] = max(rest, -16.6)  # of the size of the epsilon
    networks.fed(folder, BOTH, in0=logits)


@pytest.mark.parametrize("weighted", [False, True], ids=["sum", "entropy"])
@pytest.mark.parametrize(
    "keeps_off_zero",
    [("BinaryOp", "0=0 1=1 2=1e-8"), ("BinaryOp", "0=4 1=1 2=1e-8"), ("Clip", "0=1e-8 1=1")],
    ids=["added", "maximum", "clip"],
)
def test_an_epsilon_that_is_lost_behind_a_value_that_is_lost_is_the_fault(
    gate: Gate, pytester: pytest.Pytester, keeps_off_zero: tuple[str, str], weighted: bool
) -> None:
    """The sum of 0 and 1e-8 is 0 in fp16 as well; a probability that is 0 breaks nobody by itself."""
    entropy(pytester.path, keeps_off_zero, weighted)
    run = gate()
    for comparison in (FP16, RANGE):
        layers = [name for name in run.ids("failed", comparison) if "output" not in name]
        assert layers == [f"s::{comparison}::epsilon"]
        red = run.cases[layers[0]]
        assert (red["cause"], red["outcome"]) == ("underflow", "failed")
        assert "log (UnaryOp) makes 56 inf or nan" in red["message"]
        assert run.fixes[comparison]["verified"] is True
    assert run.cases[f"s::{FP16}::output:out0"]["cause"] == "underflow"


def test_what_is_computed_from_zeros_is_held_in_fp16_as_well(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """fp16 holds p + 1e-8, which is 3.5e-8, but not what is left of it where p is 0."""
    entropy(pytester.path, ("BinaryOp", "0=0 1=1 2=1e-8"), weighted=False, rest=-16.03)
    run = gate()
    for comparison in (FP16, RANGE):
        red = run.cases[f"s::{comparison}::p"]
        assert (red["outcome"], red["cause"]) == ("failed", "underflow")
        assert "log (UnaryOp) makes 56 inf or nan" in red["message"]


@pytest.mark.parametrize("epsilon", ["1e-3", "1e-5"])
def test_an_epsilon_that_fp16_holds_is_no_fault_behind_a_value_that_is_lost(
    gate: Gate, pytester: pytest.Pytester, epsilon: str
) -> None:
    entropy(pytester.path, ("BinaryOp", f"0=0 1=1 2={epsilon}"), weighted=True)
    assert gate().ids("failed") == []


def difference(folder: Path, left: np.ndarray, right: np.ndarray, factor: float) -> None:
    """(left - right) * factor + left, of two inputs, from two copies of the difference."""
    net = Network()
    a, b, c = net.split(net.layer("Input", "in0", params="0=16 1=4"), 3)
    other = net.layer("Input", "in1", params="0=16 1=4")
    copies = net.split(net.layer("BinaryOp", "difference", [a, other], params="0=1"), 2)
    for i, (copy, level) in enumerate(zip(copies, (b, c), strict=True)):
        x = net.layer("BinaryOp", f"gain{i}", [copy], params=f"0=2 1=1 2={factor:g}")
        net.layer("BinaryOp", f"add{i}", [x, level], [f"out{i}"], "0=0")
    net.write(folder / "net")
    networks.fed(folder, BOTH, in0=left, in1=right)


def test_what_rounding_leaves_of_terms_that_cancel_may_be_0(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """As the variance on a flat picture, mean(x * x) - mean(x) * mean(x): 3e-8 of 0.49, in truth 0."""
    flat = np.full((4, 16), 0.49, np.float32)
    residue = flat + np.float32(2.0**-25) * np.random.RandomState(0).randint(-1, 2, (4, 16))
    difference(pytester.path, residue.astype(np.float32), flat, 1e3)
    run = gate()
    assert run.ids("failed") == []
    assert {
        f"s::{comparison}::{name}" for comparison in (FP16, RANGE) for name in ("gain0", "add1")
    } <= (set(run.ids("passed")))


def test_what_rounding_leaves_of_a_sum_that_two_differences_take_apart_may_be_0(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """(x + c) - c - x of an x of 0.01 and a c of 1 is 3e-8, by the rounding of x + c."""
    net = Network()
    rng = np.random.RandomState(0)
    first, again = net.split(net.layer("Input", "in0", params="0=16 1=4"), 2)
    added, taken, level = net.split(net.layer("Input", "in1", params="0=16 1=4"), 3)
    x = net.layer("BinaryOp", "sum", [first, added], params="0=0")
    x = net.layer("BinaryOp", "back", [x, taken], params="0=1")
    x = net.layer("BinaryOp", "left", [x, again], params="0=1")
    x = net.layer(
        "InnerProduct", "weigh", [x], params="0=16 2=256", weights=[rng.normal(0, 1, (16, 16))]
    )
    net.layer("BinaryOp", "end", [x, level], ["out0"], "0=0")
    net.write(pytester.path / "net")
    networks.fed(
        pytester.path, BOTH, in0=rng.uniform(0.005, 0.01, (4, 16)), in1=rng.uniform(0.5, 0.9, (4, 16))
    )
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == []
    assert f"s::{RANGE}::left" in run.ids("passed")


def test_a_small_difference_that_is_no_rounding_is_a_fault_where_it_is_lost(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """3e-8 of 0.001, times 30,000: fp32 knows it to a third of a percent."""
    level = np.full((4, 16), 1e-3, np.float32)
    little = level + 3e-8 * np.random.RandomState(0).uniform(0.5, 1.0, (4, 16))
    difference(pytester.path, little.astype(np.float32), level, 3e4)
    run = gate()
    for comparison in (FP16, RANGE):
        red = run.cases[f"s::{comparison}::difference"]
        assert (red["outcome"], red["cause"]) == ("failed", "underflow")


def test_the_square_of_a_probability_that_is_0_in_fp16(gate: Gate, pytester: pytest.Pytester) -> None:
    """(2 * Sigmoid(x)) ** 2, as detectors compute sizes: a CPU that gives 2.4e38 for 0 is no witness."""
    net = Network()
    x = net.layer("Sigmoid", "sigmoid", [net.layer("Input", "in0", params="0=16 1=4")])
    x = net.layer("BinaryOp", "double", [x], params="0=2 1=1 2=2.0")
    net.layer("BinaryOp", "square", [x], ["out0"], "0=6 1=1 2=2.0")
    net.write(pytester.path / "net")
    values = np.random.RandomState(0).normal(0.0, 2.0, (4, 16))
    values[0, :5] = -20.0
    networks.fed(pytester.path, BOTH, in0=values)
    run = gate()
    assert run.ids("failed") == []
    assert f"s::{FP16}::square" in run.ids("passed")


@pytest.mark.parametrize("adds", ["BinaryOp 0=0", "Eltwise 0=1", "Scale"])
def test_a_lost_value_that_others_are_added_to_is_followed(
    gate: Gate, pytester: pytest.Pytester, adds: str
) -> None:
    """1 / (1 + 1e11 x): of 1e-9, which is 0 in fp16, it is 0.01 in place of 1."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=1 2=1")
    x = net.layer("UnaryOp", "tiny", [x], params="0=0")
    x = net.layer("BinaryOp", "up", [x], params="0=2 1=1 2=1e11")
    kind, _, params = adds.partition(" ")
    if kind == "Scale":
        weights = [np.ones(1), np.ones(1)]
        x = net.layer(kind, "add", [x], params="0=1 1=1", weights=weights, flagged=False)
    else:
        one = net.layer("MemoryData", "one", params="0=16 1=1 2=1", weights=[np.ones(16)], flagged=False)
        x = net.layer(kind, "add", [x, one], params=params)
    net.layer("UnaryOp", "inverse", [x], ["out0"], "0=15")
    net.write(pytester.path / "net")
    values = np.full((1, 1, 16), 6e-7)
    values[0, 0, 3] = 1e-9
    networks.fed(pytester.path, f"compare: [{RANGE}]\n", in0=values)
    run = gate("--ncnn-parity-fix=off")
    case = run.cases[f"s::{RANGE}::tiny"]
    assert (case["outcome"], case["cause"]) == ("failed", "underflow")
    assert "inverse (UnaryOp)" in case["headline"]


def test_layers_of_one_name_are_two(gate: Gate, pytester: pytest.Pytester) -> None:
    """The first square underflows in front of a logarithm, and the other one in front of a sum."""
    net = Network()
    a, b = net.split(net.layer("Input", "in0", params="0=16"), 2)
    x = net.layer("UnaryOp", "square", [a], ["x"], "0=4")
    net.layer("UnaryOp", "log", [x], ["out0"], "0=8")
    x = net.layer("UnaryOp", "square", [b], ["y"], "0=4")
    net.layer("BinaryOp", "sum", [x], ["out1"], "0=0 1=1 2=1.0")
    net.write(pytester.path / "net")
    networks.fed(pytester.path, f"compare: [{RANGE}]\n", in0=np.linspace(1e-4, 1.5e-4, 16))
    assert gate().ids("failed") == [f"s::{RANGE}::square#2"]


@pytest.mark.parametrize(("epsilon", "red"), [(1e-5, set()), (1e-8, {"kept"})])
def test_zeros_that_only_the_cast_makes_are_no_fault(
    gate: Gate, pytester: pytest.Pytester, epsilon: float, red: set[str]
) -> None:
    """A mean where a mask takes all: ncnn's cast makes 0 of the epsilon in the last few elements."""
    net = Network()
    total = net.layer("ReLU", "total", [net.layer("Input", "in0", params="0=3")])
    count = net.layer("ReLU", "count", [net.layer("Input", "in1", params="0=3")])
    count = net.layer("BinaryOp", "kept", [count], params=f"0=0 1=1 2={epsilon:g}")
    net.layer("BinaryOp", "mean", [total, count], ["out0"], "0=3")
    net.write(pytester.path / "net")
    np.save(pytester.path / "in0.npy", np.array([0.0, 30.0, 12.0], np.float32))
    np.save(pytester.path / "in1.npy", np.array([0.0, 20.0, 20.0], np.float32))
    inputs = "inputs:\n  one: {in0: {file: in0.npy}, in1: {file: in1.npy}}\n"
    networks.spec(pytester.path, f"{inputs}compare: [fp16-vs-fp32-vulkan]\n")
    run = gate("--ncnn-parity-fix=off")
    assert {run.cases[name]["layer"] for name in run.ids("failed")} - {None} == red
