"""The first spec for a model, as --ncnn-parity-init prints it."""

from __future__ import annotations

from pathlib import Path

import networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec, starter


def test_every_line_that_waits_as_a_comment_is_right_as_well(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    text = starter.starter(tmp_path / "net.param", tmp_path)
    head, mark, tail = text.partition("remove the '# ' to use one:\n")
    assert mark
    path = tmp_path / "net.parity.yaml"
    lines = [line.removeprefix("# ") for line in tail.splitlines()]
    path.write_text("\n".join([head, *lines]), "utf-8")
    plan = check.plan(spec.load(path))
    assert plan.spec.masks == {"c3": 18}
    assert plan.spec.known[0].layer == "c3"
    assert plan.spec.tolerance.layers["type:Convolution"].scaled == 0.05


def test_weights_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    networks.chain(tmp_path)
    (tmp_path / "net.bin").unlink()
    text = starter.starter(tmp_path / "net.param", tmp_path)
    assert "bin: net.bin  # this file does not exist" in text


def test_shapes_come_from_the_input_line_or_a_hint(tmp_path: Path) -> None:
    (tmp_path / "net.param").write_text(
        "7767517\n4 4\nInput a 0 1 a 0=20 1=10 2=3\nInput b 0 1 b -23330=4,2,7,5,1\n"
        "Input c 0 1 c\nEmbed words 1 1 c d\n",
        "utf-8",
    )
    text = starter.starter(tmp_path / "net.param", tmp_path)
    assert "(c, h, w): [3, 10, 20]" in text
    assert "size: [20, 10]" in text
    assert "(h, w): [5, 7]" in text
    assert "c: {random: integers, low: 0, high: 99, shape: [LENGTH]}" in text


def test_operators_that_the_converter_left_are_named(tmp_path: Path) -> None:
    layers = ["Input a 0 1 a", "pnnx.Expression e 1 1 a b", "aten::view_as v 1 1 b c", "ReLU r 1 1 c d"]
    (tmp_path / "net.param").write_text("\n".join(["7767517", "4 4", *layers, ""]), "utf-8")
    text = starter.starter(tmp_path / "net.param", tmp_path)
    assert "operators that ncnn lacks, pnnx.Expression, aten::view_as: write that" in text
    assert check.plan(_written(tmp_path, text.replace("CHANNELS, HEIGHT, WIDTH", "3, 8, 8")))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.onnx", "is no model of ncnn: convert it first, as with pnnx net.onnx inputshape="),
        ("NET.PT", "is no model of ncnn: convert it first"),
        ("net.bin", "has the weights: name net.param"),
    ],
)
def test_a_file_that_is_not_the_param_is_told_what_it_is(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.chain(tmp_path)
    (tmp_path / name).write_bytes(b"PK\3\4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(starter.StarterError) as error:
        starter.starter(Path(name), tmp_path)
    assert str(error.value).startswith(f"{name}: {said}")


def _written(folder: Path, text: str) -> spec.Spec:
    (folder / "net.bin").write_bytes(b"")
    (folder / "net.parity.yaml").write_text(text, "utf-8")
    return spec.load(folder / "net.parity.yaml")


odd = st.text(st.characters(exclude_characters=" \t\n\r\f\v\0", codec="utf-8"), min_size=1, max_size=8)
long = st.integers(200, 255).map(lambda n: "n" * n)


@given(st.lists(odd | long, min_size=2, max_size=5, unique=True))
@settings(max_examples=40, deadline=None)
def test_names_of_any_kind_come_through_yaml(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    *inputs, out = names
    lines = [f"Input {name} 0 1 {name} 0=4" for name in inputs]
    lines.append(f"Concat {out} {len(inputs)} 1 {' '.join(inputs)} {out}")
    text = "\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines, ""])
    (folder / "net.param").write_text(text, "utf-8", newline="")
    (folder / "net.bin").write_bytes(b"")
    path = folder / "net.parity.yaml"
    path.write_text(starter.starter(folder / "net.param", folder), "utf-8", newline="")
    plan = check.plan(spec.load(path))
    assert list(plan.spec.inputs["noise"]) == inputs


@pytest.mark.parametrize("name", ["a b", "ä'\"", "#x", "- y", "{z}", "12", "null"])
def test_files_of_any_name(tmp_path: Path, name: str) -> None:
    networks.chain(tmp_path, name=name)
    path = tmp_path / "x.parity.yaml"
    path.write_text(starter.starter(tmp_path / f"{name}.param", tmp_path), "utf-8")
    assert check.plan(spec.load(path)).spec.param == tmp_path / f"{name}.param"


@pytest.mark.parametrize("name", [".", "/"])
def test_a_folder_is_no_param(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="is not a file but a folder"):
        starter.starter(Path(name), tmp_path)
