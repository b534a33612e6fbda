"""A sample against its network: where whole numbers are read, nothing else is fed."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_check import errors, plan

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
    (found,) = errors(folder, SPEC.replace("SOURCE", source), WORDS)
    assert found.startswith("2:14: inputs.s.ids: tok (Embed) reads whole numbers, 0 to 99; ")
    return found.partition("; ")[2]


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


def test_recorded_floats_are_no_words(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(7.0))
    assert wrong(tmp_path, "{file: x.npy}").startswith("x.npy holds floats. Write {random: integers")


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
    (found,) = errors(tmp_path, SPEC.replace("SOURCE", "{constant: 0.5, shape: [7]}"), network)
    assert "(Embed) reads whole numbers; 0.5 is none" in found


# -- the header of a recorded array --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "integers"),
    [
        *(("<i4", True), (">i8", True), ("u1", True)),
        *(("f2", False), ("<f4", False), (">f8", False), ("?", False)),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_the_type_of_an_array_stands_in_its_header(
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
        "archive cut": archive.getvalue()[:60],
        "archive flipped": bytes(flipped),
    }


@pytest.mark.parametrize("name", damaged())
def test_what_is_no_array_has_no_type(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(damaged()[name])
    assert holds_integers(tmp_path / "x.npy", None) is None


def test_a_file_that_is_gone_has_no_type(tmp_path: Path) -> None:
    assert holds_integers(tmp_path / "x.npy", None) is None
