"""Finds and ends a worker's processes, with all that they started. Linux."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROUNDS = 50
ROUND_SECONDS = 0.02


def below(folder: Path) -> Iterator[int]:
    """The processes that were started with a temporary folder in `folder`, or with it itself.

    A child has it from its parent, whatever session it went to and whoever adopted it.
    """
    wanted = b"TMPDIR=" + os.fsencode(folder)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # gone, or somebody else's; a zombie's reads as empty
            with suppress(OSError):
                environ = Path(entry.path, "environ").read_bytes().split(b"\0")
                if any(one == wanted or one.startswith(wanted + b"/") for one in environ):
                    yield int(entry.name)


def end(folder: Path) -> None:
    """Kill them all, and those they start meanwhile. What the kernel holds on to is left to it."""
    for _ in range(ROUNDS):
        alive = list(below(folder))
        if not alive:
            return
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(ROUND_SECONDS)
