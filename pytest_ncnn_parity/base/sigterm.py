"""SIGTERM ends a run as Ctrl-C does: workers are ended, files are removed, reports are written."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from typing import Any

# Nothing interrupts the end of a run for so long: `timeout` sends SIGTERM to the process and then to its
# group, and a job that is cancelled on GitHub gets SIGINT, SIGTERM after 7.5 s, and SIGKILL after 10 s.
ENDING_SECONDS = 10.0


class Sigterm:
    """Handles SIGTERM, unless somebody else already does, until it is restored."""

    def __init__(self) -> None:
        self._ending_since = -math.inf
        untouched = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if untouched and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._received)

    def ending(self) -> None:
        """The run is ending, by itself or by Ctrl-C."""
        if not self._is_ending:
            self._ending_since = time.monotonic()

    def restore(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._received:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @property
    def _is_ending(self) -> bool:
        return time.monotonic() - self._ending_since <= ENDING_SECONDS

    def _received(self, *_: Any) -> None:
        if self._is_ending:
            return
        self.ending()
        if not _interrupted():
            raise KeyboardInterrupt("SIGTERM")


def _interrupted() -> bool:
    """Whether the main thread is on its way out of what Ctrl-C has interrupted."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
