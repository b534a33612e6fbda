"""SIGTERM and SIGHUP end a run as Ctrl-C does: workers and files are removed, reports are written."""

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

# a terminal or an ssh connection that is closed sends SIGHUP, which Windows lacks
_NAMES = ("SIGTERM", "SIGHUP")


class EndSignals:
    """Handles the signals that ask a process to end, but none that somebody else handles or ignores."""

    def __init__(self) -> None:
        self._ending_since = -math.inf
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _numbers():
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._received)

    def ending(self) -> None:
        """The run is ending, by itself or by Ctrl-C."""
        if not self._is_ending:
            self._ending_since = time.monotonic()

    def restore(self) -> None:
        for number in _numbers():
            if signal.getsignal(number) == self._received:
                signal.signal(number, signal.SIG_DFL)

    @property
    def _is_ending(self) -> bool:
        return time.monotonic() - self._ending_since <= ENDING_SECONDS

    def _received(self, number: int, _: Any) -> None:
        if self._is_ending:
            return
        self.ending()
        if not _interrupted():
            raise KeyboardInterrupt(signal.Signals(number).name)


def _numbers() -> list[signal.Signals]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _interrupted() -> bool:
    """Whether the main thread is on its way out of what Ctrl-C has interrupted."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
