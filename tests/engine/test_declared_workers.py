"""Declared workers: what a line says, and what is wrong with one that says something else."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pytest_ncnn_parity.engine.workers import Lines, Worker, WorkerErrors, declared

HERE = Path("/project")
OLD = str(HERE / "/opt/old/bin/python")


def configured(*lines: str) -> dict[str, Worker]:
    return declared(Lines(lines, HERE), Lines((), HERE))


@pytest.mark.parametrize(
    ("line", "worker"),
    [
        (
            "old: python=/opt/old/bin/python",
            Worker("old", "python", (OLD,)),
        ),
        ("old: python=venv/bin/python", Worker("old", "python", (str(HERE / "venv/bin/python"),))),
        (
            "old: python=~nobody-here/python",
            Worker("old", "python", (str(HERE / "~nobody-here/python"),)),
        ),
        ("old: python=python3.9", Worker("old", "python", ("python3.9",))),
        (
            "arm: command='/ci/arm64/python -X dev' emulated",
            Worker("arm", "command", (str(HERE / "/ci/arm64/python"), "-X", "dev"), emulated=True),
        ),
        (
            "pi: ssh=pi@board python=/home/pi/v/bin/python threads=4",
            Worker("pi", "ssh", ("/home/pi/v/bin/python",), "pi@board", threads=4),
        ),
        (
            f"arm: command={shlex.quote(shlex.quote(str(HERE / 'a b' / 'python')))}",
            Worker("arm", "command", (str(HERE / "a b" / "python"),)),
        ),
        ("pi: ssh=board", Worker("pi", "ssh", ("python3",), "board")),
        ("phone: adb=SERIAL python=/data/py", Worker("phone", "adb", ("/data/py",), "SERIAL")),
    ],
)
def test_a_line_declares_a_worker(line: str, worker: Worker) -> None:
    assert configured(line) == {worker.name: worker}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("old python=/x", "expected NAME:"),
        ("a b: python=/x", "expected NAME:"),
        ("-x: python=/x", "expected NAME:"),
        ("old:", "expected one of python="),
        ("old: python=/x ssh=y command=z", "expected one of python="),
        ("old: python=/x command=z", "expected one of python="),
        ("old: ssh=a adb=b", "expected one of python="),
        ("old: pyhton=/x", "unknown word 'pyhton'; did you mean 'python'"),
        ("old: python=", "expected a value"),
        ("old: python=/x python=/y", "python appears twice"),
        ("old: python=/x emulated=yes", "emulated: expected no value"),
        ("old: python=/x threads=0", "threads: expected 1 to 1024"),
        ("old: python=/x threads=many", "threads: expected 1 to 1024"),
        ("old: ssh=-oProxyCommand=evil", "expected the name of a machine"),
        ("old: adb=-x", "expected the name of a machine"),
        ("old: command='python", "quotes"),
        ("old: command='a \"b'", "quot"),
        ("old: command=' '", "expected a command"),
    ],
)
def test_a_wrong_line_is_reported_with_what_was_expected(line: str, said: str) -> None:
    with pytest.raises(WorkerErrors) as caught:
        configured("fine: python=/x", line)
    (error,) = caught.value.errors
    assert said in error


def test_the_command_line_overrides_the_ini_and_its_own_former_lines() -> None:
    lines = Lines(("a: ssh=old", "a: ssh=board"), HERE)
    (worker,) = declared(Lines(("a: python=/x",), HERE), lines).values()
    assert worker.target == "board"


def test_the_ini_declares_a_name_once() -> None:
    with pytest.raises(WorkerErrors, match=r"'a: ssh=board': a line above declares a as well"):
        configured("a: python=/x", "a: ssh=board")
