"""Work that only one xdist worker does at a time, and what the others do meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02


class Turn:
    """A turn that one process takes at a time. `path` is a path without suffix that all of them see.

    `meanwhile` is called while another process has the turn: it does something useful, or returns False.
    """

    def __init__(self, path: Path, meanwhile: Callable[[], bool]) -> None:
        import filelock  # noqa: PLC0415 - slow to import, and one process alone needs none

        self._lock = filelock.FileLock(path.with_suffix(".lock"))
        self._busy = filelock.Timeout
        self._meanwhile = meanwhile

    def use(self, work: Callable[[], None]) -> bool:
        """Call `work` unless another process has the turn; return whether it was called."""
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
        """Let some time pass, doing something useful if there is anything."""
        if not self._meanwhile():
            time.sleep(POLL_SECONDS)
