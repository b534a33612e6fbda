"""An input that is made from a picture, against what the original framework fed: the preprocessing."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network
from PIL import Image

from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import SpecError

pytestmark = pytest.mark.once

RECORDED = "expect: {in0: {file: fed.npy}, out0: {file: out0.npy}}"


def picture(folder: Path, color: str) -> Path:
    """A spec that feeds a picture in `color`; what was recorded was fed in rgb, and multiplied by 2."""
    net = Network()
    x = net.layer("Input", "in0", params="0=5 1=6 2=3")
    net.layer("BinaryOp", "twice", [x], ["out0"], "0=2 1=1 2=2.0")
    net.write(folder / "net")
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "x.png")
    fed = pixels.transpose(2, 0, 1) / np.float32(255)
    np.save(folder / "fed.npy", fed)
    np.save(folder / "out0.npy", 2 * fed)
    source = f"{{image: x.png, color: {color}, norm: [{', '.join([repr(1 / 255)] * 3)}]}}"
    return networks.spec(
        folder, f"inputs: {{s: {{in0: {source}, {RECORDED}}}}}\ncompare: [fp16-range]\n"
    )


def test_a_picture_that_is_fed_as_it_was_is_green(gate: Gate, pytester: pytest.Pytester) -> None:
    picture(pytester.path, "rgb")
    run = gate("-k", "golden")
    assert run.ids("passed") == [f"s::golden::output:{blob}" for blob in ("in0", "out0")]


def test_colours_in_another_order_are_told_from_a_wrong_conversion(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    picture(pytester.path, "bgr")
    run = gate("-k", "golden")
    fed, out = (run.cases[f"s::golden::output:{blob}"] for blob in ("in0", "out0"))
    assert {fed["cause"], out["cause"]} == {"conversion"}
    assert "the preprocessing of the picture differs" in fed["message"]
    assert "in0 is the first that differs from its recording: look there" in out["message"]


def test_a_wrong_conversion_is_told_from_another_preprocessing(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    picture(pytester.path, "rgb")
    np.save(pytester.path / "out0.npy", np.load(pytester.path / "out0.npy") + 0.5)
    run = gate("-k", "golden")
    assert run.ids("failed") == ["s::golden::output:out0"]
    message = run.cases["s::golden::output:out0"]["message"]
    assert "in0 before it is as recorded" in message
    assert "preprocessing" not in message


def test_what_is_fed_as_it_is_cannot_be_expected(tmp_path: Path) -> None:
    path = picture(tmp_path, "rgb")
    text = path.read_text("utf-8").replace("image: x.png, color: rgb", "file: fed.npy")
    path.write_text(text.partition("norm")[0].rstrip(", ") + "}, " + RECORDED + "}}\n", "utf-8")
    with pytest.raises(SpecError, match="in0: it is fed, and not made from a picture, so nothing of it"):
        check.plan(spec.load(path))
