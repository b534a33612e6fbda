"""A worker's whole family of processes, found and ended. Linux."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROUNDS = 50
ROUND_SECONDS = 0.02


def alive(mark: str) -> Iterator[int]:
    """The processes with `mark` (NAME=VALUE) in the environment they were started with.

    A child has it from its parent, whatever session it went to and whoever adopted it.
    """
    wanted = os.fsencode(mark)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # gone, or somebody else's; a zombie's reads as empty
            with suppress(OSError):
                if wanted in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def end(mark: str) -> None:
    """Kill them all, and those they start meanwhile. What the kernel holds on to is left to it."""
    for _ in range(ROUNDS):
        found = list(alive(mark))
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(ROUND_SECONDS)
