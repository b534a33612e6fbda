"""The .param file: what is read out of it, and what its errors say."""

import re
from pathlib import Path

import pytest

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.param import ParamError, parse, read

RESIDUAL = """\
7767517
5 6
Input     in0   0 1 in0 0=32 1=16 2=3
Split     fork  1 2 in0 left right
Pooling   pool  1 1 left pooled 0=1 -23330=4,3,32,16,3
BinaryOp  add   2 1 pooled right sum 0=0
Softmax   prob  1 1 sum out0 0=0 1=1
"""

PNNX = """\
7767517
4 4
Input       in0     0 1 in0
Convolution conv_0  1 1 in0 1 0=8 1=3 6=216
ReLU        relu_1  1 1 1 2
InnerProduct fc_2   1 1 2 out0 0=10
"""


def network(*lines: str, counts: str = "") -> Graph:
    """A network of layer lines, its counts worked out unless given."""
    blobs = {word for line in lines for word in line.split()[4:] if "=" not in word}
    counts = counts or f"{len(lines)} {len(blobs)}"
    return parse("\n".join(("7767517", counts, *lines, "")), "net.param")


def names(layers: list[Layer]) -> list[str]:
    return [layer.name for layer in layers]


# -- what is read --------------------------------------------------------------------------------


def test_a_layer_has_type_name_blobs_parameters_and_its_line() -> None:
    add = parse(RESIDUAL, "net.param").names["add"]
    assert (add.type, add.inputs, add.outputs) == ("BinaryOp", ("pooled", "right"), ("sum",))
    assert (add.number, add.line, dict(add.params)) == (3, 6, {"0": "0"})


def test_pnnx_numbers_are_blob_names() -> None:
    graph = parse(PNNX, "net.param")
    assert graph.names["relu_1"].inputs == ("1",)
    assert graph.producer["1"].name == "conv_0"
    assert (graph.inputs, graph.outputs) == (("in0",), ("out0",))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_tabs_and_blank_lines_make_no_difference(newline: str) -> None:
    text = RESIDUAL.replace("Pooling   pool  1 1", "\n \t\nPooling\tpool\t 1  1 \t")
    graph = parse(text.replace("\n", newline), "net.param")
    plain = parse(RESIDUAL, "net.param")
    assert [(r.name, r.inputs, dict(r.params)) for r in graph.layers] == [
        (r.name, r.inputs, dict(r.params)) for r in plain.layers
    ]
    assert graph.line_of(graph.names["pool"]).startswith("Pooling\tpool")


def test_read_keeps_every_character_of_the_file(tmp_path: Path) -> None:
    raw = RESIDUAL.replace("\n", "\r\n").rstrip().encode()
    path = tmp_path / "net.param"
    path.write_bytes(raw)
    assert read(str(path)).text.encode() == raw


def test_quoted_values_hold_spaces_and_signs() -> None:
    graph = network("Input in0 0 1 in0", 'Einsum mul 1 1 in0 out0 0="ij, 31=4 -> j" 1=2')
    layer = graph.names["mul"]
    assert dict(layer.params) == {"0": '"ij, 31=4 -> j"', "1": "2"}
    assert layer.mask == 0


@pytest.mark.parametrize("character", ["\u00a0", "\u3000", "\u2028", "\x85", "\x1c"])
def test_only_ascii_white_space_separates(character: str) -> None:
    """As in ncnn, which scans as C does; Python's split and splitlines know many more."""
    name = f"my{character}relu"
    graph = network("Input in0 0 1 in0", f"ReLU {name} 1 1 in0 x", counts="2 2")
    masked = graph.with_masks({name: 18})
    assert masked.line_of(masked.names[name]) == f"ReLU {name} 1 1 in0 x 31=18"


# -- masks as ncnn reads them --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "mask"),
    [
        ("", 0),
        ("31=18", 18),
        ("31=2 31=16", 16),  # the last one counts, they are not OR-ed
        ("-23331=2,1,2", 0),  # an array of id 31 is no mask
        ("31=1 -23331=1,9", 1),
        ("13=7", 0),
        ("31=256", 0),  # ncnn ignores what lies beyond 255
        ("31=274", 18),
    ],
)
def test_the_mask_of_a_layer(written: str, mask: int) -> None:
    graph = network("Input in0 0 1 in0", f"ReLU relu 1 1 in0 out0 0=0.1 {written}")
    assert graph.names["relu"].mask == mask


# -- the graph -----------------------------------------------------------------------------------


def test_producers_consumers_inputs_and_outputs() -> None:
    graph = parse(RESIDUAL, "net.param")
    assert {blob: layer.name for blob, layer in graph.producer.items()} == {
        "in0": "in0", "left": "fork", "right": "fork", "pooled": "pool", "sum": "add",
        "out0": "prob",
    }  # fmt: skip
    assert names(graph.consumers["in0"]) == ["fork"]
    assert names(graph.consumers["out0"]) == []
    assert (graph.inputs, graph.outputs) == (("in0",), ("out0",))


def test_a_layer_that_reads_a_blob_twice_consumes_it_once() -> None:
    graph = network("Input in0 0 1 in0", "BinaryOp square 2 1 in0 in0 out0 0=2")
    assert names(graph.consumers["in0"]) == ["square"]


def test_a_network_may_have_several_inputs_and_outputs() -> None:
    graph = network("Input a 0 1 a", "Input b 0 1 b", "BinaryOp add 2 1 a b sum", "Split s 1 2 sum x y")
    assert (graph.inputs, graph.outputs) == (("a", "b"), ("x", "y"))


def test_ancestors_are_the_layers_that_must_run() -> None:
    graph = parse(RESIDUAL, "net.param")
    assert graph.ancestors(["pooled"]) == {0, 1, 2}
    assert graph.ancestors(["right"]) == {0, 1}
    assert graph.ancestors(["out0"]) == {0, 1, 2, 3, 4}
    assert graph.ancestors([]) == set()


def test_of_several_layers_with_one_name_the_first_is_found() -> None:
    graph = network("Input in0 0 1 in0", "ReLU r 1 1 in0 x", "Sigmoid r 1 1 x y")
    assert graph.names["r"].type == "ReLU"


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ("0=7", (7,)),
        ("0=7 1=5", (5, 7)),
        ("0=7 1=5 2=3", (3, 5, 7)),
        ("0=7 1=5 11=4 2=3", (3, 4, 5, 7)),
        ("", None),
        ("0=0 1=0 2=0", None),
    ],
)
def test_an_input_line_gives_the_shape_in_numpys_order(
    params: str, shape: tuple[int, ...] | None
) -> None:
    assert network(f"Input in0 0 1 in0 {params}").shapes.get("in0") == shape


@pytest.mark.parametrize(
    ("hint", "shapes"),
    [
        ("-23330=4,3,32,16,8", {"x": (8, 16, 32)}),
        ("-23330=4,2,32,16,0", {"x": (16, 32)}),
        ("-23330=4,1,32,0,0", {"x": (32,)}),
        ("-23330=4,0,0,0,0", {}),  # not known to the tool that wrote it
        ("-23330=1,3", {}),
    ],
)
def test_shape_hints_give_the_shapes_of_outputs(hint: str, shapes: dict[str, tuple[int, ...]]) -> None:
    assert network("Input in0 0 1 in0", f"ReLU r 1 1 in0 x {hint}").shapes == shapes


def test_a_shape_hint_covers_each_output() -> None:
    graph = network("Input in0 0 1 in0", "Slice s 1 2 in0 x y -23330=8,3,4,5,2,1,9,0,0")
    assert graph.shapes == {"x": (2, 5, 4), "y": (9,)}


@pytest.mark.parametrize("line", ["Input in0 0 1 in0 0=wide", "Input in0 0 1 in0 0=3.5"])
def test_a_size_that_is_not_a_number_gives_no_shape(line: str) -> None:
    assert network(line).shapes == {}


# -- errors --------------------------------------------------------------------------------------

HEAD = "7767517\n2 2\nInput in0 0 1 in0\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, r"magic number 7767517, and the file is empty.*\.param file"),
        ("  \n\n", 1, "the file is empty"),
        ("\u0745v\0\7\0", 1, r"is binary; expected a text \.param file"),
        ("7767516\n1 1\n", 1, "magic number 7767517, found '7767516'"),
        ("\x00\x01garbage", 1, "is this an ncnn .param file"),
        ("7767517\n", 2, "expected the layer count and the blob count"),
        ("7767517\n\n3\n", 3, "expected the layer count and the blob count"),
        ("7767517\ntwo 2\n", 2, "expected the layer count and the blob count"),
        ("7767517\n-2 2\n", 2, "expected the layer count and the blob count"),
        ("7767517\n3 3\nInput in0 0 1 in0\n", 2, "3 layers announced, 1 found; .*cut off"),
        ("7767517\n0 1\nInput in0 0 1 in0\n", 2, "0 layers announced, 1 found"),
        ("7767517\n1 0\nInput in0 0 1 in0\n", 2, "0 blobs announced, 1 found"),
        (HEAD + "ReLU relu 1\n", 4, "expected 'Type name n_inputs .*found 'ReLU relu 1'"),
        (HEAD + "ReLU relu one 1 in0 x\n", 4, "expected 'Type name n_inputs"),
        (HEAD + "ReLU relu 1 1 in0\n", 4, "announces 1 input and 1 output, .*1 blob; .*cut off"),
        (HEAD + "ReLU relu 1 1 in0 out0 31=18.0\n", 4, "31=18.0 is not a whole.*Write 31=18$"),
        (HEAD + "ReLU relu 1 1 in0 out0 31=no\n", 4, "31=no is not a whole number"),
        (HEAD + "ReLU relu 1 1 inO out0\n", 4, r"reads blob 'inO', which no layer above .*'in0'$"),
        (HEAD + "ReLU relu 1 1 out0 out0\n", 4, "reads blob 'out0', which no layer above it"),
        (HEAD + "ReLU relu 1 1 in0 in0\n", 4, r"writes blob 'in0', which in0 \(line 3\) writes"),
        ("7767517\n1 1\nNoop n 0 1 out0\n", 3, "no Input layer: there is nothing to feed"),
    ],
)
def test_an_error_names_file_and_line_and_what_was_expected(text: str, line: int, said: str) -> None:
    with pytest.raises(ParamError) as caught:
        parse(text, "net.param")
    assert re.match(rf"net\.param:{line}: ", str(caught.value))
    assert re.search(said, str(caught.value))


def test_a_file_that_is_not_text_may_be_a_binary_param(tmp_path: Path) -> None:
    path = tmp_path / "net.param.bin"
    path.write_bytes(b"7767517\n1 1\nInput \xff 0 1 in0\n")
    with pytest.raises(ParamError, match=r"bin:3:7: not UTF-8 text \(byte 0xff\).*text .param"):
        read(str(path))


def test_an_absurdly_long_mask_is_an_error_like_any_other() -> None:
    text = HEAD + f"ReLU relu 1 1 in0 out0 31={'9' * 5000}\n"
    with pytest.raises(ParamError, match=r"net\.param:4: layer relu: mask"):
        parse(text, "net.param")
