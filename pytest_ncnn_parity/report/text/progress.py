"""A line below pytest's own that shows the work in progress, and is removed before pytest writes."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from pytest_ncnn_parity.base.printable import printable

PATIENCE_SECONDS = 0.3  # for a shorter wait nothing is shown
TICK_SECONDS = 0.2
LEAST_WIDTH = 17  # columns; on a narrower terminal nothing is shown
ERASE_TO_END, UP = "\x1b[K", "\x1b[A"

Cursor = Callable[[], tuple[int, int]]


def on_terminal(cursor: Cursor) -> Progress | None:
    """Return a Progress if pytest writes to a terminal, or None.

    It must be called while pytest does not capture output. `cursor` returns the column of the cursor,
    counted from 0, and the number of the terminal's columns.
    """
    if not os.isatty(1) or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    # a separate file descriptor, because pytest redirects number 1 while a test runs
    return Progress(os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace"), cursor)


class Progress:
    """The progress line, drawn by a thread of its own, because a single native step may take long.

    It is below pytest's own line, which is full of dots. Afterwards the cursor is moved back, with
    relative moves, because at the bottom of a terminal a new line scrolls everything above it.
    """

    def __init__(self, out: TextIO, cursor: Cursor) -> None:
        self._out = out
        self._cursor = cursor
        self._lock = threading.Lock()
        self._text = ""
        self._since = 0.0
        self._shown = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)

    def say(self, text: str) -> None:
        """Note that work on `text` has begun, which is shown if the work takes long."""
        if not self._text:
            self._since = time.monotonic()
            if not self._thread.is_alive() and not self._ended.is_set():
                self._thread.start()
        self._text = text

    def clear(self) -> None:
        """Remove the line, because the work is over and pytest may write."""
        if self._text:
            with self._lock:
                self._text = ""
                self._show("")

    def close(self) -> None:
        self.clear()
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._out.close()

    def _draw(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            with self._lock:
                took = time.monotonic() - self._since
                if self._text and took > PATIENCE_SECONDS:
                    self._show(printable(f"{took:.0f} s: {self._text}"))

    def _show(self, text: str) -> None:
        column, width = self._cursor()
        text = text[: width - 1] if width >= LEAST_WIDTH else ""
        if text or self._shown:
            back = UP + "\r" + (f"\x1b[{column}C" if column else "")
            try:
                self._out.write(f"\r\n{text}{ERASE_TO_END}{back}")
                self._out.flush()
            except OSError:  # nobody sees the terminal any more, and the run goes on without it
                self._ended.set()
        self._shown = bool(text)
