"""A little of the fuzz run, so that it stays able to run. `python tests/fuzz/run.py` is the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).with_name("run.py")


def fuzz(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *args], capture_output=True, text=True, timeout=600, check=False
    )


def test_mutated_specs_and_models_come_to_an_error_or_to_verdicts_that_compared() -> None:
    done = fuzz("--collect=150", "--engine=2", "--first=7")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {name: int(count) for count, name in map(_count, done.stdout.splitlines())}
    assert counts["finds"] == 0
    assert counts["collect: planned"] + counts["collect: refused"] == 150
    assert min(counts["collect: planned"], counts["collect: refused"]) > 20
    assert counts["collected by pytest"] == 30
    assert counts["run by the engine"] == 2
    assert counts["passed"] > 0


def _count(line: str) -> tuple[str, str]:
    count, _, name = line.strip().partition(" ")
    return count, name
