"""Sources of inputs: what array each is, and what is said of one that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import networks
import numpy as np
import pytest
from conftest import Gate, fresh_python
from network import Network
from PIL import ExifTags, Image

from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.inputs import ConstantInput, Input, RangeInput, Recording
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec as specs
from pytest_ncnn_parity.worker.values.inputs import InputErrors, arrays


def array_of(folder: Path, source: str) -> np.ndarray:
    """The array the worker makes of a source, by way of a spec and its plan."""
    net = Network()
    net.layer("ReLU", "relu", [net.layer("Input", "in0", params="0=8" if "shape" not in source else "")])
    net.write(folder / "net")
    path = networks.spec(folder, f"inputs:\n  s: {{in0: {source}}}\n")
    job = jobs.judge(check.plan(specs.load(path)), "s", [], 1)
    return arrays(job.inputs, graphs.network("ReLU relu in0 out0"))["in0"]


def test_random_is_numpys_frozen_stream(tmp_path: Path) -> None:
    drawn = array_of(tmp_path, "{random: normal, seed: 7, mean: 2, std: 3}")
    assert np.array_equal(drawn, np.random.RandomState(7).normal(2, 3, (8,)).astype(np.float32))
    drawn = array_of(tmp_path, "{random: uniform, seed: 7, low: -1, high: 2, shape: [2, 3, 4]}")
    assert np.array_equal(drawn, np.random.RandomState(7).uniform(-1, 2, (2, 3, 4)).astype("f4"))
    assert drawn.flags.c_contiguous


def test_bounds(tmp_path: Path) -> None:
    clipped = array_of(tmp_path, "{random: normal, low: -0.5, high: 0.25, shape: [1000]}")
    assert (clipped.min(), clipped.max()) == (-0.5, 0.25)
    uniform = array_of(tmp_path, "{random: uniform, shape: [1000]}")
    assert uniform.min() >= 0.0
    assert uniform.max() < 1.0


def test_constant(tmp_path: Path) -> None:
    assert np.array_equal(array_of(tmp_path, "{constant: -2.5}"), np.full(8, -2.5, np.float32))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_npy_of_any_float_becomes_float32(tmp_path: Path, dtype: str) -> None:
    values = np.arange(8).astype(dtype)[::-1]
    np.save(tmp_path / "x.npy", values)
    loaded = array_of(tmp_path, "{file: x.npy}")
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, values.astype(np.float32))


@pytest.mark.parametrize(
    ("readers", "dtype"),
    [
        (("Embed tok in0 out0",), np.int32),
        (("Split fork in0 a b", "ReLU relu a out0", "Embed tok b out1"), np.int32),
        (("OfMyOwn mine in0 out0",), np.int32),
        (("Reshape view in0 out0",), np.int32),
        (("ReLU relu in0 out0",), np.float32),
        (("Reshape view in0 a", "Convolution conv a out0"), np.float32),
    ],
)
@pytest.mark.parametrize(
    "source",
    [Recording("x.npy"), RangeInput("integers", (8,), 0, 3.0, 3.0)],
)
def test_integers_are_fed_as_such_to_who_reads_integers(
    readers: tuple[str, ...], dtype: type, source: Input, tmp_path: Path
) -> None:
    """ncnn reads 32 bits as what it wants: a word is no float, and a pixel no integer."""
    np.save(tmp_path / "x.npy", np.full(8, 3, np.int64))
    if isinstance(source, Recording):
        source = Recording(str(tmp_path / "x.npy"))
    fed = arrays({"in0": source}, graphs.network(*readers))["in0"]
    assert fed.dtype == dtype
    assert fed.tolist() == [3] * 8


@pytest.mark.parametrize(
    ("reader", "dtype"), [("Embed", np.int32), ("ReLU", np.float32), ("OfMyOwn", np.float32)]
)
def test_a_constant_is_an_integer_for_an_embed_alone(reader: str, dtype: type) -> None:
    fed = arrays({"in0": ConstantInput(3.0, (8,))}, graphs.network(f"{reader} l in0 out0"))["in0"]
    assert fed.dtype == dtype
    assert fed.tolist() == [3] * 8


def test_minus_infinity_is_fed_from_a_file(tmp_path: Path) -> None:
    """As the attention masks of language models have it."""
    np.save(tmp_path / "x.npy", np.array([0, -np.inf] * 4))
    assert array_of(tmp_path, "{file: x.npy}").tolist() == [0, -np.inf] * 4


def test_npz_by_key_or_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(8), b=np.ones(8))
    np.savez(tmp_path / "one.npz", c=np.full(8, 3.0))
    assert array_of(tmp_path, "{file: two.npz, key: b}").sum() == 8
    assert array_of(tmp_path, "{file: one.npz}").sum() == 24
    with pytest.raises(InputErrors, match=r"two.npz: holds the arrays a, b; name one with 'key:'"):
        array_of(tmp_path, "{file: two.npz}")
    with pytest.raises(InputErrors, match=r"holds the arrays a, b; .* \(not 'c'\)"):
        array_of(tmp_path, "{file: two.npz, key: c}")


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputErrors, match=r"cannot be read as .npy or .npz without pickles"):
        array_of(tmp_path, "{file: x.npy}")


@pytest.mark.parametrize("ending", ["png", "jpeg", "bmp", "webp"])
def test_a_picture_is_no_array(ending: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / f"x.{ending}")
    with pytest.raises(InputErrors, match=r"is a picture: 'file:' reads arrays, and 'image:' pictures"):
        array_of(tmp_path, f"{{file: x.{ending}}}")


def test_a_sound_is_no_picture(tmp_path: Path) -> None:
    """Its file begins as one of WebP does."""
    (tmp_path / "x.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(24))
    with pytest.raises(InputErrors, match=r"cannot be read as .npy or .npz without pickles"):
        array_of(tmp_path, "{file: x.wav}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 3, 4, 4)), "starts with a batch of 1"),
        (np.zeros((1, 1, 3, 4, 4)), "expected 1 to 4 dimensions"),
        (np.zeros((3, 0)), "none empty"),
        (np.zeros(3, complex), "expected floats or integers"),
    ],
)
def test_arrays_that_cannot_be_fed(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputErrors, match=message):
        array_of(tmp_path, "{file: x.npy}")


def test_one_channel_of_a_volume_is_no_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 4, 4)))
    fed = arrays(
        {"in0": Recording(str(tmp_path / "x.npy"))}, graphs.network("Convolution3D conv in0 out0")
    )
    assert fed["in0"].shape == (1, 3, 4, 4)


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_images_are_what_ncnn_makes_of_them(tmp_path: Path, color: str) -> None:
    """Against ncnn's own Mat.from_pixels and substract_mean_normalize."""
    pixels = np.random.RandomState(0).randint(0, 256, (6, 5, 3), np.uint8)
    if color == "gray":
        pixels = pixels[..., 0]
    Image.fromarray(pixels).save(tmp_path / "x.png")
    mean, norm = ([10.0, 20.0, 30.0], [0.5, 0.25, 0.125])
    if color == "gray":
        mean, norm = mean[:1], norm[:1]
    ours = array_of(tmp_path, f"{{image: x.png, color: {color}, mean: {mean}, norm: {norm}}}")
    kind = {"rgb": "PIXEL_RGB", "bgr": "PIXEL_RGB2BGR", "gray": "PIXEL_GRAY"}[color]
    np.save(tmp_path / "pixels.npy", pixels)
    code = (
        "import sys, os, ncnn, numpy as np\n"
        "p = np.load(sys.argv[1])\n"
        f"m = ncnn.Mat.from_pixels(p, ncnn.Mat.PixelType.{kind}, 5, 6)\n"
        f"m.substract_mean_normalize({mean}, {norm})\n"
        "np.save(sys.argv[2], np.array(m))\n"
        "os._exit(0)\n"
    )
    done = fresh_python(code, str(tmp_path / "pixels.npy"), str(tmp_path / "theirs.npy"))
    assert done.returncode == 0, done.stderr
    assert np.allclose(ours, np.load(tmp_path / "theirs.npy"), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(10, 20), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_an_image_is_resized_as_ncnn_does(tmp_path: Path, color: str, width: int, height: int) -> None:
    """ncnn needs two rows and columns: one is as good as two of them."""
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8)
    if color == "gray":
        pixels = pixels[..., 0]
    Image.fromarray(pixels).save(tmp_path / "x.png")
    code = (
        "import sys, os, ncnn, numpy as np\n"
        "from pytest_ncnn_parity.engine.inputs import ImageInput\n"
        "from pytest_ncnn_parity.network.param import parse\n"
        "from pytest_ncnn_parity.worker.values.inputs import arrays\n"
        "path, color = sys.argv[1:3]\n"
        "graph = parse('7767517\\n1 1\\nInput in0 0 1 in0\\n', 'net.param')\n"
        "ours = arrays({'in0': ImageInput(path + '/x.png', color, (4, 6))}, graph)['in0']\n"
        "p = np.load(path + '/pixels.npy')\n"
        "kind = {'rgb': 'PIXEL_RGB', 'bgr': 'PIXEL_RGB2BGR', 'gray': 'PIXEL_GRAY'}[color]\n"
        "kind = getattr(ncnn.Mat.PixelType, kind)\n"
        "theirs = ncnn.Mat.from_pixels_resize(p, kind, p.shape[1], p.shape[0], 4, 6)\n"
        "assert np.array_equal(ours, np.array(theirs)), (ours, np.array(theirs))\n"
        "print(ours.shape, ours.dtype)\n"
        "sys.stdout.flush()\n"
        "os._exit(0)\n"
    )
    doubled = pixels.repeat(2 if height == 1 else 1, 0).repeat(2 if width == 1 else 1, 1)
    np.save(tmp_path / "pixels.npy", doubled)
    done = fresh_python(code, str(tmp_path), color)
    assert done.stdout.split() == f"({1 if color == 'gray' else 3}, 6, 4) float32".split(), done.stderr


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_image_is_turned_upright_as_cv2_does(suffix: str, tmp_path: Path) -> None:
    lying = Image.new("RGB", (32, 16), (0, 0, 255))
    lying.paste((255, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # is shown turned by 90 degrees, clockwise
    lying.save(tmp_path / f"x.{suffix}", exif=exif)
    red, _, blue = array_of(tmp_path, f"{{image: x.{suffix}}}")
    assert red.shape == (32, 16)
    assert (red[:12] > blue[:12] + 100).all()
    assert (blue[20:] > red[20:] + 100).all()


def test_a_bad_input_is_one_error_with_its_place(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    np.save(pytester.path / "x.npy", np.zeros((1, 3, 4, 4), np.float32))
    networks.spec(pytester.path, "inputs:\n  bad: {in0: {file: x.npy}}\n  good: {in0: {constant: 1}}\n")
    run = gate()
    assert run.ids("failed") == ["bad::cpu-vs-vulkan::l1"]
    message: Any = run.cases["bad::cpu-vs-vulkan::l1"]["message"]
    assert message.startswith(f"{pytester.path}/net.parity.yaml:3:9: inputs.bad.in0: ")
    assert "starts with a batch of 1" in message
    assert "good::fp16-vs-fp32-vulkan::output:l4" in run.ids("passed")
