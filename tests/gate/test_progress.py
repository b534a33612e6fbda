"""Long work tells what it is at: on a terminal, and nowhere else."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import networks
import pytest

from pytest_ncnn_parity.report.text.progress import LEAST_ROOM, Progress

pytestmark = pytest.mark.once

RANGE = networks.NOISE + "compare: [fp16-range]\n"
PATTERN = re.compile(r" \d+ s: layer 3 of 3, slow on cpu fp32")


@pytest.fixture
def slow(pytester: pytest.Pytester) -> None:
    networks.slow(pytester.path)
    networks.spec(pytester.path, RANGE)


def on_terminal(folder: Path, *args: str) -> str:
    """What `pytest --ncnn-parity ARGS` writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "pytest", "--ncnn-parity", "--color=no", *args]
    environ = {**os.environ, "TERM": "xterm"}
    environ.pop("COLUMNS", None)
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environ):
        os.close(theirs)
        written = b""
        while True:
            try:
                read = os.read(ours, 1 << 16)
            except OSError:  # Linux: nobody has the other end open any more
                break
            if not read:
                break
            written += read
    os.close(ours)
    return written.decode("utf-8")


def seen(written: str) -> list[str]:
    """The lines a terminal shows in the end: backspaces move, what is written over is gone."""
    lines = []
    for row in written.replace("\r\n", "\n").split("\n"):
        line: list[str] = []
        at = 0
        for char in row:
            if char in "\b\r":
                at = 0 if char == "\r" else max(0, at - 1)
                continue
            line[at : at + 1] = char
            at += 1
        lines.append("".join(line).rstrip())
    return lines


@pytest.mark.usefixtures("slow")
def test_shown_on_a_terminal_and_gone_in_the_end(pytester: pytest.Pytester) -> None:
    written = on_terminal(pytester.path)
    assert PATTERN.search(written)
    assert not any(" s: " in line for line in seen(written))
    (line,) = (line for line in seen(written) if line.startswith("net.parity.yaml ..."))
    assert line.endswith("[100%]")


@pytest.mark.usefixtures("slow")
def test_not_with_q_nor_in_a_log_nor_under_xdist(pytester: pytest.Pytester) -> None:
    for args in (("-q",), ("-n", "1")):
        assert " s: " not in on_terminal(pytester.path, *args)
    result = pytester.runpytest_subprocess("--ncnn-parity", "-v")
    result.assert_outcomes(passed=3)
    assert " s: " not in result.stdout.str()
    assert "\b" not in result.stdout.str()


def test_a_search_for_masks_tells_its_run(pytester: pytest.Pytester) -> None:
    """Patience is taken from it: what is shown is what the search tells, not how long it takes."""
    networks.underflow(pytester.path)
    spec = "inputs:\n  zeros: {in0: {constant: -1}}\ncompare: [fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, spec)
    pytester.makeconftest(
        "from pytest_ncnn_parity.report.text import progress\n"
        "progress.Progress.say = lambda self, text: open('said', 'a').write(text + '\\n') and None\n"
    )
    on_terminal(pytester.path)
    said = (pytester.path / "said").read_text("utf-8")
    assert re.search(r"(?m)^masks, run 1 of at most 300: layer \d of 6, ", said)
    assert re.search(r"(?m)^proof of the masks: ", said)
    assert said.startswith("load ")


def drawn(line: Progress, out: io.StringIO) -> str:
    end = time.monotonic() + 10.0
    while not out.getvalue() and time.monotonic() < end:
        time.sleep(0.05)
    line.clear()
    return out.getvalue()


def test_it_keeps_to_the_room_there_is() -> None:
    out = io.StringIO()
    line = Progress(out, lambda: 20)
    line.say("load on vulkan \x1b[31m fp16")
    text = drawn(line, out)
    assert seen(text) == [""]
    assert max(map(len, re.split("\b+", text))) == 20
    assert "\x1b" not in text
    line.close()
    assert out.closed


def test_without_room_nothing_is_drawn() -> None:
    out = io.StringIO()
    line = Progress(out, lambda: LEAST_ROOM - 1)
    line.say("load")
    time.sleep(1.0)
    line.clear()
    assert out.getvalue() == ""
    line.close()
