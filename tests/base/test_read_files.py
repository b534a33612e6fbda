"""What is said of a file that cannot be read."""

from pathlib import Path

import pytest

from pytest_ncnn_parity.base import read_files


def test_a_pointer_of_git_lfs_is_told_from_the_file(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c9\nsize 12345\n"
    for name in ("net.param", "net.bin", "in0.npy", "in0.png"):
        (tmp_path / name).write_text(pointer, "utf-8")
        assert "'git lfs pull' fetches the file itself" in read_files.problem(tmp_path / name, None)
    (tmp_path / "net.bin").write_text(pointer.replace("version", "Version"), "utf-8")
    assert read_files.problem(tmp_path / "net.bin", None) == ""


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
