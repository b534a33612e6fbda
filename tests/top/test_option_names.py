"""Settings that begin as ours do and are none: named with their place, and with what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ncnn_parity.option_names import unknown


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("pytest.ini", "[pytest]"),
        ("tox.ini", "[ pytest ]"),
        ("setup.cfg", "[tool:pytest]"),
        ("pyproject.toml", "[tool.pytest.ini_options]"),
        ("pyproject.toml", "[tool.pytest]  # native"),
    ],
)
def test_they_are_found_in_every_file_of_pytest(name: str, section: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(
        f"\ufeff{section}\nncnn_parity = true\nncnn_parity_worker = 1\n", "utf-8"
    )
    said = "there is no setting ncnn_parity_worker; did you mean 'ncnn_parity_workers'"
    assert unknown(tmp_path / name, []) == [f"{tmp_path / name}:3: {said}"]


def test_other_sections_comments_and_values_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        "[dependency-groups]\nncnn_parity_x = []\n[tool.pytest]\n# ncnn_parity_x = 1\n"
        'addopts = ["-o", "ncnn_parity_x=1"]\nncnn_parity_json = "ncnn_parity_x = 1"\n'
        "[tool.x]\nncnn_parity_x = 1\n"
    )
    assert unknown(path, []) == []


def test_hyphens_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "pytest.ini"
    path.write_text("[pytest]\nncnn-parity-json = x.json\n")
    first, second = unknown(path, ["console_output_style=count", "ncnn_parity_requre_vulkan=true"])
    assert first.endswith(":2: there is no setting ncnn-parity-json; did you mean 'ncnn_parity_json'")
    assert second.startswith("-o ncnn_parity_requre_vulkan=true: there is no setting")
    assert second.endswith("did you mean 'ncnn_parity_require_vulkan'")


def test_there_may_be_no_file() -> None:
    assert unknown(None, []) == []
