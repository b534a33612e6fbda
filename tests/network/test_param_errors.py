"""What is wrong with a .param, all of it at once, in words that can be printed."""

import re
import time
from pathlib import Path

import pytest

from pytest_ncnn_parity.base.errors import MOST_ERRORS
from pytest_ncnn_parity.network.param import ParamError, parse
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import SpecError

HEAD = "7767517\n2 2\nInput in0 0 1 in0\n"


def errors(text: str) -> list[str]:
    with pytest.raises(ParamError) as caught:
        parse(text, "net.param")
    assert str(caught.value) == "\n".join(caught.value.errors)
    assert all(error.isprintable() for error in caught.value.errors)
    return [error.removeprefix("net.param:") for error in caught.value.errors]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"\ufeff{HEAD}ReLU relu 1 1 in0 out0\n",
            "1: begins with a byte order mark, which ncnn refuses",
        ),
        (
            "7767517\n2 1\npnnx.Input pnnx_input_0 0 1 0 #0=(1,3,8,8)f32\nnn.ReLU relu 1 1 0 1\n",
            "3: is the graph that pnnx wrote for itself: name the .ncnn.param",
        ),
    ],
)
def test_a_file_that_needs_another_form(text: str, said: str) -> None:
    (error,) = errors(text)
    assert error.startswith(said)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("0=1 what", "expected id=value, found 'what'; does a count of blobs not fit?"),
        ("more 0=1", "expected id=value, found 'more'"),
        ("=1", "expected id=value, found '=1'"),
        ("9999999999=1", "9999999999=: expected an id"),
        ("32=1", "32=: expected an id from 0 to 31, or -23300 to -23331 for an array"),
        ("-1=1", "-1=: expected an id"),
        ("-23332=1,1", "-23332=: expected an id"),
        ("999999999=1", "999999999=: expected an id"),
        ("0=", "0=: expected a number"),
        ("0=--5", "0=--5: expected a number"),
        ("0=0x10", "0=0x10: expected a number"),
        ("0=2147483648", "0=2147483648: expected a number of 32 bits"),
        ("0=1,99999999999", "0=1,99999999999: expected a number of 32 bits"),
        ("-23300=2,1,2147483648", "-23300=2,1,2147483648: expected numbers of 32 bits"),
        ("2147483648=2", "2147483648=: expected an id from 0 to 31, or -23300 to -23331 for an array"),
        ("0=1,,2", "0=1,,2: expected a number"),
        (
            "2=inf",
            r"2=inf: expected a number, such as 3.4028234e\+38; by its version ncnn refuses this,",
        ),
        ("2=-inf", r"2=-inf: expected a number, such as -3.4028234e\+38; ncnn refuses this$"),
        ("2=NaN", "2=NaN: expected a number; by its version"),
        (f"0={'1' * 5000}", "expected a number"),
        ("-23303=3,1,2", "-23303=3,1,2: announces 3 values, but 2 follow"),
        ("-23303=1,1,2", "announces 1 values, but 2 follow"),
        ("-23303=-1", "announces -1 values, but 0 follow"),
        ("-23303=1000000000,1", "announces 1000000000 values, but 1 follow"),
        ("-23303=2,1,x", "expected numbers"),
        ("31=-1", "mask 31=-1 is not a whole number from 0 to 255"),
        ("31=1e3", "mask 31=1e3 is not a whole number"),
        ("31=", "mask 31= is not a whole number"),
        ("31=18.5", "is not a whole number .* Write 31=18$"),
        ("31=1,2", "mask 31=1,2 is not a whole number"),
    ],
)
def test_a_parameter_that_ncnn_would_refuse(params: str, said: str) -> None:
    (error,) = errors(f"{HEAD}ReLU relu 1 1 in0 out0 {params}\n")
    assert error.startswith("4: layer relu: ")
    assert re.search(said, error)


@pytest.mark.parametrize(
    "params", ["0=.5 1=-1e-7 2=+3 3=1,2,3 -23300=2,1,2.5", "0=mul 3=1,", '5="a = b"']
)
def test_parameters_that_ncnn_reads(params: str) -> None:
    parse(f"{HEAD}ReLU relu 1 1 in0 out0 {params}\n", "net.param")


def test_a_name_is_as_long_as_ncnn_reads_it() -> None:
    longest = "\u00e4" * 127 + "x"  # 255 bytes
    parse(f"7767517\n2 2\nInput {longest} 0 1 {longest}\nReLU r 1 1 {longest} x\n", "net.param")
    for line in (f"Input {longest}x 0 1 in0", f"Input in0 0 1 {longest}x", f"{longest}x in0 0 1 in0"):
        (error, *_) = errors(f"7767517\n1 1\n{line}\n")
        assert re.search(r"the name .* is longer than the 255 bytes that ncnn reads", error)
        assert len(error) < 250


@pytest.mark.parametrize("kind", ["3D", "-x", "=", '"x"'])
def test_a_type_that_ncnn_takes_for_a_parameter_of_the_line_before(kind: str) -> None:
    (error,) = errors(f"{HEAD}{kind} relu 1 1 in0 out0\n")
    assert "does not begin with a letter" in error


def test_a_hint_of_shapes_for_no_output() -> None:
    """ncnn divides by the number of outputs."""
    (error,) = errors(f"{HEAD}Noop none 1 0 in0 -23330=4,1,8,0,0\n")
    assert "states the shapes of outputs, of which it has none" in error


@pytest.mark.parametrize(
    ("wrong", "reason", "right"),
    [
        ("LRN x 1 1 in0 x 1=0", "normalizes across 0 values (1=0); expected 1 or more", "1=5"),
        ("LRN x 1 1 in0 x 1=0", "normalizes across 0 values (1=0); expected 1 or more", '1="0w"'),
        (
            "Interp x 1 1 in0 x 0=2 4=-1",
            "has an output width of -1 (4=-1); expected 1 or more, or 0 for a scale",
            "0=2 4=0",
        ),
        (
            "Interp x 1 1 in0 x 0=1 3=-5 4=8",
            "has an output height of -5 (3=-5); expected 1 or more, or 0 for a scale",
            '0=1 3=-5 4=8 9="2w,2h"',
        ),
        (
            "Eltwise x 3 1 in0 in0 in0 x 0=1 -23301=2,0.5,2.0",
            "multiplies 3 inputs by 2 coefficients; expected one for each",
            "0=0 -23301=2,0.5,2.0",
        ),
        (
            "Slice x 1 2 in0 x y -23300=1,3",
            "states the sizes of 1 of 2 outputs; expected all",
            "-23300=1,3 -23302=1,3",
        ),
        (
            "InnerProduct x 1 1 in0 x 0=4 1=-1 2=16",
            "states 1=-1 for its bias; expected 0 or 1, for Vulkan adds a bias only where it is 1",
            "0=4 1=1 2=16",
        ),
        (
            "ConvolutionDepthWise1D x 1 1 in0 x 5=2",
            "states 5=2 for its bias; expected 0 or 1, for Vulkan adds a bias only where it is 1",
            "5=0",
        ),
        (
            "Pooling x 1 1 in0 x 0=0 1=3 2=2 13=3",
            "pads 3 in front of a window of 3 along h, which pools nothing then; expected less",
            "0=0 1=3 2=2 13=2",
        ),
        (
            "Pooling3D x 1 1 in0 x 0=1 1=3 2=2 3=4 5=1",
            "pads 4 in front of a window of 3 along w, which pools nothing then; expected less",
            "0=1 1=3 2=2 3=4 5=1 6=1",
        ),
    ],
)
def test_parameters_that_ncnn_loads_and_cannot_compute_with(wrong: str, reason: str, right: str) -> None:
    """It divides by 0, reads past an array, or takes the number for different things."""
    kind, name = wrong.split()[:2]
    head = HEAD.replace("2 2", "2 3") if kind == "Slice" else HEAD
    assert errors(f"{head}{wrong}\n") == [f"4: layer {name} ({kind}): {reason}"]
    kept = [word for word in wrong.split() if "=" not in word]
    parse(f"{head}{' '.join(kept)} {right}\n", "net.param")


@pytest.mark.parametrize("kind", ["ConvolutionOfOurs", "Scale2", "PoolingMedian"])
def test_the_parameters_of_an_operator_of_your_own_are_its_own(kind: str) -> None:
    parse(f"{HEAD}{kind} x 1 1 in0 out0 1=7 5=7 13=7\n", "net.param")


def test_a_cycle_is_distinguished_from_a_blob_that_nothing_writes() -> None:
    text = "7767517\n3 3\nInput in0 0 1 in0\nBinaryOp a 2 1 in0 y x\nReLU b 1 1 x y\n"
    assert errors(text) == [
        "4: layer a (BinaryOp) reads blob 'y', which no layer above it writes, but b on line 5: a "
        "cycle, or layers out of running order"
    ]


def test_everything_is_reported_at_once() -> None:
    lines = ["ReLU a 1 1 in0 x 0=no! 31=1.5 40=1 y", "ReLU", "ReLU b 1 1", "ReLU c 1 2 x y z 0=,"]
    reported = errors("7767517\n9 9\nInput in0 0 1 in0\n" + "\n".join(lines))
    assert [error.partition(":")[0] for error in reported] == ["2", "4", "4", "4", "5", "6", "7"]
    lines = ["ReLU a 1 1 inO in0", "ReLU b 1 1 z z", "Split c 1 2 in0 q q"]
    reported = errors("7767517\n9 x\nInput in0 0 1 in0\n" + "\n".join(lines))
    assert [error.partition(":")[0] for error in reported] == ["4", "4", "5", "6", "2"]


def test_a_file_that_ends_within_a_line_is_cut_off() -> None:
    first, second = errors("7767517\n9 9\nInput in0 0 1 in0\nConvolution conv 1 1 in0 a 0=8 1")
    assert first == "2: 9 layers announced, 2 found; is the file cut off?"
    assert second.startswith("4: ")


def test_of_very_many_errors_the_first_are_reported_at_once() -> None:
    layers = "".join(f"ReLU r{i} 1 1 x{i} y{i}\n" for i in range(20_000))
    start = time.monotonic()
    reported = errors(f"7767517\n20001 99999\nInput in0 0 1 in0\n{layers}")
    assert time.monotonic() - start < 30.0
    assert len(reported) == MOST_ERRORS + 1
    assert reported[-1] == "... and more"


@pytest.mark.parametrize(
    "counts", ["9999999999 1", "1 9999999999", "-1 1", "1", "1 1 1", "1.0 1", "\u0661 1"]
)
def test_counts_that_are_none(counts: str) -> None:
    (error,) = errors(f"7767517\n{counts}\nInput in0 0 1 in0\n")
    assert error.startswith("2: expected the layer count and the blob count, found ")


@pytest.mark.parametrize(("count", "right"), [(0, False), (1, True), (9999, True), (999_999_999, False)])
def test_ncnn_makes_room_for_all_blobs_that_are_announced(count: int, right: bool) -> None:
    text = f"7767517\n1 {count}\nInput in0 0 1 in0\n"
    if right:
        parse(text, "net.param")
    else:
        assert errors(text) == [f"2: {count} blobs announced, 1 found"]


@pytest.mark.parametrize(
    "line",
    ["ReLU r 1000000000 1 in0 x", "ReLU r 1 999999999 in0 x", "ReLU r -1 1 in0 x", "ReLU r 1e1 1 in0 x"],
)
def test_counts_of_blobs_that_are_none(line: str) -> None:
    (error,) = errors(HEAD + line)
    assert re.match("4: (layer r announces|expected 'Type name)", error)


def test_a_nul_byte_ends_a_text_for_ncnn() -> None:
    assert "4: a NUL byte in the text" in errors(HEAD + "ReLU re\0lu 1 1 in0 out0\n")


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\u202eb", "a\u2028b", "\x07"])
def test_what_is_quoted_can_be_printed(name: str) -> None:
    assert errors(f"{HEAD}ReLU {name} 1 1 {name} {name} {name} 31={name}\n")
    assert errors(f"{HEAD}ReLU {name} 1 1 {name} in0\n")
    assert errors(f"{name}\n")


def test_of_a_spec_its_files_and_its_param_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "net.param").write_text(HEAD + "ReLU a 1 1 in0 x 31=x\nReLU b 1 1 x y 40=1\n")
    path = tmp_path / "net.parity.yaml"
    path.write_text("model: {param: net.param, bin: net.bin}\ninputs: {a: {in0: {file: x.npy}}}\n")
    with pytest.raises(SpecError) as caught:
        check.plan(spec.load(path))
    places = [error.removeprefix(f"{tmp_path}/")[:20] for error in caught.value.errors]
    assert places == [
        "net.parity.yaml:1:32",
        "net.parity.yaml:2:14",
        "net.param:4: layer a",
        "net.param:5: layer b",
    ]
