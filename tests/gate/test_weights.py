"""A .bin or a .param that ncnn cannot load: found before it is read past its end, and reported once."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
import quantized
from conftest import Gate
from network import Network

from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.weight_tags import BF16, FP16, FP32
from pytest_ncnn_parity.worker.custom_layers import Registry
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.weights.checked_files import CheckedFiles, Weights
from pytest_ncnn_parity.worker.weights.layer_weights import LayerWeights


def model_in(folder: Path) -> Model:
    return Model(str(folder / "net.param"), str(folder / "net.bin"))


def checked_files() -> CheckedFiles:
    def enter(step: str) -> None:
        """Nothing dies here."""

    return CheckedFiles(Registry(enter), enter)


def look(folder: Path) -> Weights:
    """The weights of net.param and net.bin in `folder`, or the StepFailed they end in."""
    model = model_in(folder)
    return checked_files().weights(model, param.read(model.param))


def problem(folder: Path) -> str:
    with pytest.raises(StepFailed) as caught:
        look(folder)
    assert caught.value.step.of_files
    return "\n".join([caught.value.death.detail, *caught.value.death.lines])


def test_the_bytes_of_every_layer_are_known(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    each = 4 + 8 * 8 * 3 * 3 * 4 + 8 * 4  # flag, weights, bias
    spans = ((0, 0), (0, each), (each, 2 * each), (2 * each, 3 * each))
    layers = np.fromfile(tmp_path / "net.bin", np.float32).reshape(3, -1)[:, 1:]  # behind the flag
    largest = (0.0, *map(float, np.abs(layers).max(1)))
    found = Weights(spans, 3 * each, largest, (0, 0, 0, 0), int8_scales={}, given_scales={})
    assert look(tmp_path) == found
    assert look(tmp_path).unread == 0


@pytest.mark.parametrize("numbers", [255, 256])
def test_a_number_before_256_others_is_no_flag_of_a_table(tmp_path: Path, numbers: int) -> None:
    """In an old format a table of 256 numbers follows four bytes, and indices into it that table."""
    net = Network()
    x = net.layer("Input", "in0", params=f"0=2 1=2 2={numbers}")
    x = net.layer("PReLU", "slope", [x], params="0=1", weights=[np.full(1, 0.25)], flagged=False)
    norm = [np.full(numbers, of) for of in (1.0, 0.0, 3.0, 0.0)]
    x = net.layer("BatchNorm", "norm", [x], params=f"0={numbers}", weights=norm, flagged=False)
    size = numbers * 4
    dense = np.concatenate([np.full(size - 1, 1e6), [np.inf]])
    net.layer("InnerProduct", "fc", [x], ["out0"], f"0=1 1=0 2={size}", [dense])
    net.write(tmp_path / "net")
    found = look(tmp_path)
    assert found.largest == (0.0, 0.25, 3.0, np.inf)
    assert found.not_finite == (0, 0, 0, 1)


def test_of_weights_that_are_indices_the_table_is_looked_at(tmp_path: Path) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=2 1=2 2=2")
    net.layer("InnerProduct", "fc", [x], ["out0"], "0=1 1=1 2=8")
    net.write(tmp_path / "net")
    table = np.linspace(-5, 7, 256, dtype="<f4").tobytes()
    indices = bytes([0xFF, 0xFF, 0x7F, 0x7F] * 2)  # as floats 3.4e38
    bias = np.full(1, 0.5, "<f4").tobytes()
    (tmp_path / "net.bin").write_bytes(np.uint32(1).tobytes() + table + indices + bias)
    assert look(tmp_path).largest == (0.0, 7.0)


@pytest.mark.parametrize(
    ("kept", "layer"),
    [
        (
            -1,
            "c3 (Convolution, line 6 of net.param) reads 32 bytes at byte 6988, and the file has 7019",
        ),
        (
            2341,
            "c2 (Convolution, line 5 of net.param) reads 4 bytes at byte 2340, and the file has 2341",
        ),
        (2, "layer c1 (Convolution, line 4 of net.param) reads 4 bytes at byte 0, and the file has 2"),
        (0, "it is empty, and layer c1 (Convolution, line 4 of net.param) reads weights from it"),
    ],
)
def test_a_short_file_is_reported_by_the_layer_it_ends_in(tmp_path: Path, kept: int, layer: str) -> None:
    networks.convolution(tmp_path)
    weights = tmp_path / "net.bin"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert layer in problem(tmp_path)


def test_weights_in_fp16_are_counted_as_what_they_are(tmp_path: Path) -> None:
    """A layer's first word gives the format of the rest: sizes follow from the file alone."""
    networks.convolution(tmp_path)
    layer = FP16.to_bytes(4, "little") + bytes(8 * 8 * 3 * 3 * 2) + bytes(8 * 4)
    (tmp_path / "net.bin").write_bytes(3 * layer)
    assert look(tmp_path).spans[-1] == (2 * len(layer), 3 * len(layer))
    (tmp_path / "net.bin").write_bytes((3 * layer)[:-40])
    assert f"layer c3 (Convolution, line 6 of net.param) reads {8 * 8 * 3 * 3 * 2} bytes" in problem(
        tmp_path
    )


@pytest.mark.parametrize("tag", [FP32, FP16])
@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_are_counted_by_layer(
    tmp_path: Path, tag: int, wrong: float
) -> None:
    networks.convolution(tmp_path)
    weights = np.full(8 * 8 * 3 * 3, 1.0, np.float16 if tag else np.float32)
    bias = bytes(8 * 4)
    good = tag.to_bytes(4, "little") + weights.tobytes() + bias
    weights[[3, 70]] = wrong
    bad = tag.to_bytes(4, "little") + weights.tobytes() + bias
    (tmp_path / "net.bin").write_bytes(good + bad + good)
    assert look(tmp_path).not_finite == (0, 0, 2, 0)


@pytest.mark.since_ncnn("1.0.20261020", "it does not know weights in bf16")
def test_weights_in_bf16_are_looked_at_as_the_floats_that_they_are(tmp_path: Path) -> None:
    networks.convolution(tmp_path)

    def layer(weight: float) -> bytes:
        weights = np.full(8 * 8 * 3 * 3, 1.0, np.float32)
        weights[[3, 70]] = weight
        return (
            BF16.to_bytes(4, "little") + (weights.view("<u4") >> 16).astype("<u2").tobytes() + bytes(32)
        )

    (tmp_path / "net.bin").write_bytes(layer(-98304.0) + layer(np.inf) + layer(1.0))
    found = look(tmp_path)
    assert found.not_finite == (0, 0, 2, 0)
    assert (found.largest[1], found.largest[3]) == (98304.0, 1.0)


@pytest.mark.once
@pytest.mark.parametrize("tag", [FP32, FP16])
def test_a_weight_that_is_not_finite_is_the_files_fault(
    gate: Gate, pytester: pytest.Pytester, tag: int
) -> None:
    """As where a weight beyond 65504 was stored in fp16."""
    networks.convolution(pytester.path)
    rng = np.random.RandomState(0)
    layers = []
    for wrong in (False, True, False):
        weights = rng.normal(0, 0.1, 8 * 8 * 3 * 3).astype(np.float16 if tag else np.float32)
        weights[7] = np.inf if wrong else weights[7]
        layers.append(tag.to_bytes(4, "little") + weights.tobytes() + bytes(8 * 4))
    (pytester.path / "net.bin").write_bytes(b"".join(layers))
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan, fp16-range]\n")
    run = gate()
    red = {name.partition("::")[2]: run.cases[name] for name in run.ids("failed")}
    assert red["cpu-vs-vulkan::c2"]["cause"] == red["fp16-range::c2"]["cause"] == "conversion"
    said = "1 of its weights is inf or nan in the file"
    assert said in red["cpu-vs-vulkan::c2"]["headline"]
    assert "store the weights in fp32" in " ".join(red["cpu-vs-vulkan::c2"]["message"].split())
    assert not any(name.endswith(("::c1", "::c3")) for name in red)
    for comparison in ("cpu-vs-vulkan", "fp16-range"):
        behind = run.cases[f"noise::{comparison}::c3"]
        assert behind["outcome"] == "skipped"
        assert "inf or nan, from the weights of c2: see that layer" in behind["message"]
    assert [fix["masks"] for fix in run.fixes.values() if fix["masks"]] == []


@pytest.mark.once
def test_a_weight_of_inf_is_named_before_the_overflow_of_another(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Its outputs are inf, without nan, and those of another channel are beyond fp16."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=3")
    weights = np.full((4, 3, 1, 1), 0.1)
    weights[0, 0], weights[2] = np.inf, 1e6
    x = net.layer("Convolution", "conv", [x], params="0=4 1=1 6=12", weights=[weights])
    net.layer("BinaryOp", "scaled", [x], ["out0"], "0=2 1=1 2=1e-6")
    net.write(pytester.path / "net")
    image = "inputs: {s: {in0: {random: uniform, low: 0.1, high: 1}}}\n"
    networks.spec(pytester.path, f"{image}compare: [fp16-range]\n")
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == ["s::fp16-range::conv"]
    red = run.cases["s::fp16-range::conv"]
    assert red["cause"] == "conversion"
    assert "1 of its weights is inf or nan in the file" in red["headline"]


@pytest.mark.once
@pytest.mark.parametrize("wrong", [np.inf, np.nan])
def test_weights_of_a_layer_that_runs_on_the_cpu_on_both_sides_must_be_finite_too(
    gate: Gate, pytester: pytest.Pytester, wrong: float
) -> None:
    """ncnn's LSTM has no Vulkan kernel, and its gates may hide what its weights are."""
    width = 16
    rng = np.random.RandomState(0)
    recurrent = rng.normal(0, 0.3, (4 * width, width))
    recurrent[3, 3] = wrong
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=5")
    flag, given = np.zeros(1), rng.normal(0, 0.3, (4 * width, width))
    weights = [given, flag, rng.normal(0, 0.3, 4 * width), flag, recurrent]
    x = net.layer("LSTM", "lstm", [x], params="0=16 1=1024", weights=weights)
    net.layer("BinaryOp", "half", [x], ["out0"], "0=2 1=1 2=0.5")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    red = gate().cases["noise::cpu-vs-vulkan::lstm"]
    assert (red["outcome"], red["cause"]) == ("failed", "conversion"), red["message"]
    assert "1 of its weights is inf or nan in the file" in red["headline"]


@pytest.mark.once
def test_a_weight_of_inf_is_red_even_where_a_bound_hides_it(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """A convolution with a Clip of its own gives 6 for inf, on all sides."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    weights = np.random.RandomState(0).normal(0, 0.1, (8, 3, 3, 3))
    weights[2, 1, 1, 1] = np.inf
    params = "0=8 1=3 4=1 5=1 6=216 9=3 -23310=2,0.0,6.0"
    x = net.layer("Convolution", "clipped", [x], params=params, weights=[weights, np.zeros(8)])
    net.layer("BinaryOp", "behind", [x], ["out0"], "0=2 1=1 2=0.5")
    net.write(pytester.path / "net")
    image = "inputs: {s: {in0: {random: uniform, low: 0.1, high: 1}}}\n"
    networks.spec(pytester.path, f"{image}compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan, fp16-range]\n")
    run = gate()
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan", "fp16-range"):
        red = run.cases[f"s::{comparison}::clipped"]
        assert (red["outcome"], red["cause"]) == ("failed", "conversion")
        assert red["headline"] == "1 of its weights is inf or nan in the file"
    assert [name for name in run.ids("failed") if not name.endswith("::clipped")] == []
    assert [fix["masks"] for fix in run.fixes.values() if fix["masks"]] == []


def test_a_size_beyond_all_memory_is_too_short(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    text = (tmp_path / "net.param").read_text("utf-8")
    (tmp_path / "net.param").write_text(text.replace("6=576", "6=720000000"), "utf-8")
    assert "too short: layer c1" in problem(tmp_path)


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    (tmp_path / "net.bin").unlink()
    (tmp_path / "net.bin").mkdir()
    assert problem(tmp_path) == "net.bin: cannot be read: Is a directory"


def test_an_operator_that_the_wheel_was_built_without_is_unknown_as_well(tmp_path: Path) -> None:
    net = Network()
    net.layer("ArgMax", "best", [net.layer("Input", "in0", params="0=8")], params="1=1")
    net.write(tmp_path / "net")
    first, second = problem(tmp_path).splitlines()
    assert "does not have the operator ArgMax; update ncnn" in first
    assert second == "net.param:4: ArgMax (layer best)"


def test_unknown_operators_are_reported_all_at_once(tmp_path: Path) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=8")
    for kind, name in (("Foo", "a"), ("Relu", "b"), ("nn.Bar", "c"), ("Foo", "d")):
        x = net.layer(kind, name, [x])
    net.write(tmp_path / "net")
    message = problem(tmp_path).splitlines()
    assert "does not have the operators Foo, Relu, nn.Bar;" in message[0]
    assert "the spec's key 'setup'" in message[0]
    assert message[1:] == [
        "net.param:4: Foo (layer a and 1 more)",
        "net.param:5: Relu (layer b); did you mean 'ReLU'",
        "net.param:6: nn.Bar (layer c)",
        "a name with a dot or '::' is an operator that was not converted, or a layer of the app",
    ]


def test_operators_that_the_converter_left_are_not_looked_for_in_a_newer_ncnn(tmp_path: Path) -> None:
    net = Network()
    x = net.layer("torch.unbind", "halves", [net.layer("Input", "in0", params="0=8")])
    net.layer("aten::addcmul", "scaled", [x])
    net.write(tmp_path / "net")
    first, *_ = problem(tmp_path).splitlines()
    assert "does not have the operators torch.unbind, aten::addcmul; a name with a dot or '::'" in first
    assert "update ncnn" not in first


SPEC = networks.NOISE + "  more: {in0: {random: uniform}}\n"


@pytest.mark.once
def test_weights_that_do_not_load_are_one_failure(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path)
    weights = pytester.path / "net.bin"
    weights.write_bytes(weights.read_bytes()[:3000])
    networks.spec(pytester.path, SPEC)
    run = gate()
    assert run.ids("failed") == ["noise::cpu-vs-vulkan::c1"]
    assert run.ids("passed") == []
    case = run.cases["noise::cpu-vs-vulkan::c1"]
    assert case["cause"] == "load"
    place = str(pytester.path / "net.parity.yaml") + ":1:32: "  # of the weights' name in it
    assert case["message"].startswith(place + "net.bin: too short: layer c2")
    assert "could not load net.param with net.bin" in run.cases["more::fp16-range::c2"]["message"]


@pytest.mark.once
def test_outputs_alone_report_it_once_as_well(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path)
    (pytester.path / "net.bin").write_bytes(b"")
    networks.spec(pytester.path, SPEC)
    run = gate("-k", "output")
    assert run.ids("failed") == ["noise::cpu-vs-vulkan::output:c3"]
    assert run.ids("passed") == []


def test_a_param_that_ncnn_refuses_is_one_failure(gate: Gate, pytester: pytest.Pytester) -> None:
    """Older ncnn does not survive its own refusal: that is a crash, also reported once."""
    net = Network()
    net.layer("Einsum", "e", [net.layer("Input", "in0", params="0=8")], params="-23300=1,45")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, SPEC)
    run = gate()
    assert run.ids("passed") == []
    (red,) = run.ids("failed")
    assert run.cases[red]["cause"] in ("load", "crash")
    assert "net.param" in run.cases[red]["message"]
    if run.cases[red]["cause"] == "load":
        assert ": e (Einsum, line 4)" in run.cases[red]["headline"]


@pytest.mark.once
def test_bytes_that_no_layer_reads_are_noted(gate: Gate, pytester: pytest.Pytester) -> None:
    """Right where a .param was cut short at an inner layer, and the sign of another model's .bin."""
    networks.convolution(pytester.path)
    with (pytester.path / "net.bin").open("ab") as file:
        file.write(bytes(1000))
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    run = gate()
    assert run.ids("failed") == []
    note = "no layer reads the last 1000 bytes of net.bin: is it the one of net.param?"
    assert run.report["models"][0]["notes"] == [note]
    run.result.stdout.fnmatch_lines([f"  note: {note}"])


@pytest.mark.parametrize(
    ("terms", "fault", "without_scale", "broken"),
    [
        ((2, 1), quantized.Fault("dead", "depthwise", 3), (3,), 0),
        ((2, 2), quantized.Fault("dead", "depthwise", 0), tuple(range(8)), 0),  # all share one scale
        ((2, 1), quantized.Fault("unscaled", "depthwise", 3), (), 1),
        ((2, 1), quantized.Fault("silent", "depthwise", 0), (), 1),
    ],
)
def test_only_the_scales_of_dead_outputs_may_be_inf(
    tmp_path: Path,
    terms: tuple[int, int],
    fault: quantized.Fault,
    without_scale: tuple[int, ...],
    broken: int,
) -> None:
    quantized.chain(tmp_path, terms=terms, fault=fault)
    model = model_in(tmp_path)
    graph = param.read(model.param)
    weights = LayerWeights(checked_files(), model, graph)
    (layer,) = (one for one in graph.layers if one.name == fault.layer)
    assert weights.not_finite(layer) == 1
    assert weights.without_scale(layer) == without_scale
    assert weights.broken(layer) == broken
