"""An input, or a shape hint, does not fit the network: reported at the first layer where it shows."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import pytest
from conftest import Gate, Run
from network import Network

pytestmark = pytest.mark.once

RNG = np.random.RandomState(0)
CONVOLUTION = "0=4 1=3 4=1 5=1 6=108"
COMPARISONS = ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan", "fp16-vs-fp32-cpu", "fp16-range")


def weights(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [RNG.normal(0, 0.2, shape) for shape in shapes]


def classifier(pytester: pytest.Pytester, *samples: str) -> None:
    """Made for (3, 64, 64): a convolution, a Reshape of its (4, 32, 32), and a Softmax."""
    net = Network()
    x = net.layer("Input", "in0")
    conv = weights((4, 3, 3, 3), (4,))
    x = net.layer("Convolution", "conv", [x], params=f"{CONVOLUTION} 3=2", weights=conv)
    x = net.layer("Reshape", "view", [x], params="0=1024 1=4")
    net.layer("Softmax", "prob", [x], ["out0"], "0=1 1=1")
    net.write(pytester.path / "net")
    inputs = "".join(f"  {sample}\n" for sample in samples)
    networks.spec(pytester.path, f"inputs:\n{inputs}")


HALF = "half: {in0: {random: normal, shape: [3, 32, 32]}}"
WHOLE = "whole: {in0: {random: normal, shape: [3, 64, 64]}}"


def shape_error_at(run: Run, layer: str, *more: str, sample: str = "half") -> None:
    """In every comparison `layer` alone is red, with `more` in its message; and no fix is offered."""
    red = [f"{sample}::{comparison}::{layer}" for comparison in COMPARISONS]
    assert run.ids("failed") == red
    for name in red:
        case = run.cases[name]
        assert case["cause"] == "shape"
        assert all(text in case["message"] for text in more), case["message"]
    assert run.fixes == {}
    assert "killed" not in run.output


def test_a_reshape_that_makes_more_than_it_gets(gate: Gate, pytester: pytest.Pytester) -> None:
    classifier(pytester, HALF, WHOLE)
    run = gate()
    shape_error_at(
        run, "view", "[4, 16, 16], 1024 elements", "[4, 1024], which needs 4096", "what to do: feed"
    )
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan"):
        for name in ("prob", "output:out0"):
            behind = run.cases[f"half::{comparison}::{name}"]
            assert behind["outcome"] == "skipped"
            assert "view (Reshape) upstream does not fit" in behind["message"]
            assert run.cases[f"whole::{comparison}::{name}"]["outcome"] == "passed"
        assert run.cases[f"half::{comparison}::conv"]["outcome"] == "passed"


@pytest.mark.parametrize(
    ("selection", "red"),
    [
        ("output", ["cpu-vs-vulkan::output:out0", "fp16-vs-fp32-vulkan::output:out0"]),
        ("prob and cpu-vs-vulkan", ["cpu-vs-vulkan::prob"]),
    ],
    ids=["outputs", "a layer behind"],
)
def test_something_is_red_whatever_is_selected(
    selection: str, red: list[str], gate: Gate, pytester: pytest.Pytester
) -> None:
    classifier(pytester, HALF)
    run = gate("-k", selection)
    failed = run.ids("failed")
    assert set(failed) >= {f"half::{name}" for name in red}
    for name in failed:
        assert run.cases[name]["cause"] == "shape"
        assert "view upstream: gets [4, 16, 16], 1024 elements" in run.cases[name]["message"]
    assert run.fixes == {}


def test_concat_of_other_sizes_kills_nothing(gate: Gate, pytester: pytest.Pytester) -> None:
    """ncnn writes past its output there; an output on another way is judged all the same."""
    net = Network()
    x = net.layer("Input", "in0")
    a, b, c = net.split(x, 3)
    a = net.layer("Convolution", "conv", [a], params=CONVOLUTION, weights=weights((4, 3, 3, 3), (4,)))
    b = net.layer("Pooling", "pool", [b], params="0=1 1=2 2=2")
    b = net.layer("Interp", "up", [b], params="0=1 1=2.2 2=2.2")
    net.layer("Concat", "cat", [a, b], ["out0"], "0=0")
    net.layer("ReLU", "relu", [c], ["out1"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, "inputs: {half: {in0: {random: normal, shape: [3, 24, 24]}}}\n")
    run = gate()
    shape_error_at(run, "cat", "[4, 24, 24] and [3, 26, 26]")
    assert run.cases["half::cpu-vs-vulkan::output:out0"]["outcome"] == "skipped"
    assert run.cases["half::cpu-vs-vulkan::output:out1"]["outcome"] == "passed"


def depthwise(net: Network, x: str) -> None:
    depth = weights((3, 5, 5))
    net.layer("ConvolutionDepthWise", "it", [x], ["out0"], "0=3 1=5 6=75 7=3", depth)


def inner_product(net: Network, x: str) -> None:
    net.layer("InnerProduct", "it", [x], ["out0"], "0=2 2=80", weights((2, 40)))


def gemm(net: Network, x: str) -> None:
    x = net.layer("Reshape", "rows", [x], params="0=8 1=-1")
    net.layer("Gemm", "it", [x], ["out0"], "3=1 5=1 6=1 8=4 9=5 10=-1", weights((4, 5)))


def binary_op(net: Network, x: str) -> None:
    a, b = net.split(x, 2)
    b = net.layer("Slice", "half", [b], ["top", "rest"], "-23300=2,-233,-233 1=1")
    net.layer("BinaryOp", "it", [a, b], ["out0"], "0=0")


def batch_norm(net: Network, x: str) -> None:
    size = weights((4,), (4,), (4,), (4,))
    net.layer("BatchNorm", "it", [x], ["out0"], "0=4", size, flagged=False)


def mirrored(net: Network, x: str) -> None:
    net.layer("Padding", "it", [x], ["out0"], "0=4 1=4 2=4 3=4 4=2")


def cropped_away(net: Network, x: str) -> None:
    net.layer("Crop", "it", [x], ["out0"], "-23309=1,4 -23310=1,8 -23311=1,2")


def matmul(net: Network, x: str) -> None:
    x = net.layer("Reshape", "rows", [x], params="0=8 1=-1")
    net.layer("MatMul", "it", net.split(x, 2), ["out0"])


@pytest.mark.parametrize(
    ("build", "more"),
    [
        (depthwise, "5x5 does not fit into 4x4"),
        (inner_product, "[3, 4, 4], 48 elements; its weights are for 40"),
        (gemm, "rows of 8 times columns of 5"),
        (binary_op, "[3, 4, 4] and [3, 2, 4], which do not broadcast"),
        (batch_norm, "3 channels; its weights are for 4"),
        (mirrored, "at most 3 can be mirrored"),
        (cropped_away, "nothing along axis 2"),
        (matmul, "rows of 8 times columns of 6"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_is_reported_in_words(
    build: Callable[[Network, str], None], more: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    build(net, net.layer("Input", "in0"))
    net.write(pytester.path / "net")
    networks.spec(pytester.path, "inputs: {half: {in0: {random: normal, shape: [3, 4, 4]}}}\n")
    shape_error_at(gate(), "it", more, "what to do: feed")


def test_a_vector_that_is_normalized_across_channels(gate: Gate, pytester: pytest.Pytester) -> None:
    """As converters write the end of an embedding: the CPU makes 1 or -1 of each value."""
    net = Network()
    x = net.layer("Input", "in0")
    x = net.layer("InnerProduct", "fc", [x], params="0=8 1=0 2=128", weights=weights((8, 16)))
    params = "1=1 2=1e-12 3=1 9=1"
    net.layer("Normalize", "norm", [x], ["out0"], params, [np.ones(1)], flagged=False)
    net.write(pytester.path / "net")
    networks.spec(pytester.path, "inputs: {half: {in0: {random: normal, shape: [16]}}}\n")
    run = gate()
    shape_error_at(run, "norm", "gets [8], of 1 channel", "1 or -1", "what to do: the input is not at")
    net = pytester.path / "net.param"
    net.write_text(net.read_text("utf-8").replace(params, f"0=1 {params}"), "utf-8")
    assert gate().ids("failed") == []


def hinted(pytester: pytest.Pytester, more: str = "") -> None:
    """Hints for (3, 32, 32); a sample of that size, and one of another."""
    net = Network()
    x = net.layer("Input", "in0", params="-23330=4,3,32,32,3")
    hint = "-23330=4,3,32,32,4"
    conv = weights((4, 3, 3, 3), (4,))
    x = net.layer("Convolution", "conv", [x], params=f"{CONVOLUTION} {hint}", weights=conv)
    x = net.layer("Mish", "mish", [x], params=hint)
    x = net.layer("Pooling", "pool", [x], params="0=1 4=1 -23330=4,1,4,1,1")
    net.layer("Sigmoid", "out0", [x], params="-23330=4,1,4,1,1")
    net.write(pytester.path / "net")
    samples = "".join(
        f"  {name}: {{in0: {{random: normal, shape: {shape}}}}}\n"
        for name, shape in (("same", [3, 32, 32]), ("other", [3, 48, 40]))
    )
    networks.spec(pytester.path, f"inputs:\n{samples}{more}")


def test_a_layer_that_does_not_fit_and_is_not_judged_is_told_by_the_first_behind_it(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    classifier(pytester, HALF)
    spec = pytester.path / "net.parity.yaml"
    spec.write_text(spec.read_text("utf-8") + "layers: {exclude: [view]}\n", "utf-8")
    run = gate()
    shape_error_at(run, "prob", "view upstream: gets", "[4, 1024], which needs 4096")
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan"):
        output = run.cases[f"half::{comparison}::output:out0"]
        assert output["outcome"] == "skipped"
        assert (
            "view (Reshape) upstream does not fit, and the first case behind it fails"
            in output["message"]
        )


VULKAN = ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan")


def test_a_shape_hint_for_another_size(gate: Gate, pytester: pytest.Pytester) -> None:
    """Told where it matters, on Vulkan, at the first layer; what has no such hint is judged."""
    hinted(pytester)
    run = gate()
    assert run.ids("failed") == [f"other::{comparison}::conv" for comparison in VULKAN]
    for comparison in VULKAN:
        case = run.cases[f"other::{comparison}::conv"]
        assert case["cause"] == "shape"
        assert "shape hint gives [3, 32, 32] for 'in0', which is [3, 48, 40]" in case["message"]
        assert "take -23330=... out of the .param" in case["message"]
        behind = [f"other::{comparison}::{name}" for name in ("mish", "pool", "output:out0")]
        assert {run.cases[name]["outcome"] for name in behind} == {"skipped"}
        assert all("conv (Convolution) upstream" in run.cases[name]["message"] for name in behind)
        assert run.cases[f"other::{comparison}::out0"]["outcome"] == "passed"
    assert run.ids("skipped", "fp16-range") == []
    assert run.fixes == {}


def test_a_hint_does_not_matter_to_a_layer_on_the_cpu(gate: Gate, pytester: pytest.Pytester) -> None:
    hinted(pytester, "masks: {conv: 18}\ncompare: [cpu-vs-vulkan]\n")
    assert gate().ids("failed") == ["other::cpu-vs-vulkan::mish"]


def test_a_hint_does_not_matter_to_a_layer_whose_shader_takes_no_shape(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A feed-forward of a transformer, with hints for 10 words; a sample of 15."""
    net = Network()
    x = net.layer("Input", "in0", params="-23330=4,2,16,10,1")
    gemm = [RNG.normal(0, 0.3, (20, 16)), np.zeros(20)]
    params = "3=1 5=1 6=1 8=20 9=16 10=4 -23330=4,2,20,10,1"
    x = net.layer("Gemm", "gemm", [x], params=params, weights=gemm)
    norm = [np.ones(20), np.zeros(20)]
    net.layer("LayerNorm", "norm", [x], ["out0"], "0=20 -23330=4,2,20,10,1", norm)
    net.write(pytester.path / "net")
    sample = "{s: {in0: {random: normal, shape: [15, 16]}}}"
    networks.spec(pytester.path, f"inputs: {sample}\ncompare: [cpu-vs-vulkan]\n")
    run = gate()
    assert run.ids("failed") == []
    assert "s::cpu-vs-vulkan::output:out0" in run.ids("passed")


def test_outputs_alone_are_red_for_a_hint(gate: Gate, pytester: pytest.Pytester) -> None:
    hinted(pytester)
    run = gate("-k", "output", "--ncnn-parity-fix=off")
    assert run.ids("failed") == [f"other::{comparison}::output:out0" for comparison in VULKAN]
    assert all(run.cases[name]["cause"] == "shape" for name in run.ids("failed"))


@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
def test_a_sample_that_does_not_fit_keeps_no_fix_from_the_others(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    x = net.layer("Input", "in0")
    x = net.layer("BinaryOp", "big", [x], params="0=2 1=1 2=1000.0")
    x = net.layer("BinaryOp", "square", [x], params="0=6 1=1 2=2.0")
    x = net.layer("BinaryOp", "back", [x], params="0=2 1=1 2=0.000001")
    net.layer("Reshape", "view", [x], ["out0"], "0=8 1=8")
    net.write(pytester.path / "net")
    shapes = {"half": [32], "whole": [64]}
    source = "random: uniform, low: 1, high: 2"
    samples = "".join(
        f"  {name}: {{in0: {{{source}, shape: {shape}}}}}\n" for name, shape in shapes.items()
    )
    networks.spec(pytester.path, f"inputs:\n{samples}compare: [fp16-vs-fp32-vulkan]\n")
    run = gate()
    assert run.cases["half::fp16-vs-fp32-vulkan::view"]["cause"] == "shape"
    assert run.cases["half::fp16-vs-fp32-vulkan::output:out0"]["outcome"] == "skipped"
    assert run.fixes["fp16-vs-fp32-vulkan"]["verified"]
    assert "view" not in run.fixes["fp16-vs-fp32-vulkan"]["masks"]


def test_a_sample_that_does_not_fit_keeps_no_fix_from_its_proof(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    dense = [np.eye(16), np.zeros(16)]
    x = net.layer("InnerProduct", "fc", [net.layer("Input", "in0")], None, "0=16 1=1 2=256", dense)
    x = net.layer("BinaryOp", "big", [x], params="0=2 1=1 2=100000.0")
    net.layer("BinaryOp", "back", [x], ["out0"], "0=2 1=1 2=0.00001")
    net.write(pytester.path / "net")
    samples = "fits: {in0: {constant: 5, shape: [16]}}, short: {in0: {constant: 5, shape: [12]}}"
    networks.spec(pytester.path, f"inputs: {{{samples}}}\ncompare: [fp16-range, fp16-vs-fp32-vulkan]\n")
    run = gate()
    causes = {name: run.cases[name]["cause"] for name in run.ids("failed")}
    assert causes.pop("short::fp16-range::fc") == "shape"
    assert causes.pop("short::fp16-vs-fp32-vulkan::fc") == "shape"
    assert set(causes.values()) == {"storage-overflow"}
    for comparison in ("fp16-range", "fp16-vs-fp32-vulkan"):
        fix = run.fixes[comparison]
        assert (fix["masks"], fix["verified"]) == ({"big": 18, "back": 18}, True)
    assert "1 sample" in run.fixes["fp16-range"]["how"]
    assert "short" in run.fixes["fp16-range"]["how"]


def test_an_input_line_gives_way_to_the_weights_and_to_the_spec(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The order of old converters: [12, 12, 3] on the line, and weights for 3 channels."""
    net = Network()
    x = net.layer("Input", "in0", params="0=3 1=12 2=12")
    conv = weights((4, 3, 3, 3), (4,))
    net.layer("Convolution", "conv", [x], ["out0"], CONVOLUTION, conv)
    net.write(pytester.path / "net")
    samples = "line: {in0: {random: normal}}"
    networks.spec(pytester.path, f"inputs: {{{samples}}}\n")
    run = gate()
    assert run.ids("failed") == []
    assert "line::cpu-vs-vulkan::conv" in run.ids("passed")
    (note,) = run.report["models"][0]["notes"]
    assert "[12, 12, 3]" in note
    assert "[3, 12, 12]" in note
    assert note.split()[0] in run.output
    networks.spec(
        pytester.path,
        "inputs: {as_stated: {in0: {constant: 1, shape: [12, 12, 3]}}, "
        "other: {in0: {constant: 1, shape: [3, 9, 20]}}}\n",
    )
    run = gate()
    assert set(run.ids("failed")) == {f"as_stated::{one}::conv" for one in COMPARISONS}
    assert run.report["models"][0]["notes"] == []
