"""Long work says what it is doing: on a terminal, and nowhere else."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import networks
import pytest

from pytest_ncnn_parity.report.text.progress import LEAST_WIDTH, Progress

pytestmark = pytest.mark.once

RANGE = networks.NOISE + "compare: [fp16-range]\n"
PATTERN = re.compile(r"\d+ s: layer 3 of 3, slow on cpu fp32")
MOVE = re.compile(r"\x1b\[(\d*)([ACK])|\x1b\][^\x1b]*\x1b\\\\|(.)", re.DOTALL)


@pytest.fixture
def slow(pytester: pytest.Pytester) -> None:
    networks.slow(pytester.path, side=160)
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


class Screen:
    """What a terminal shows: what is written over, or erased, is gone. As high as it needs to be."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self.widest = 0

    def write(self, text: str) -> None:
        for match in MOVE.finditer(text):
            count, move, char = match.groups()
            if move == "A":
                self.row -= int(count or 1)
                assert self.row >= 0
            elif move == "C":
                self.column += int(count or 1)
            elif move == "K":
                del self.rows[self.row][self.column :]
            elif char is not None:
                self._put(char)

    def _put(self, char: str) -> None:
        if char == "\n":
            self.row += 1
            self.rows += [[] for _ in range(self.row + 1 - len(self.rows))]
        elif char in "\r\b":
            self.column = 0 if char == "\r" else max(0, self.column - 1)
        else:
            row = self.rows[self.row]
            row += " " * (self.column - len(row))
            row[self.column : self.column + 1] = char
            self.column += 1
            self.widest = max(self.widest, self.column)

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.rows]


def seen(written: str) -> list[str]:
    """The lines a terminal shows in the end."""
    screen = Screen()
    screen.write(written)
    return screen.lines


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
    assert "\x1b" not in result.stdout.str()


def test_a_search_for_masks_shows_which_run_it_is_in(pytester: pytest.Pytester) -> None:
    """It need not wait: the test is about what the search says, not about how long it takes."""
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


def drawn(line: Progress, out: io.StringIO, clear: bool = True) -> str:
    end = time.monotonic() + 10.0
    while not out.getvalue() and time.monotonic() < end:
        time.sleep(0.05)
    if clear:
        line.clear()
    return out.getvalue()


def test_it_has_a_line_of_its_own_and_gives_the_cursor_back() -> None:
    """A line of dots leaves a phase no room: '17 s: proof of the' is no news."""
    out, phase = io.StringIO(), "proof of the masks: sample face, run 2 of 3, vulkan fp16"
    line = Progress(out, lambda: (60, 80))
    line.say(phase)
    screen = Screen()
    screen.write("." * 60 + drawn(line, out, clear=False))
    assert screen.lines[0] == "." * 60
    assert screen.lines[1].endswith(phase)
    assert (screen.row, screen.column) == (0, 60)
    line.clear()
    screen = Screen()
    screen.write("." * 60 + out.getvalue() + "..F\n")
    assert screen.lines[:2] == ["." * 62 + "F", ""]
    line.close()
    assert out.closed


def test_it_keeps_to_the_width_there_is() -> None:
    out = io.StringIO()
    line = Progress(out, lambda: (0, 20))
    line.say("load on vulkan \x1b[31m fp16")
    screen = Screen()
    screen.write(drawn(line, out))
    assert screen.lines == ["", ""]
    assert screen.widest == 19
    assert "\x1b[31m" not in out.getvalue()
    line.close()


def test_a_terminal_that_is_gone_ends_the_line_and_not_the_run() -> None:
    class Gone(io.StringIO):
        tried = threading.Event()

        def write(self, _: str) -> int:
            self.tried.set()
            raise OSError(errno.EIO, "Input/output error")

    out = Gone()
    line = Progress(out, lambda: (0, 80))
    line.say("load on vulkan fp16")
    assert out.tried.wait(10.0)
    line.clear()
    line.say("load on vulkan fp32")
    line.close()


def test_without_room_nothing_is_drawn() -> None:
    out = io.StringIO()
    line = Progress(out, lambda: (0, LEAST_WIDTH - 1))
    line.say("load")
    time.sleep(1.0)
    line.clear()
    assert out.getvalue() == ""
    line.close()
