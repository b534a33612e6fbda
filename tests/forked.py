"""Runs of pytest in processes forked from one that has imported what every gate imports.

Such a gate is a process of its own like one that a shell starts, but for the time in which Python,
pytest, and its plugins are imported: a third of what most gates take.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

PROGRAM = [sys.executable, __file__]
EXAMPLE = str(Path(__file__).parents[1] / "example_models" / "accumulate")


def _early() -> dict[str, str]:
    """The variables that count only while a process starts."""
    early = ("PYTHON", "LD_", "LANG", "LC_", "TZ")
    return {name: value for name, value in os.environ.items() if name.startswith(early)}


class Forked:
    """The process that forks, as the tests see it; the first run starts it."""

    def __init__(self) -> None:
        self._early = _early()
        self._process: subprocess.Popen[str] | None = None

    def run(self, pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
        """`python -m pytest ARGS` in the folder of `pytester`, as `Pytester.run` runs it."""
        if _early() != self._early or sys.platform != "linux":
            return pytester.run(sys.executable, "-m", "pytest", *args)
        print("running:", *args, "\n     in:", Path.cwd())
        began = time.perf_counter()
        code = self._ask(args)
        streams = [(pytester.path / name).read_text("utf-8") for name in ("stdout", "stderr")]
        print(*streams, sep="\n")
        return pytest.RunResult(code, *(s.splitlines() for s in streams), time.perf_counter() - began)

    def _ask(self, args: tuple[str, ...]) -> int:
        if self._process is None:
            self._process = subprocess.Popen(
                PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=EXAMPLE
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"args": args, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def _serve() -> None:
    """Fork for each line that is read; what is left of the child is its status, in a line."""
    asked = "-p no:cacheprovider --ncnn-parity --collect-only --rootdir=. -c".split()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main([*asked, os.devnull])
    from forked_workers import Workers  # pytest warns of a plugin that was imported before it

    workers = Workers()
    gc.collect()
    gc.freeze()  # what is never collected is never copied either
    for line in sys.stdin:
        child = os.fork()
        if not child:
            workers.install()
            _end(_pytest(**json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _pytest(args: list[str], folder: str, environment: dict[str, str]) -> int:
    tempfile.tempdir = None  # TMPDIR is looked at again
    os.environ.clear()
    os.environ.update(environment)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, environment.get("PYTHONPATH")]))
    os.chdir(folder)
    for number, name, mode in ((0, os.devnull, "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        with Path(name).open(mode) as file:
            os.dup2(file.fileno(), number)
    sys.path[0] = folder
    sys.modules["xdist.plugin"]._sys_path[:] = sys.path  # it keeps the path as it was when imported
    sys.argv = ["pytest", *args]
    return int(pytest.main(args))


def _end(code: int) -> NoReturn:
    """End this process as Python ends one, but for the time in which it takes all modules apart."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
