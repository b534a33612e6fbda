"""A sample against its network: where whole numbers are read, nothing else is fed."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checked_specs import errors, plan

from pytest_ncnn_parity.compare.comparisons import GOLDEN
from pytest_ncnn_parity.plan.recorded_type import holds_integers

WORDS = """\
7767517
4 5
Input ids 0 1 ids
Split fork 1 2 ids a b
Embed tok 1 1 a out0 0=16 1=100 2=0 3=1600
Embed pos 1 1 b out1 0=16 1=200 2=0 3=3200
"""
SPEC = "model: {param: net.param, bin: net.bin}\ninputs: {s: {ids: SOURCE}}\n"


def wrong(folder: Path, source: str) -> str:
    (error,) = errors(folder, SPEC.replace("SOURCE", source), WORDS)
    assert error.startswith("2:14: inputs.s.ids: tok (Embed) reads whole numbers, 0 to 99; ")
    return error.partition("; ")[2]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{random: normal, shape: [7]}", "random: normal gives fractions"),
        ("{random: uniform, high: 99, shape: [7]}", "random: uniform gives fractions"),
        ("{random: smooth, high: 99, shape: [7]}", "random: smooth gives fractions"),
        ("{constant: 1.5, shape: [7]}", "1.5 is none"),
        ("{constant: 100, shape: [7]}", "ncnn takes 100 for the last"),
        ("{random: integers, high: 100, shape: [7]}", "ncnn takes 100 for the last"),
        ("{random: integers, low: -1, high: 9, shape: [7]}", "ncnn takes -1 for the first"),
    ],
)
def test_what_gives_no_words_is_refused_with_what_to_write(
    source: str, problem: str, tmp_path: Path
) -> None:
    assert wrong(tmp_path, source) == (
        f"{problem}. Write {{random: integers, low: 0, high: 99, shape: [7]}}, "
        "or record integers: {file: words.npy}"
    )


def test_pixels_are_no_words(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    assert wrong(tmp_path, "{image: x.png}").startswith("an image gives pixels. Write {random: integers")


@pytest.mark.parametrize("values", [np.arange(7.0), np.arange(7) > 3], ids=["floats", "booleans"])
def test_recorded_floats_are_no_words(values: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values)
    assert wrong(tmp_path, "{file: x.npy}").startswith(
        "x.npy holds no integers. Write {random: integers"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{random: integers, high: 99, shape: [7]}",
        "{random: integers, low: 7, high: 7, shape: [7]}",
        "{constant: 3, shape: [7]}",
        "{file: x.npy}",
    ],
)
def test_whole_numbers_are_fed(source: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(7))
    plan(tmp_path, SPEC.replace("SOURCE", source), WORDS)


def test_what_the_write_line_says_is_accepted(tmp_path: Path) -> None:
    written = re.search(r"Write (\{.*?\})", wrong(tmp_path, "{random: normal, shape: [7]}"))[1]
    plan(tmp_path, SPEC.replace("SOURCE", written), WORDS)


def test_an_embed_of_unknown_size_takes_any_whole_number(tmp_path: Path) -> None:
    network = WORDS.replace("1=100", "1=x").replace("1=200", "1=x")
    plan(tmp_path, SPEC.replace("SOURCE", "{constant: 5000, shape: [7]}"), network)
    (error,) = errors(tmp_path, SPEC.replace("SOURCE", "{constant: 0.5, shape: [7]}"), network)
    assert "(Embed) reads whole numbers; 0.5 is none" in error


# -- the header of a recorded array --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "integers"),
    [
        *(("<i4", True), (">i8", True), ("u1", True)),
        *(("f2", False), ("<f4", False), (">f8", False), ("?", False)),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_the_type_of_an_array_is_read_from_its_header(
    kind: str, integers: bool, version: tuple[int, int], tmp_path: Path
) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, np.zeros(3, kind), version)
    assert holds_integers(tmp_path / "x.npy", None) is integers


def test_the_type_of_an_array_in_an_archive(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3, np.int32))
    np.savez(tmp_path / "one.npz", a=np.zeros(3, np.int32))
    assert holds_integers(tmp_path / "two.npz", "a") is False
    assert holds_integers(tmp_path / "two.npz", "b") is True
    assert holds_integers(tmp_path / "two.npz", "c") is None
    assert holds_integers(tmp_path / "two.npz", None) is None
    assert holds_integers(tmp_path / "one.npz", None) is True


def damaged() -> dict[str, bytes]:
    whole = io.BytesIO()
    np.save(whole, np.zeros(3, np.int32))
    fields = io.BytesIO()
    np.save(fields, np.zeros(3, [("a", "<i4")]))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", whole.getvalue())
    flipped = bytearray(archive.getvalue())
    flipped[40:60] = bytes(20)
    return {
        "empty": b"",
        "text": b"no array",
        "cut": whole.getvalue()[:20],
        "deep": b"\x93NUMPY\x01\x00\xff\x7f" + b"(" * 9000,
        "code": whole.getvalue().replace(b"{'descr'", b"exit(1) "),
        "no type": whole.getvalue().replace(b"'descr'", b"'other'"),
        "fields": fields.getvalue(),
        "archive cut": archive.getvalue()[:60],
        "archive flipped": bytes(flipped),
    }


@pytest.mark.parametrize("name", damaged())
def test_what_is_no_array_has_no_type(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(damaged()[name])
    assert holds_integers(tmp_path / "x.npy", None) is None


def test_a_file_that_is_gone_has_no_type(tmp_path: Path) -> None:
    assert holds_integers(tmp_path / "x.npy", None) is None


# -- inner blobs, and outputs of one's own choice ------------------------------------------------

HEADS = """\
7767517
7 9
Input       in0   0 1 in0 0=16
Input       in1   0 1 in1 0=16
BinaryOp    add   2 1 in0 in1 sum 0=0
Split       fork  1 2 sum left right
ReLU        relu  1 1 left a
Sigmoid     prob  1 1 a score
TanH        tanh  1 1 right boxes
"""
FED = "model: {param: net.param, bin: net.bin}\ninputs: {s: {BLOBS}}\n"
SOURCE = "{constant: 1, shape: [16]}"


def of_heads(folder: Path, blobs: str, text: str = "") -> list[str]:
    fed = ", ".join(f"{blob}: {SOURCE}" for blob in blobs.split())
    return errors(folder, FED.replace("BLOBS", fed) + text, HEADS)


@pytest.mark.parametrize(
    ("blobs", "text", "layers"),
    [
        ("in0 in1", "", ["in0", "in1", "add", "fork", "relu", "prob", "tanh"]),
        ("sum", "", ["add", "fork", "relu", "prob", "tanh"]),
        ("sum in0", "", ["add", "fork", "relu", "prob", "tanh"]),
        ("left right", "", ["fork", "relu", "prob", "tanh"]),
        ("a", "outputs: [score]", ["relu", "prob"]),
        ("in0 in1", "outputs: [a]", ["in0", "in1", "add", "fork", "relu"]),
        ("in0 in1", "outputs: [score, sum]", ["in0", "in1", "add", "fork", "relu", "prob"]),
        ("in0 in1", "outputs: [boxes, score]", ["in0", "in1", "add", "fork", "relu", "prob", "tanh"]),
    ],
)
def test_a_sample_runs_what_lies_between_its_blobs_and_the_outputs(
    blobs: str, text: str, layers: list[str], tmp_path: Path
) -> None:
    fed = ", ".join(f"{blob}: {SOURCE}" for blob in blobs.split())
    planned = plan(tmp_path, FED.replace("BLOBS", fed) + text, HEADS)
    (by_range,) = (one for one in planned.spec.comparisons if one.name == "fp16-range")
    assert [case.name for case in planned.cases(by_range, "s")] == layers
    assert planned.cases(by_range) == planned.cases(by_range, "s")


def test_a_layer_whose_output_is_fed_is_not_compared(tmp_path: Path) -> None:
    planned = plan(tmp_path, FED.replace("BLOBS", f"sum: {SOURCE}"), HEADS)
    (on_vulkan,) = (one for one in planned.spec.comparisons if one.name == "cpu-vs-vulkan")
    names = [case.name for case in planned.cases(on_vulkan, "s")]
    assert names == ["fork", "relu", "prob", "tanh", "output:score", "output:boxes"]


def test_samples_have_cases_of_their_own(tmp_path: Path) -> None:
    text = FED.replace("s: {BLOBS}", f"whole: {{in0: {SOURCE}, in1: {SOURCE}}}, tail: {{a: {SOURCE}}}")
    planned = plan(tmp_path, text + "outputs: [score]\ncompare: [cpu-vs-vulkan]\n", HEADS)
    (comparison,) = planned.spec.comparisons
    tail, whole, every = (planned.cases(comparison, sample) for sample in ("tail", "whole", None))
    assert [case.name for case in tail] == ["prob", "output:score"]
    assert [case.name for case in whole] == ["add", "fork", "relu", "prob", "output:score"]
    assert every == whole


def test_recordings_of_inner_blobs_come_in_running_order(tmp_path: Path) -> None:
    for name in ("score", "sum", "a"):
        np.save(tmp_path / f"{name}.npy", np.zeros(16))
    expect = ", ".join(f"{name}: {{file: {name}.npy}}" for name in ("score", "sum", "a"))
    fed = f"in0: {SOURCE}, in1: {SOURCE}, expect: {{{expect}}}"
    text = "tolerance: {outputs: {sum: {scaled: 0.5}}}\nknown: [{output: a, reason: x}]\n"
    planned = plan(tmp_path, FED.replace("BLOBS", fed) + text, HEADS)
    cases = planned.cases(GOLDEN, "s")
    assert [case.name for case in cases] == ["output:sum", "output:a", "output:score"]
    assert cases[0].tolerance.scaled == 0.5
    assert [planned.known("s", case) for case in cases] == [None, "x", None]


@pytest.mark.parametrize(
    ("blobs", "text", "problem"),
    [
        ("in0", "", "2:10: inputs.s: the network's input 'in1' is missing"),
        ("smu in0 in1", "", r"2:14: inputs.s.smu: the network has no such input; did you mean 'sum'; "
         "it has in0, in1"),
        ("a", "", "2:10: inputs.s: the network's input 'in0' is missing; boxes needs it: feed it, or "
         "choose other 'outputs'"),
        ("right in0 in1", "", "2:14: inputs.s.right: fork also writes left, which is needed: "),
        ("score in0 in1", "", "2:14: inputs.s.score: it is compared as well, and would be"),
        ("a in0 in1", "outputs: [boxes]", "2:14: inputs.s.a: no layer on the way to boxes reads it"),
        ("in0 in1", "outputs: [scor]", "3:11: outputs: no blob 'scor'; did you mean 'score'; the last "
         "are score, boxes"),
        ("in0 in1", "outputs: [in0]", "3:11: outputs: 'in0' is an input, so nothing of it would be"),
        ("in0 in1", "outputs: [a, a]", "3:10: outputs: output 'a' appears twice"),
        ("in0 in1", "outputs: []", "3:10: outputs: expected at least 1 of them"),
        ("in0 in1", "outputs: a", "3:10: outputs: expected a list: write \\[a\\]"),
        ("in0 in1", "outputs: [a]\ntolerance: {outputs: {boxes: {atol: 1}}}",
         "4:23: tolerance.outputs: 'boxes' matches no output; there is a"),
        ("in0 in1", "outputs: [a]\nknown: [{output: boxes, reason: x}]", "4:9: known: no output 'bo"),
    ],
)  # fmt: skip
def test_blobs_that_lead_nowhere_or_are_not_there(
    blobs: str, text: str, problem: str, tmp_path: Path
) -> None:
    reported = of_heads(tmp_path, blobs, text)
    assert any(re.match(problem, one) for one in reported), reported


def test_an_inner_blob_needs_a_shape_that_the_param_may_state(tmp_path: Path) -> None:
    text = FED.replace("BLOBS", "sum: {constant: 1}")
    (error,) = errors(tmp_path, text, HEADS)
    expected = "the key 'shape' is missing, and net.param does not state the shape either"
    assert error == f"2:14: inputs.s.sum: {expected}"
    plan(tmp_path, text, HEADS.replace("sum 0=0", "sum 0=0 -23330=4,1,16,1,1"))


def test_words_may_be_fed_to_an_inner_blob(tmp_path: Path) -> None:
    fed = "a: {random: integers, high: 99, shape: [7]}, b: {random: normal, shape: [7]}"
    (error,) = errors(
        tmp_path, f"model: {{param: net.param, bin: net.bin}}\ninputs: {{s: {{{fed}}}}}\n", WORDS
    )
    assert (
        "inputs.s.b: pos (Embed) reads whole numbers, 0 to 199; random: normal gives fractions" in error
    )
