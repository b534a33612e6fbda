"""SIGTERM ends a run as Ctrl-C does: workers are ended, files are removed, reports are written."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

# `timeout`, for one, signals the process and then its group: the second signal must not interrupt the
# clean-up that the first one began.
_ONE_AND_THE_SAME_SECONDS = 5.0


def on_sigterm() -> Callable[[], None]:
    """Handle SIGTERM unless somebody else already does; call the result to undo that."""
    untouched = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not untouched or threading.current_thread() is not threading.main_thread():
        return lambda: None
    last = -_ONE_AND_THE_SAME_SECONDS

    def end(*_: Any) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > _ONE_AND_THE_SAME_SECONDS:
            raise KeyboardInterrupt("SIGTERM")

    signal.signal(signal.SIGTERM, end)
    return lambda: _restore(end)


def _restore(ours: Any) -> None:
    if signal.getsignal(signal.SIGTERM) is ours:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
