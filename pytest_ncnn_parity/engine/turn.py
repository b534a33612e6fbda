"""What one of all xdist workers does at a time, and what the others do meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02


class Turn:
    """A turn that one process has at a time. `path`: a file's name without suffix that all of them see.

    `meanwhile` is called while another process has it: it does something useful, or returns False.
    """

    def __init__(self, path: Path, meanwhile: Callable[[], bool]) -> None:
        import filelock  # noqa: PLC0415 - slow to import, and one process alone needs none

        self._lock = filelock.FileLock(path.with_suffix(".lock"))
        self._busy = filelock.Timeout
        self._meanwhile = meanwhile

    def use(self, work: Callable[[], None]) -> bool:
        """Do `work`, unless another process has the turn; whether it was done."""
        try:
            self._lock.acquire(timeout=0)
        except self._busy:
            return False
        try:
            work()
        finally:
            self._lock.release()
        return True

    def wait(self) -> None:
        """Let some time pass, for something useful if there is anything."""
        if not self._meanwhile():
            time.sleep(POLL_SECONDS)
