"""Arrays and images that nothing can be tested with: one error each, with the place of its source."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from conftest import Gate
from PIL import Image

from pytest_ncnn_parity.engine.inputs import ImageInput, Input, Recording
from pytest_ncnn_parity.network.param import parse
from pytest_ncnn_parity.worker.values import inputs
from pytest_ncnn_parity.worker.values.inputs import InputErrors, arrays


def fed(source: Input, line: tuple[int, ...] = ()) -> np.ndarray:
    """What a network is fed with whose Input line states the shape `line`."""
    sizes = " ".join(f"{key}={size}" for key, size in zip((0, 1, 2), reversed(line), strict=False))
    text = f"7767517\n2 2\nInput in0 0 1 in0 {sizes}\nReLU relu 1 1 in0 out0\n"
    return arrays({"in0": source}, parse(text, "net.param"))["in0"]


def problem(source: Input, line: tuple[int, ...] = ()) -> str:
    with pytest.raises(InputErrors) as caught:
        fed(source, line)
    return str(caught.value)


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """The beginning of a .npy that claims `shape`."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archived(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(f"{name}.npy", raw)
    return packed.getvalue()


HUGE = header((10**12,))
WHOLE = header((8,)) + bytes(32)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("empty.npy", b""),
        ("text.npy", b"1.0 2.0\n"),
        ("huge.npy", HUGE + bytes(32)),
        ("short.npy", header((8,)) + bytes(31)),
        ("header.npy", WHOLE[:60]),
        ("magic.npy", WHOLE[:6]),
        ("version.npy", WHOLE[:6] + b"\x09\x00" + WHOLE[8:]),
        ("keys.npy", WHOLE.replace(b"'shape'", b"'sharp'")),
        ("code.npy", WHOLE.replace(b"(8,)", b"f(8)")),
        ("negative.npy", WHOLE.replace(b"(8,)", b"(-8)")),
        ("pickle.npy", b"\x80\x04K\x01."),
        ("cut.npz", archived(a=WHOLE)[:100]),
        ("flipped.npz", archived(a=WHOLE).replace(b"\x9b\xec", b"\0\0", 1)),
        ("huge.npz", archived(a=HUGE + bytes(32))),
        ("object.npz", archived(a=header((1,), "|O") + b"\x80\x04K\x01.")),
        ("short.npz", archived(a=WHOLE[:100])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # an archive holds the time of day
)
def test_a_file_that_is_no_array(name: str, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    message = problem(Recording(str(path)))
    assert re.match(rf"{path}: (cannot be read as .npy or .npz without pickles|dtype object)", message)
    assert "\n" not in message


@pytest.mark.parametrize("length", [0, 60, len(WHOLE) - 1])
def test_an_array_that_ends_too_early_may_be_cut_off(length: int, tmp_path: Path) -> None:
    for name, raw in (("x.npy", WHOLE), ("x.npz", archived(a=WHOLE))):
        (tmp_path / name).write_bytes(raw[:length])
        assert problem(Recording(str(tmp_path / name))).endswith("; is it cut off?")


def test_an_archive_that_unpacks_to_very_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 1 << 16  # to write a gigabyte takes seconds
    monkeypatch.setattr(inputs, "MOST_ELEMENTS", most)
    path = tmp_path / "bomb.npz"
    path.write_bytes(archived(a=header((2 * most,)) + bytes(8 * most)))
    assert path.stat().st_size < most
    message = problem(Recording(str(path)))
    assert f"unpacks to {8 * most + 128} bytes; expected at most {8 * most}" in message


def test_a_sparse_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        file.write(header((10**11,)))
        file.truncate(1 << 40)
    assert "has 100000000000 elements; expected at most 134217728" in problem(Recording(str(path)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [1.0, np.nan, 1.0, np.nan],
            r"2 of 4 values, the first at \[1\]: nan: fp32 has no finite value",
        ),
        ([[1.0, 2.0], [-np.inf, np.inf]], r"1 of 4 values, the first at \[1, 1\]: inf"),
        ([1e300], r"the first at \[0\]: 1e\+300"),
        (np.array([0, 2**31], np.int64), r"the first at \[1\]: 2147483648: beyond 32 bits"),
        (np.array([2**64 - 1], np.uint64), "beyond 32 bits"),
        (np.array(3.0), "expected 1 to 4 dimensions"),
        (np.array(["a"]), "dtype <U1; expected floats or integers"),
        (np.array(["2020"], "M8[Y]"), "expected floats or integers"),
        (np.zeros(1, [("a", "f4")]), "expected floats or integers"),
    ],
)
def test_values_that_nothing_can_be_tested_with(values: Any, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values)
    assert re.search(said, problem(Recording(str(tmp_path / "x.npy"))))


@pytest.mark.parametrize(
    ("shape", "line", "said"),
    [
        ((3, 8, 8), (4, 8, 8), "has other channels than the network's Input line, [4, 8, 8]"),
        ((8, 8), (8, 8, 8), "has other dimensions than the network's Input line, [8, 8, 8]"),
        ((1, 3, 8, 8), (3, 8, 8), "starts with a batch of 1"),
    ],
)
def test_a_shape_that_the_network_does_not_take(
    shape: tuple[int, ...], line: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    assert said in problem(Recording(str(tmp_path / "x.npy")), line)


def test_a_key_goes_with_an_archive_that_has_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(4, np.float32))
    np.savez(tmp_path / "none.npz")
    assert "a single array, which has no key; leave 'key: a' out" in problem(
        Recording(str(tmp_path / "x.npy"), "a")
    )
    assert "holds no array" in problem(Recording(str(tmp_path / "none.npz")))
    for content in (b"", b"\0" * 100):
        (tmp_path / "none.npz").write_bytes(content)
        said = problem(Recording(str(tmp_path / "none.npz"), "a"))
        assert "none.npz: cannot be read as .npy or .npz" in said


def test_another_height_and_width_are_no_error(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 5, 7), np.float32))
    source = Recording(str(tmp_path / "x.npy"))
    assert fed(source, (3, 8, 8)).shape == (3, 5, 7)


# -- images --------------------------------------------------------------------------------------


def png(width: int, height: int, depth: int = 8) -> bytes:
    """A PNG that claims a size, without the pixels for it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "raw", [b"", b"no image", png(0, 8), png(8, 0), png(8, 8), png(60_000, 60_000), png(9_000, 9_000)]
)
def test_a_file_that_is_no_image(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(raw)
    message = problem(ImageInput(str(tmp_path / "x.png")))
    assert re.match(rf"{tmp_path}/x\.png: (cannot be read as an image: |shape .* elements)", message)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_pixels_would_be_clipped(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "x.tiff")
    said = problem(ImageInput(str(tmp_path / "x.tiff")))
    assert "pixels of more than 8 bits. Save it as .npy, or with 8 bits" in said


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_picture_in_lab_colors(color: Any, tmp_path: Path) -> None:
    """Pillow converts LAB to RGB, and to no other mode."""
    Image.new("LAB", (4, 4), (255, 128, 128)).save(tmp_path / "x.tiff")
    white = fed(ImageInput(str(tmp_path / "x.tiff"), color=color))
    assert (white >= 254.0).all()


def tiff(bits: int) -> bytes:
    """A TIFF of 4x4 colors, each of so many bits."""
    data = bytes(4 * 4 * 3 * bits // 8)
    tags = {256: 4, 257: 4, 258: 122, 259: 1, 262: 2, 273: 128, 277: 3, 278: 4, 279: len(data)}
    entries = [struct.pack("<HHII", tag, 3, 3 if tag == 258 else 1, tags[tag]) for tag in tags]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4)
    return head + struct.pack("<HHH", bits, bits, bits) + data


@pytest.mark.parametrize(
    "raw",
    [
        png(4, 4, depth=16),
        b"P6 4 4 4095 " + bytes(96),
        b"P3 4 4 65535 " + b"256 " * 48,
        tiff(16),
    ],
    ids=["png", "ppm", "plain-ppm", "tiff"],
)
def test_so_would_those_of_which_pillow_keeps_8_bits(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(raw)
    with Image.open(tmp_path / "x.png") as opened:
        assert opened.mode == "RGB", "as of 8 bits"
    assert "pixels of more than 8 bits" in problem(ImageInput(str(tmp_path / "x.png")))


@pytest.mark.parametrize(
    "raw",
    [
        b"P6 4 4 255 " + bytes(48),
        b"P3 4 4 255 " + b"0 " * 48,
        b"P3 4 4 15 " + b"0 " * 48,
        b"P1 4 4 " + b"1 " * 16,
        tiff(8),
    ],
    ids=["ppm", "plain-ppm", "few-bits", "plain-pbm", "tiff"],
)
def test_pixels_of_8_bits_and_less_are_fed(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(raw)
    assert fed(ImageInput(str(tmp_path / "x.png"))).shape == (3, 4, 4)


def test_no_image_starts_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow has Ghostscript draw an EPS."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")
    assert "cannot be read as an image" in problem(ImageInput(str(tmp_path / "x.eps")))
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_every_image_of_8_bits_has_the_channels_of_its_color(
    mode: str, color: str, tmp_path: Path
) -> None:
    Image.new("RGBA", (5, 4), (255, 255, 255, 0)).convert(mode).save(tmp_path / "x.tiff")
    assert fed(ImageInput(str(tmp_path / "x.tiff"), color)).shape == (1 if color == "gray" else 3, 4, 5)


# -- as the user sees it -------------------------------------------------------------------------


def test_all_inputs_of_a_sample_are_reported_at_once(tmp_path: Path) -> None:
    graph = parse("7767517\n2 2\nInput a 0 1 a\nInput b 0 1 b\n", "net.param")
    np.save(tmp_path / "a.npy", np.array([np.nan]))
    (tmp_path / "b\x1b.npy").write_bytes(b"")
    sources = {
        name: Recording(str(tmp_path / file)) for name, file in (("a", "a.npy"), ("b", "b\x1b.npy"))
    }
    with pytest.raises(InputErrors) as caught:
        arrays(sources, graph)
    assert list(caught.value.problems) == ["a", "b"]
    assert all(problem.isprintable() for problem in caught.value.problems.values())


def test_a_sample_with_bad_inputs_is_one_red_case(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pytester.path
    text = "7767517\n3 3\nInput a 0 1 a 0=8\nInput b 0 1 b 0=8\nBinaryOp add 2 1 a b out0 0=0\n"
    (folder / "net.param").write_text(text)
    (folder / "net.bin").write_bytes(b"")
    np.save(folder / "nan.npy", np.full(8, np.nan, np.float32))
    (folder / "cut.npy").write_bytes(WHOLE[:60])
    networks.spec(
        folder,
        "inputs:\n"
        "  bad:  {a: {file: nan.npy}, b: {file: cut.npy}}\n"
        "  half: {a: {constant: 1}, b: {file: nan.npy}}\n"
        "  good: {a: {constant: 1}, b: {constant: 2}}\n"
        "compare: [fp16-range, cpu-vs-vulkan]\n",
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    run = gate("--tb=no")
    assert run.ids("failed") == ["bad::fp16-range::a", "half::fp16-range::a"]
    summary = run.output.replace("\n      ", " ")
    for sample, place in (("bad", "3:10"), ("half", "4:28")):
        assert f"net.parity.yaml:{place}: inputs.{sample}." in summary
        assert f",line={place.partition(':')[0]},title=a%3A failed (fp16-range)::" in run.output
    first, second = run.cases["bad::fp16-range::a"]["message"].split("\n")
    assert first.startswith(
        f"{folder}/net.parity.yaml:3:10: inputs.bad.a: {folder}/nan.npy: 8 of 8 values"
    )
    assert second.startswith(f"{folder}/net.parity.yaml:3:30: inputs.bad.b: {folder}/cut.npy: cannot be")
    skipped = [run.cases[name] for name in run.ids("skipped")]
    assert {case["sample"] for case in skipped} == {"bad", "half"}
    assert all("says why" in case["message"] for case in skipped)
    assert run.ids("passed") == [name for name in run.cases if name.startswith("good::")]
