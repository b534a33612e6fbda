"""Spec against network and files: what does not exist or cannot fit is refused before anything runs."""

import re
from pathlib import Path

import pytest
from checked_specs import NETWORK, SPEC, errors, plan

from pytest_ncnn_parity.spec.spec import SpecError

DYNAMIC = NETWORK.replace(" 0=32 1=16 2=3", "")
VOLUME = DYNAMIC.replace("Convolution  ", "Convolution3D ").replace("Convolution ", "Convolution3D ")


def test_a_spec_that_fits_its_network_becomes_a_plan(tmp_path: Path) -> None:
    text = SPEC + (
        "layers: {include: ['type:Conv*', 'prob_?'], exclude: [fork]}\n"
        "tolerance: {layers: {'*_1': {atol: 1}}, outputs: {'out*': {atol: 1}}}\n"
        "masks: {conv_1: 18}\n"
        "known: [{layer: 'type:Softmax', sample: noise, comparison: fp16-range, reason: x}]\n"
    )
    assert [layer.name for layer in plan(tmp_path, text).layers] == ["conv_1", "prob_1"]


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidate", "masks", "refused"),
    [
        ("device: cpu", "", True),
        ("device: vulkan", "", False),
        ("device: cpu", "masks: {conv_1: 18}\n", False),  # they are the reference's alone
    ],
)
def test_a_copy_of_the_own_files_tests_nothing_where_it_runs_alike(
    candidate: str, masks: str, refused: bool, tmp_path: Path
) -> None:
    """As where the conversion was forgotten."""
    (tmp_path / "copy.param").write_text(NETWORK, "utf-8")
    (tmp_path / "copy.bin").write_bytes(b"")
    other = f"candidate: {{{candidate}, model: {{param: copy.param, bin: copy.bin}}}}"
    text = f"{SPEC}compare: [{{name: other, {other}}}]\n{masks}"
    if refused:
        (error,) = errors(tmp_path, text)
        assert "copy.param and copy.bin are byte for byte the files of this model" in error
    else:
        plan(tmp_path, text)
    (tmp_path / "copy.bin").write_bytes(b"converted")
    plan(tmp_path, text)


def test_model_files_that_do_not_exist_are_both_named_with_a_guess(tmp_path: Path) -> None:
    text = SPEC.replace("net.param", "nett.param").replace("net.bin", "nett.bin")
    param, weights = errors(tmp_path, text)
    assert re.match(r"1:16: model file .*nett\.param does not exist; .*'net\.param'", param)
    assert re.match(r"1:33: weights file .*nett\.bin does not exist; .*'net\.bin'", weights)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, SPEC.replace("net.bin", "."))
    assert re.match("1:32: weights file .* is not a file", error)


def test_an_error_in_the_param_names_the_param(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"net\.param:1: expected the magic number"):
        plan(tmp_path, network="no network")


@pytest.mark.parametrize("source", ["file: in0.npy", "image: in0.png"])
def test_a_recorded_input_that_does_not_exist(source: str, tmp_path: Path) -> None:
    (tmp_path / f"in1{source[-4:]}").write_bytes(b"")
    (error,) = errors(tmp_path, SPEC.replace("random: normal", source))
    name = source.split()[1]
    assert re.match(rf"2:18: inputs\.noise\.in0: .*{name} does not exist; .*'in1", error)


TWICE = """\
7767517
4 4
Input    in0 0 1 in0 0=32 1=16 2=3
ReLU     a   1 1 in0 x
TanH     b   1 1 x y
BinaryOp c   2 1 {} out0 0=0
"""


def test_a_blob_has_one_reader_and_the_next_one_is_named(tmp_path: Path) -> None:
    """ncnn frees a blob once it is read: the second reader gets garbage, or the process dies."""
    (error,) = errors(tmp_path, SPEC, TWICE.format("x y"))
    said = "net.param:6: layer c (BinaryOp) reads blob 'x', which b (line 5) reads already"
    assert said in error
    assert "Put a Split in front of both" in error
    plan(tmp_path, network=TWICE.format("y y"))  # one layer may read it twice


# -- inputs --------------------------------------------------------------------------------------


def test_unknown_and_missing_inputs_are_both_reported(tmp_path: Path) -> None:
    missing, unknown = errors(tmp_path, SPEC.replace("in0:", "in1:"))
    assert missing == "2:10: inputs.noise: the network's input 'in0' is missing"
    assert unknown == (
        "2:18: inputs.noise.in1: the network has no such input; did you mean 'in0'; it has in0"
    )


def test_each_sample_must_feed_every_input(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, SPEC.replace("}}}", "}}, silent: {}}"))
    assert error == "2:42: inputs.silent: the network's input 'in0' is missing"


@pytest.mark.parametrize("source", ["random: normal", "constant: 1"])
def test_a_shape_comes_from_the_spec_or_the_input_line(source: str, tmp_path: Path) -> None:
    text = SPEC.replace("random: normal", source)
    assert plan(tmp_path, text).graph.shapes["in0"] == (3, 16, 32)
    plan(tmp_path, text.replace(source, f"{source}, shape: [3, 8, 8]"), DYNAMIC)
    (error,) = errors(tmp_path, text, DYNAMIC)
    assert error == (
        "2:18: inputs.noise.in0: the key 'shape' is missing, "
        "and net.param does not state the shape either"
    )


def test_a_batch_of_1_is_refused_with_the_shape_to_write(tmp_path: Path) -> None:
    text = SPEC.replace("normal}", "normal, shape: [1, 3, 16, 32]}")
    (error,) = errors(tmp_path, text)
    assert error.startswith("2:18: inputs.noise.in0: shape [1, 3, 16, 32] starts with a batch of 1")
    assert error.endswith("Write [3, 16, 32] (c, h, w)")


@pytest.mark.parametrize("shape", ["[1]", "[1, 32]", "[1, 16, 32]", "[2, 3, 16, 32]"])
def test_one_channel_is_no_batch(shape: str, tmp_path: Path) -> None:
    plan(tmp_path, SPEC.replace("normal}", f"normal, shape: {shape}}}"), DYNAMIC)


def test_a_volume_of_one_channel_is_no_batch(tmp_path: Path) -> None:
    plan(tmp_path, SPEC.replace("normal}", "normal, shape: [1, 3, 16, 32]}"), VOLUME)


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "layers: {include: [conv_2]}",
            "3:20: layers.include: 'conv_2' matches no layer; did you mean 'conv_1'",
        ),
        (
            "layers: {exclude: ['*', 'type:Softmaxx']}",
            "3:25: layers.exclude: 'type:Softmaxx' matches no layer; did you mean 'type:Softmax'",
        ),
        (
            "tolerance: {layers: {'type:Convolutoin': {atol: 1}}}",
            "3:22: tolerance.layers: .* matches no layer; did you mean 'type:Convolution'",
        ),
        (
            "tolerance: {outputs: {ou0: {atol: 1}}}",
            "3:23: tolerance.outputs: 'ou0' matches no output; did you mean 'out0'; there is out0,",
        ),
        ("tolerance: {outputs: {left: {atol: 1}}}", "3:23: .*'left' matches no output"),
        ("masks: {conv_2: 18}", "3:9: masks: no layer 'conv_2' in net.param; .*'conv_1'"),
        ("masks: {'conv*': 18}", r"3:9: masks: no layer 'conv\*' in net.param"),
        ("known: [{layer: prb_1, reason: x}]", "3:9: known: 'prb_1' matches .*'prob_1'"),
        ("known: [{output: out, reason: x}]", "3:9: known: no output 'out'; did you mean 'out"),
        (
            "known: [{layer: prob_1, sample: nois, reason: x}]",
            "3:9: known: no sample 'nois'; did you mean 'noise'",
        ),
        (
            "known: [{layer: prob_1, comparison: fp16-rang, reason: x}]",
            "3:9: known: no comparison 'fp16-rang' in this spec; did you mean 'fp16-range'; it has",
        ),
        (
            "known: [{layer: prob_1, comparison: shipped, reason: x}]",
            "3:9: known: no comparison 'shipped' in this spec",
        ),
        (
            "layers: {exclude: ['*']}",
            "3:1: layers: nothing is selected, so nothing is tested",
        ),
        ("layers: {include: []}", "3:1: layers: nothing is selected, so nothing is tested"),
    ],
)
def test_a_name_the_network_does_not_have(text: str, error: str, tmp_path: Path) -> None:
    reported = errors(tmp_path, SPEC + text)
    assert any(re.match(error, line) for line in reported), reported


def test_every_error_is_reported_at_once(tmp_path: Path) -> None:
    text = SPEC.replace("in0:", "in9:") + (
        "layers: {include: [a*, b*]}\n"
        "tolerance: {layers: {c*: {atol: 1}, d*: {atol: 1}}, outputs: {e*: {atol: 1}}}\n"
        "masks: {f: 1, g: 1}\n"
        "known:\n- {layer: h*, sample: i, comparison: j, reason: x}\n- {output: k, reason: x}\n"
    )
    places = [":".join(line.split(":")[:2]) for line in errors(tmp_path, text)]
    assert places == [
        *("2:10", "2:18"),
        *("3:20", "3:24", "3:1"),
        *("4:37", "4:63"),
        *("5:9", "5:15"),
        *("7:3", "7:3", "7:3", "8:3"),
    ]


def test_a_known_failure_of_a_layer_without_cases_is_an_error(tmp_path: Path) -> None:
    """It would never be noticed that it passes."""
    text = SPEC + "layers: {exclude: [conv_1]}\nknown: [{layer: conv_1, reason: x}]\n"
    (line,) = errors(tmp_path, text)
    assert "known: 'conv_1' matches no layer that has cases" in line


@pytest.mark.parametrize("name", ["[0]conv", "conv[a-b]"])
def test_a_name_with_brackets_is_taken_literally(name: str, tmp_path: Path) -> None:
    network = NETWORK.replace("conv_1", name).replace("out0", name)
    text = SPEC + (
        f"layers: {{include: ['{name}']}}\n"
        f"tolerance: {{layers: {{'{name}': {{atol: 1}}}}, outputs: {{'{name}': {{atol: 1}}}}}}\n"
        f"masks: {{'{name}': 18}}\n"
        f"known: [{{layer: '{name}', reason: x}}]\n"
    )
    assert [layer.name for layer in plan(tmp_path, text, network).layers] == [name]


def test_a_known_output_with_brackets_is_taken_literally(tmp_path: Path) -> None:
    planned = plan(
        tmp_path,
        SPEC + "known: [{output: 'out[0]', reason: as ever}]",
        NETWORK.replace("out0", "out[0]"),
    )
    (case,) = (c for c in planned.cases(planned.spec.comparisons[0]) if c.output == "out[0]")
    assert planned.known("noise", case) == "as ever"
