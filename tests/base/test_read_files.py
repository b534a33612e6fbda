"""What is said of a file that cannot be read."""

from pathlib import Path

import pytest

from pytest_ncnn_parity.base import read_files


@pytest.mark.parametrize(
    ("asked", "there", "meant"),
    [
        ("net.param", "nett.param", "nett.param"),
        ("net.parm", "net.param", "net.param"),
        ("in0.npy", "in0.npz", "in0.npz"),
        ("in0.png", "in0.jpg", "in0.jpg"),
        ("net.bin", "nett.bin", "nett.bin"),
        # `--ncnn-parity-init net.param > net.parity.yaml`: the shell has made the spec already
        ("net.param", "net.parity.yaml", ""),
        ("net.param", "net.bin", ""),
        ("net.bin", "net.param", ""),
        ("in.npy", "in.bin", ""),
    ],
)
def test_a_file_of_the_same_kind_is_guessed(asked: str, there: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / there).touch()
    said = f"does not exist; did you mean '{meant}'" if meant else "does not exist"
    assert read_files.problem(tmp_path / asked, None) == said
