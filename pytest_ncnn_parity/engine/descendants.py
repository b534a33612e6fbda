"""Finds and kills a worker's processes and everything they started, on any system psutil supports."""

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
    """Yield the ids of the processes whose TMPDIR is `folder` or lies in it.

    A child inherits the variable from its parent, whichever session it moved to and whichever process
    adopted it. Yields nothing if the system does not list its processes.
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
    """Kill these processes and those they start meanwhile; give up on what is alive after ROUNDS."""
    for _ in range(ROUNDS):
        alive = list(below(folder))
        if not alive:
            return
        for pid in alive:
            with suppress(psutil.Error, OSError):
                psutil.Process(pid).kill()
        time.sleep(ROUND_SECONDS)
