"""What a first spec feeds: shapes as the files state them, plausible values."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SHARED
from written_graphs import fed, text

from pytest_ncnn_parity.network.param import read
from pytest_ncnn_parity.network.shapes.search import known_shape
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import pnnx_files, spec, starter
from pytest_ncnn_parity.spec.first_inputs import first_inputs

CONVOLUTION = "Convolution conv 1 1 in0 out0 0=8 1=3 4=1 6=216"


def source(*layers: str, line: str = "", folder: Path = Path("nowhere")) -> str:
    (first,) = first_inputs(fed(*layers, size=line), folder / "net.ncnn.param")
    return first.source


def comments(*layers: str, line: str = "", folder: Path = Path("nowhere")) -> list[str]:
    (first,) = first_inputs(fed(*layers, size=line), folder / "net.ncnn.param")
    return list(first.comments)


def nerf(parts: int, rows: int, second: str = "") -> list[str]:
    """Sines of an input side by side, behind it, and a Gemm that reads `rows` of them."""
    copies = " ".join(f"c{i}" for i in range(parts))
    sines = [f"UnaryOp sine{i} 1 1 c{i} s{i} 0=9" for i in range(1, parts)]
    joined = " ".join(["c0", *(f"s{i}" for i in range(1, parts)), *second.split()])
    count = len(joined.split())
    return [
        f"Split fork 1 {parts} in0 {copies}",
        *sines,
        f"Concat encoded {count} 1 {joined} wide 0=1",
        f"Gemm fc 1 1 wide out0 3=1 5=1 6=1 8=16 9={rows} 10=-1",
    ]


def test_rows_behind_a_concat_are_counted_by_its_parts() -> None:
    assert source(*nerf(13, 39)) == "{random: normal, shape: [LENGTH, 3]}"
    assert source(*nerf(7, 35)) == "{random: normal, shape: [LENGTH, 5]}"


def test_what_stands_beside_another_input_has_a_rank_and_no_size() -> None:
    layers = ["Input in1 0 1 in1", *nerf(13, 90, "in1")]
    both = first_inputs(fed(*layers), Path("nowhere/net.ncnn.param"))
    assert {one.blob: one.source for one in both} == dict.fromkeys(
        ("in0", "in1"), "{random: normal, shape: [LENGTH, SIZE]}"
    )


# -- values, by what the network is --------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "written"),
    [
        ([CONVOLUTION], "{random: smooth, low: 0, high: 1, shape: [3, HEIGHT, WIDTH]}"),
        (
            ["Split fork 1 2 in0 a b", "Convolution conv 1 1 a c 0=8 1=1 6=8", "ReLU relu 1 1 b d"],
            "{random: smooth, low: 0, high: 1, shape: [1, HEIGHT, WIDTH]}",
        ),
        (
            ["ConvolutionDepthWise conv 1 1 in0 out0 0=12 1=3 6=108 7=12"],
            "{random: smooth, low: 0, high: 1, shape: [12, HEIGHT, WIDTH]}",
        ),
        (
            ["Convolution3D conv 1 1 in0 out0 0=8 1=3 6=432"],
            "{random: smooth, low: 0, high: 1, shape: [2, DEPTH, HEIGHT, WIDTH]}",
        ),
        (
            ["Convolution1D conv 1 1 in0 out0 0=8 1=3 6=1920"],
            "{random: smooth, low: -1, high: 1, shape: [80, LENGTH]}",
        ),
        (
            ["Spectrogram stft 1 1 in0 out0 0=400 1=2 2=160 4=1"],
            "{random: smooth, low: -1, high: 1, shape: [LENGTH]}",
        ),
        (["InnerProduct fc 1 1 in0 out0 0=10 2=7840"], "{random: normal, shape: [784]}"),
        (
            ["Flatten flat 1 1 in0 a", "InnerProduct fc 1 1 a out0 0=10 2=7840"],
            "{random: normal, shape: [784]}",
        ),
        (["LSTM lstm 1 1 in0 out0 0=16 1=2048 2=0"], "{random: normal, shape: [LENGTH, 32]}"),
        (["GRU gru 1 1 in0 out0 0=16 1=3072 2=2"], "{random: normal, shape: [LENGTH, 32]}"),
        (
            ["Gemm fc 1 1 in0 out0 2=0 3=1 4=0 5=1 6=1 8=24 9=16 10=4"],
            "{random: normal, shape: [LENGTH, 16]}",
        ),
        (
            ["MultiHeadAttention mha 1 1 in0 out0 0=32 1=4 2=1024"],
            "{random: normal, shape: [LENGTH, 32]}",
        ),
        (["LayerNorm ln 1 1 in0 out0 0=48 1=1e-5 2=1"], "{random: normal, shape: [LENGTH, 48]}"),
        (
            ["Embed tok 1 1 in0 out0 0=16 1=100 3=1600"],
            "{random: integers, low: 0, high: 99, shape: [LENGTH]}",
        ),
        (["OfMyOwn mine 1 1 in0 out0"], "{random: normal, shape: [CHANNELS, HEIGHT, WIDTH]}"),
        (["Pooling pool 1 1 in0 out0 0=0 1=2 2=2"], "{random: smooth, low: 0, high: 1, "
         "shape: [CHANNELS, HEIGHT, WIDTH]}"),
    ],
)  # fmt: skip
def test_the_first_layers_say_what_an_input_is(layers: list[str], written: str) -> None:
    assert source(*layers) == written


def test_channels_are_known_behind_layers_that_keep_them() -> None:
    """As of an upscaler that takes the mean off, three values of its own, before it convolves."""
    layers = (
        "MemoryData mean 0 1 mean 0=1 1=1 2=3",
        "BinaryOp sub 2 1 in0 mean a 0=1",
        "Convolution conv 1 1 a out0 0=8 1=3 6=216",
    )
    assert "shape: [3, HEIGHT, WIDTH]" in source(*layers)


@pytest.mark.parametrize(
    ("operation", "high"),
    [
        ("0=3 1=1 2=255.0", 255),
        ("0=1 1=1 2=127.5", 255),
        ("0=2 1=1 2=0.00392", 255),
        ("0=2 1=1 2=255.0", 1),
        ("0=1 1=1 2=0.5", 1),
        ("0=2 1=1 2=0.0", 1),
    ],
)
def test_a_network_that_scales_pixels_itself_is_fed_with_pixels(operation: str, high: int) -> None:
    layers = (f"BinaryOp scale 1 1 in0 a {operation}", "Convolution conv 1 1 a out0 0=8 1=3 6=216")
    assert f"low: 0, high: {high}, " in source(*layers)


# -- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "axes"),
    [
        # a window that fits 4x4 and no more
        ([CONVOLUTION, "Pooling p 1 1 out0 a 1=16 2=16", "InnerProduct fc 1 1 a b 0=2 2=256"],
         (3, 64, 64)),
        # 7 to 8 halves: the roundest of those that fit
        (["Convolution c 1 1 in0 a 0=4 1=3 3=2 4=1 6=36", "InnerProduct fc 1 1 a b 0=2 2=1568"],
         (1, 28, 28)),
        # a table of places
        (["Embed tok 1 1 in0 a 0=4 1=9 3=36", "MemoryData places 0 1 p 0=4 1=7",
          "BinaryOp add 2 1 a p b 0=0"], (7,)),
        # only the height is known
        (["Convolution c 1 1 in0 a 0=4 1=1 6=12", "Permute turn 1 1 a b 0=2",
          "InnerProduct rows 1 1 b c 0=4 2=1"], (3, "HEIGHT", "WIDTH")),
        # any multiple of 32
        ([CONVOLUTION, "Pooling p 1 1 out0 a 1=32 2=32", "Interp up 1 1 a b 0=1 1=32.0 2=32.0",
          "BinaryOp add 2 1 b in0x c"], None),
    ],
)  # fmt: skip
def test_the_layers_determine_the_size_where_only_one_fits(
    layers: list[str], axes: tuple[int | str, ...] | None
) -> None:
    if axes is None:
        layers = ["Split fork 1 2 in0 in0a in0x", layers[0].replace(" in0 ", " in0a "), *layers[1:]]
        axes = (3, "HEIGHT", "WIDTH")
    known = known_shape(fed(*layers), "in0")
    assert known is not None
    assert known[1] == axes


def test_a_size_that_is_free_is_asked_for() -> None:
    """As of a text recognizer, whose height is fixed and whose width is as long as the text."""
    layers = (
        "Convolution conv 1 1 in0 a 0=1 1=1 6=3",
        "Permute turn 1 1 a b 0=1",  # heights to the inside
        "LSTM lstm 1 1 b out0 0=4 1=512 2=0",
    )
    known = known_shape(fed(*layers), "in0")
    assert known is not None
    assert known[1] == (3, 32, "WIDTH")


def test_an_input_line_that_contradicts_the_weights_is_ignored() -> None:
    assert source(CONVOLUTION, line="0=3 1=12 2=16").endswith("shape: [3, 12, 16]}")
    assert comments(CONVOLUTION, line="0=3 1=12 2=16")[:3] == [
        "# The Input line states [16, 12, 3], which contradicts the weights or layers:",
        "# conv (Convolution) gets [16, 12, 3], of 16 channels; its weights are for 3.",
        "# [3, 12, 16] fits all of them.",
    ]


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ("0=3 1=12 2=12", "[3, 12, 12]"),
        ("0=12 1=3 2=12", "[3, 12, 12]"),
        ("0=24 1=24 2=1", "[3, 24, 24]"),
        ("0=24 1=24 2=4", "[3, 24, 24]"),
    ],
)
def test_lines_of_several_kinds_that_lie(line: str, shape: str) -> None:
    assert source(CONVOLUTION, line=line) == f"{{random: smooth, low: 0, high: 1, shape: {shape}}}"


def test_an_input_line_of_the_wrong_size_gives_way_to_the_one_that_fits() -> None:
    layers = (CONVOLUTION, "Pooling p 1 1 out0 a 1=16 2=16", "InnerProduct fc 1 1 a b 0=2 2=400")
    assert source(*layers, line="0=60 1=60 2=3").endswith("shape: [3, 80, 80]}")
    assert "no shape" not in source(*layers, line="0=80 1=80 2=3")
    assert "shape" not in source(*layers, line="0=80 1=80 2=3")


def test_where_nothing_fits_a_lying_line_numbers_are_asked_for() -> None:
    layer = "ConvolutionDepthWise conv 1 1 in0 out0 0=8 1=5 6=200 7=8"
    assert source(layer, line="0=4 1=4 2=8").endswith("shape: [8, HEIGHT, WIDTH]}")
    assert "a window of 5x5 does not fit into 4x4" in comments(layer, line="0=4 1=4 2=8")[1]


# -- pnnx's own files ----------------------------------------------------------------------------

SCRIPT = """\
def test_inference():
    torch.manual_seed(0)
    in0 = torch.rand(1, 3, 224, 160, dtype=torch.float)
    in1 = torch.randint(10, (1, 7), dtype=torch.int)
    in2 = torch.rand(12, 64, dtype=torch.float)
    in3 = torch.rand(5, dtype=torch.float)
    in4 = torch.rand(6, 1, 8, dtype=torch.float)

    with net.create_extractor() as ex:
        ex.input("in0", ncnn.Mat(in0.squeeze(0).numpy()).clone())
        ex.input("in1", ncnn.Mat(in1.numpy(), batch_index=0).clone())
        ex.input("in2", ncnn.Mat(in2.numpy(), batch_index=233).clone())
        ex.input("in3", ncnn.Mat(in3.numpy()).clone())
        ex.input("in4", ncnn.Mat(in4.squeeze(1).numpy()).clone())
"""
ORIGINAL = """\
7767517
4 3
pnnx.Input               pnnx_input_0             0 1 0 #0=(1,3,224,160)f32
pnnx.Input               pnnx_input_1             0 1 x.1 #x.1=(1,7)i64
pnnx.Input               pnnx_input_2             0 1 2 #2=(?,3,?,160)f32
nn.Conv2d                conv                     1 1 0 3 bias=True #0=(1,3,224,160)f32
"""


def test_pnnx_feeds_its_network_in_a_script(tmp_path: Path) -> None:
    (tmp_path / "net_ncnn.py").write_text(SCRIPT)
    shapes = {
        blob: one.shape for blob, one in pnnx_files.input_shapes(tmp_path / "net.ncnn.param").items()
    }
    assert shapes == {"in0": (3, 224, 160), "in1": (7,), "in2": (12, 64), "in3": (5,), "in4": (6, 8)}


def test_pnnx_writes_the_network_before_as_well(tmp_path: Path) -> None:
    (tmp_path / "net.pnnx.param").write_text(ORIGINAL)
    shapes = {
        blob: one.shape for blob, one in pnnx_files.input_shapes(tmp_path / "net.ncnn.param").items()
    }
    assert shapes == {"in0": (3, 224, 160), "in1": (7,), "in2": (3, None, 160)}


def test_the_shape_comes_from_the_script_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "net_ncnn.py").write_text(SCRIPT)
    assert source(CONVOLUTION, folder=tmp_path).endswith("shape: [3, 224, 160]}")
    assert comments(CONVOLUTION, folder=tmp_path)[0] == "# net_ncnn.py states the shape, (c, h, w)."


def test_a_size_that_pnnx_leaves_open_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "net.pnnx.param").write_text(ORIGINAL.replace("224", "?"))
    assert source(CONVOLUTION, folder=tmp_path).endswith("shape: [3, HEIGHT, 160]}")


def test_a_script_of_another_network_gives_no_shapes(tmp_path: Path) -> None:
    (tmp_path / "net_ncnn.py").write_text(SCRIPT.replace("1, 3, 224", "1, 4, 224"))
    assert source(CONVOLUTION, folder=tmp_path).endswith("shape: [3, HEIGHT, WIDTH]}")


ROTARY = [
    "Input in1 0 1 in1",
    "Input in2 0 1 in2",
    "Embed tok 1 1 in0 a 0=64 1=200 3=12800",
    "Reshape heads 1 1 a b 0=16 1=4 2=7",
    "Permute turn 1 1 b c 0=2",
    "RotaryEmbed rope 3 1 c in1 in2 out0",
]


def with_batches(folder: Path, layers: list[str], shapes: list[str]) -> list[str]:
    """The shapes of inputs that pnnx fed with these `shapes`, the first axis as a batch."""
    drawn = [f"    in{i} = torch.rand({shape}, dtype=torch.float)" for i, shape in enumerate(shapes)]
    used = [
        f'    ex.input("in{i}", ncnn.Mat(in{i}.numpy(), batch_index=0).clone())'
        for i in range(len(shapes))
    ]
    (folder / "net_ncnn.py").write_text("\n".join([*drawn, *used]))
    sources = [one.source for one in first_inputs(fed(*layers), folder / "net.ncnn.param")]
    return [source.partition("shape: ")[2] for source in sources]


def test_rows_that_pnnx_took_for_a_batch_are_rows_where_only_so_all_layers_fit(tmp_path: Path) -> None:
    """pnnx writes batch_index=0 for cosines of 7 words by 16, which leaves those of one word."""
    found = with_batches(tmp_path, ROTARY, ["1, 7", "7, 16", "7, 16"])
    assert found == ["[7]}", "[7, 16]}", "[7, 16]}"]


def test_of_many_batches_not_every_choice_is_tried(tmp_path: Path) -> None:
    """As of the caches of a language model, where no choice fits the cosines."""
    caches = [
        line for i in range(3, 43) for line in (f"Input in{i} 0 1 in{i}", f"ReLU r{i} 1 1 in{i} out{i}")
    ]
    found = with_batches(tmp_path, [*ROTARY, *caches], ["1, 7", *["9, 15"] * 2, *["5, 4"] * 40])
    assert found[3:] == ["[4]}"] * 40


def test_a_batch_of_pnnx_is_left_out_where_either_fits(tmp_path: Path) -> None:
    (tmp_path / "net_ncnn.py").write_text(
        SCRIPT.replace("1, 3, 224", "5, 3, 224").replace(
            "in0.squeeze(0).numpy()", "in0.numpy(), batch_index=0"
        )
    )
    assert source(CONVOLUTION, folder=tmp_path).endswith("shape: [3, 224, 160]}")


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00", b"", b"in0 = torch.rand(9, 9, 9, 9, 9, 9)", b"0" * 99])
def test_a_script_that_is_none_of_pnnxs_is_passed_over(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "net_ncnn.py").write_bytes(raw)
    (tmp_path / "net.pnnx.param").write_bytes(raw)
    assert pnnx_files.input_shapes(tmp_path / "net.ncnn.param") == {}


def test_nothing_beside_the_model_is_run(tmp_path: Path) -> None:
    code = f"in0 = torch.rand(1, 3, 8, 8)\nopen({str(tmp_path / 'ran')!r}, 'w')\n"
    (tmp_path / "net_ncnn.py").write_text(code)
    assert "[3, 8, 8]" in source(CONVOLUTION, folder=tmp_path)
    assert not (tmp_path / "ran").exists()


# -- the whole of it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ([CONVOLUTION], "0=3 1=12 2=12"),
        ([CONVOLUTION, "Pooling p 1 1 out0 a 1=16 2=16", "InnerProduct fc 1 1 a b 0=2 2=400"],
         "0=60 1=60 2=3"),
        (["Embed tok 1 1 in0 out0 0=16 1=100 3=1600"], "0=7"),
        (["InnerProduct fc 1 1 in0 out0 0=10 2=7840"], ""),
    ],
)  # fmt: skip
def test_what_init_writes_is_collected(layers: list[str], line: str, tmp_path: Path) -> None:
    (tmp_path / "net.param").write_text(fed(*layers, size=line).text, "utf-8")
    (tmp_path / "net.bin").write_bytes(b"")
    path = tmp_path / "net.parity.yaml"
    path.write_text(starter.starter(tmp_path / "net.param", tmp_path), "utf-8")
    assert list(check.plan(spec.load(path)).spec.inputs["noise"]) == ["in0"]


def test_of_many_inputs_of_a_kind_it_is_said_once(tmp_path: Path) -> None:
    lines = [f"Input in{i} 0 1 in{i}" for i in range(5)]
    lines.append("OfMyOwn mine 5 1 in0 in1 in2 in3 in4 out0")
    (tmp_path / "net.param").write_text(text(*lines), "utf-8")
    written = starter.starter(tmp_path / "net.param", tmp_path)
    assert written.count("The .param does not state the shape") == 1
    assert written.count("{random: normal, shape: [CHANNELS, HEIGHT, WIDTH]}") == 5


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("zoo/mtcnn1/det1", "{random: smooth, low: 0, high: 1, shape: [3, 12, 12]}"),
        ("zoo/spoof_m1/model_1", "{random: smooth, low: 0, high: 1, shape: [3, 80, 80]}"),
        ("zoo/yolofastest/yolo-fastest-1.1", "{random: smooth, low: 0, high: 1}"),
        ("zoo/span/spanx2_ch48", "{random: smooth, low: 0, high: 1, shape: [3, HEIGHT, WIDTH]}"),
        ("benchmark/vision_transformer", "{random: smooth, low: 0, high: 1, shape: [3, 384, 384]}"),
    ],
)
def test_networks_that_people_ship(name: str, written: str) -> None:
    path = SHARED / f"{name}.param"
    if not path.is_file():
        pytest.skip("the real models of ../shared/models are not here")
    (first,) = first_inputs(read(str(path)), path)
    assert first.source == written


@pytest.mark.parametrize(("channels", "color"), [(1, "gray"), (3, "rgb"), (4, None)])
def test_a_picture_is_suggested_where_an_image_can_be_one(channels: int, color: str | None) -> None:
    suggested = [
        line
        for line in comments(f"Convolution conv 1 1 in0 out0 0=8 1=3 6={72 * channels}")
        if "image: picture.png" in line
    ]
    assert [f"color: {color}," in line for line in suggested] == ([] if color is None else [True])
