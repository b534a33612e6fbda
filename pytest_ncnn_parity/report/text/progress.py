"""One line below pytest's own on a terminal with the work in progress; removed before pytest writes."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from pytest_ncnn_parity.base.printable import printable

PATIENCE_SECONDS = 0.3  # a shorter wait needs no line
TICK_SECONDS = 0.2
LEAST_WIDTH = 17  # columns of a terminal; on a narrower one nothing is shown
ERASE_TO_END, UP = "\x1b[K", "\x1b[A"

Cursor = Callable[[], tuple[int, int]]


def on_terminal(cursor: Cursor) -> Progress | None:
    """Progress where pytest writes, if that is a terminal. To be called while nothing is captured.

    `cursor` gives the column that the cursor is in, from 0, and how many the terminal has.
    """
    if not os.isatty(1) or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    # a file descriptor of its own, because pytest redirects number 1 while a test runs
    return Progress(os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace"), cursor)


class Progress:
    """The line. It is drawn from a thread of its own: what takes long may be a single native step.

    It has a line of its own: pytest's is full of dots. The cursor is put back to where it was, by moves
    that are relative, for at the bottom of a terminal the line below scrolls all that is above.
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
        """Work on `text` has begun; it is shown if work takes long."""
        if not self._text:
            self._since = time.monotonic()
            if not self._thread.is_alive() and not self._ended.is_set():
                self._thread.start()
        self._text = text

    def clear(self) -> None:
        """The work is over, and pytest may write."""
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
            self._out.write(f"\r\n{text}{ERASE_TO_END}{back}")
            self._out.flush()
        self._shown = bool(text)
