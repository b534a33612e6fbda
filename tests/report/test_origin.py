"""Where a report comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_ncnn_parity.report import origin


@pytest.mark.parametrize("name", origin.COMMIT_VARIABLES)
def test_what_the_ci_service_says_is_the_commit(name: str, tmp_path: Path) -> None:
    assert origin.commit(tmp_path, {name: "0123abcd"}) == "0123abcd"


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    assert origin.commit(tmp_path, {}) is None


def test_without_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin.commit(Path(__file__).parent, {}) is None


def test_git_is_asked_and_says_what_has_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=n@n", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "net.param").write_text("7767517\n")
    git("add", ".")
    git("commit", "-q", "-m", "a network")
    assert origin.commit(tmp_path, {}) == git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("")
    assert origin.commit(tmp_path, {}) == git("rev-parse", "HEAD")
    (tmp_path / "net.param").write_text("7767517\n\n")
    assert origin.commit(tmp_path, {}) == git("rev-parse", "HEAD") + "+"
