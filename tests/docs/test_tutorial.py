"""docs/tutorial.md, word by word: each command is run, and prints what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import transcript
from conftest import ROOT

pytestmark = pytest.mark.once

TUTORIAL = ROOT / "docs" / "tutorial.md"


def test_every_command_of_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "pytest-ncnn-parity").symlink_to(ROOT)
    folder = tmp_path / "work"
    folder.mkdir()
    commands = transcript.commands(TUTORIAL.read_text("utf-8"))
    assert len(commands) >= 8
    for command in commands:
        printed = transcript.run(command, folder)
        assert command.pattern().fullmatch(printed), f"$ {command.text}\n{printed}"


def test_a_transcript_that_says_something_else_is_seen() -> None:
    (command,) = transcript.commands("```console\n$ echo one two\none\n...\n```\n")
    assert command.pattern().fullmatch("one\nand two\n")
    assert not command.pattern().fullmatch("two\none\n")
