"""--ncnn-parity-init: a first spec for a model, printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import networks
import pytest
from conftest import Gate, fresh_python

pytestmark = pytest.mark.once

INIT = (sys.executable, "-m", "pytest", "--ncnn-parity-init")


def printed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*INIT, *arguments], cwd=folder, capture_output=True, check=False)


def test_what_it_prints_is_a_spec_that_runs(
    gate: Gate, example: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    path = example("accumulate")
    process = printed(pytester.path, "accumulate.param")
    assert (process.returncode, process.stderr) == (0, b"")
    path.write_bytes(process.stdout)
    run = gate("-k", "fp16-range and not average", "--ncnn-parity-fix=off")
    assert run.result.ret == 0
    assert len(run.ids("passed", "fp16-range")) > 3


def test_without_a_shape_it_collects_as_an_error_that_says_what_to_write(
    gate: Gate, example: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    path = example("digits")
    path.write_bytes(printed(pytester.path, "digits.param").stdout)
    run = gate()
    assert run.result.ret == pytest.ExitCode.INTERRUPTED
    run.result.stdout.fnmatch_lines(
        [
            "*digits.parity.yaml:16:55: inputs.noise.in0.shape.1: replace HEIGHT by a number",
            "*digits.parity.yaml:16:63: inputs.noise.in0.shape.2: replace WIDTH by a number",
        ]
    )
    assert "shape: [1, HEIGHT, WIDTH]" in path.read_text("utf-8")  # 1: the convolution's weights say so
    assert "color: gray, size: [WIDTH, HEIGHT]" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.param", None, b"missing.param: does not exist"),
        ("net.onnx", b"\x08\x07\x12", b"net.onnx: is no model of ncnn: convert it first, as with pnnx"),
        ("net.param", b"hello\n", b"net.param:1: expected the magic number 7767517"),
        ("net.param", b"7767517\n5 5\nInput in0 0 1 in0\n", b"net.param:2: 5 layers announced, 1 found"),
        ("net.param", b"7767517\n\xff", b"net.param:2:1: not UTF-8 text"),
    ],
)
def test_a_model_that_cannot_be_is_a_usage_error(
    tmp_path: Path, name: str, content: bytes | None, message: bytes
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    process = printed(tmp_path, name)
    assert (process.returncode, process.stdout) == (pytest.ExitCode.USAGE_ERROR, b"")
    assert b"ERROR: --ncnn-parity-init: " + message in process.stderr
    assert b"Traceback" not in process.stderr


def test_an_empty_path_is_a_usage_error(tmp_path: Path) -> None:
    process = printed(tmp_path, "")
    assert process.returncode == pytest.ExitCode.USAGE_ERROR
    assert b"ERROR: --ncnn-parity-init=: expected a path" in process.stderr


def test_it_imports_neither_ncnn_nor_numpy(tmp_path: Path) -> None:
    networks.chain(tmp_path)
    code = (
        "import sys, pytest\n"
        "sys.modules['ncnn'] = sys.modules['numpy'] = None\n"
        "sys.exit(pytest.main(['--ncnn-parity-init', sys.argv[1], '-p', 'no:hypothesispytest']))\n"
    )
    process = fresh_python(code, str(tmp_path / "net.param"))
    assert (process.returncode, process.stderr) == (0, "")
    assert "in0: {random: normal}" in process.stdout
