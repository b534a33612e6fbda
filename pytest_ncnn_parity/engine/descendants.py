"""Finds and ends a worker's processes, with all that they started, on any system that psutil knows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pytest_ncnn_parity.base.system import psutil

ROUNDS = 50
ROUND_SECONDS = 0.02


def below(folder: Path) -> Iterator[int]:
    """The processes that were started with a temporary folder in `folder`, or with it itself.

    A child has it from its parent, whatever session it went to and whoever adopted it. None where the
    system shows no processes.
    """
    wanted = str(folder)
    with suppress(OSError):
        for pid in psutil.pids():
            # the process has ended or is another user's; a zombie has no environment
            with suppress(psutil.Error, OSError):
                temporary = psutil.Process(pid).environ().get("TMPDIR", "")
                if temporary == wanted or temporary.startswith(wanted + os.sep):
                    yield pid


def end(folder: Path) -> None:
    """Kill them all, and those they start meanwhile. What the kernel holds on to is left to it."""
    for _ in range(ROUNDS):
        alive = list(below(folder))
        if not alive:
            return
        for pid in alive:
            with suppress(psutil.Error, OSError):
                psutil.Process(pid).kill()
        time.sleep(ROUND_SECONDS)
