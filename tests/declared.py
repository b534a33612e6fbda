"""Declared workers for tests: one that does something else once, and what is left of it."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import psutil

# Takes the program as Python does, and lets the server do something else, once, in its second run.
WRAPPER = """\
import os, sys, time
count = int(sys.stdin.buffer.readline())
program = sys.stdin.buffer.read(count).decode()
flag, act = sys.argv[1:3]
change = f'''
import os, sys, time
old = module.Server.do_run
runs = []
def do_run(self, request):
    runs.append(1)
    if len(runs) == 2 and not os.path.exists({flag!r}):
        open({flag!r}, "w").close()
        {act}
    return old(self, request)
module.Server.do_run = do_run
'''
head, call = program.rsplit("module.main()", 1)
exec(head + change + "module.main()" + call)
"""


def acting(folder: Path, name: str, act: str) -> Path:
    """A program to use as a Python, whose server once, in its second run, does `act`, a line of code."""
    wrapper = folder / "wrapper.py"
    wrapper.write_text(WRAPPER, "utf-8")
    script, words = folder / name, [sys.executable, wrapper, folder / f"{name}.flag", act]
    line = " ".join(shlex.quote(str(word)) for word in words)
    script.write_text(f'#!/bin/sh\nexec {line} "$@"\n', "utf-8")
    script.chmod(0o755)
    return script


def ini(folder: Path, *lines: str) -> None:
    """Declare workers, a line each, and give steps little time."""
    settings = ["[pytest]", "ncnn_parity_timeout = 4", "ncnn_parity_workers ="]
    (folder / "pytest.ini").write_text("\n    ".join(["\n".join(settings), *lines]) + "\n", "utf-8")


def left_running(folder: Path) -> list[list[str]]:
    """The commands of `acting` workers that run, once they had time to end."""
    deadline = time.monotonic() + 20
    while True:
        commands = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
        left = [words for words in commands if str(folder / "wrapper.py") in words]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def program(folder: Path, name: str, text: str) -> None:
    """An executable script `name` in `folder`/bin, which goes in front of PATH."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
