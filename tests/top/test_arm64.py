"""An emulated ARM64 Python: what it lacks is named, and what is there is not overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ncnn_parity import arm64


def programs(folder: Path, *names: str) -> str:
    """A PATH with programs that fail."""
    for name in names:
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n", "utf-8")
        path.chmod(0o755)
    return str(folder / "bin")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ((), "there is no qemu-aarch64, apt-get, dpkg on "),
        (("apt-get", "dpkg"), "apt-get install qemu-user"),
        (("qemu-aarch64", "dpkg"), "systems derived from it"),
        (("qemu-aarch64", "dpkg", "apt-get"), "could not be listed: E: no network"),
    ],
)
def test_what_is_lacking_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, *there))
    with pytest.raises(arm64.NotMade) as caught:
        arm64.make(tmp_path / "arm", "1.0.20261020")
    assert said in str(caught.value)


def test_a_package_index_out_of_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = programs(tmp_path, "qemu-aarch64", "dpkg", "apt-get")
    warning = "W: Failed to fetch http://debian.example/InRelease  Connection failed"
    (tmp_path / "bin" / "apt-get").write_text(f"#!/bin/sh\necho '{warning}' >&2\n", "utf-8")
    monkeypatch.setenv("PATH", path)
    with pytest.raises(arm64.NotMade) as caught:
        arm64.make(tmp_path / "arm", "1.0.20261020")
    assert str(caught.value) == f"the packages for ARM64 could not be listed: {warning}"


def test_a_python_without_pip_gets_advice_on_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(arm64.NotMade, match="-m ensurepip"):
        arm64.make(tmp_path / "arm", "1")


def test_what_is_there_is_not_made_again_and_another_folder_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("qemu-aarch64", "dpkg", "apt-get")
    monkeypatch.setenv("PATH", programs(tmp_path, *names))
    folder = tmp_path / "arm"
    folder.mkdir()
    (folder / "python").touch()
    with pytest.raises(arm64.NotMade, match="contains other files"):
        arm64.make(folder, "1")
    (folder / arm64.MADE).write_text("1\n", "utf-8")
    assert arm64.make(folder, "1") == folder / "python"
    with pytest.raises(arm64.NotMade, match="could not be listed"):
        arm64.make(folder, "2")
    with pytest.raises(arm64.NotMade, match="could not be listed"):  # half of it is none
        arm64.make(folder, "1")
