"""Threads that read a worker's pipes, so that the worker never waits for the parent.

One thread for each pipe, since no system but POSIX can wait for several pipes at a time.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from pytest_ncnn_parity.engine.stderr import Stderr

CHUNK = 1 << 16
MESSAGE = 1 << 26  # bytes; every message is shorter
POLL_SECONDS = 0.2
# to wake up for each of ten thousand messages would cost more than the messages themselves, and takes
# the interpreter's lock from a parent that has enough to do; 64 KiB, a pipe of Linux, last longer
GATHER_SECONDS = 0.002
REST_SECONDS = 0.02 if sys.platform == "linux" else 0.0
FULL = CHUNK // 2  # bytes at once after which a pipe is read again at once
STOP_SECONDS = 5.0  # how long a pipe may stay open after its worker has ended


class Pump:
    """Lines of stdout by `line`, what is said on stderr in `stderr`, and stdin by `write`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stderr = Stderr()
        self._process = process
        self._in: IO[bytes] = process.stdin
        self._chunks: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._lines: deque[bytes] = deque()  # lines of the last chunk: to wait for each line costs more
        self._half = b""
        self._wanted = threading.Event()  # somebody waits for lines
        self._heard = threading.Condition()
        self._marks_wanted = threading.Event()
        self._ended = False  # whether stderr has ended, after which no mark will come
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._read, args=reading, daemon=True)
            for reading in (
                (process.stdout, self._listen, self._wanted, GATHER_SECONDS),
                (process.stderr, self._hear, self._marks_wanted, 0.0),
            )
        ]
        for thread in self._threads:
            thread.start()

    def write(self, data: bytes, seconds: float) -> bool:
        """Give it `data`; False where it does not take all of it in that time."""
        writing = threading.Thread(target=self._write, args=(data,), daemon=True)
        writing.start()
        writing.join(seconds)
        return not writing.is_alive()

    def _write(self, data: bytes) -> None:
        # if the worker died between two jobs, the next line says why
        with suppress(OSError, ValueError):
            while data:
                data = data[self._in.write(data) :]

    def line(self, seconds: float) -> bytes | None:
        """The next line of stdout; None behind the last. Raises queue.Empty after that time."""
        while not self._lines:
            chunk = self._chunk(seconds)
            if chunk is None:
                return None
            self._lines.extend(chunk)
        return self._lines.popleft()

    def _chunk(self, seconds: float) -> list[bytes] | None:
        """The next lines of stdout; None behind the last. Raises queue.Empty after that time."""
        with suppress(queue.Empty):
            return self._chunks.get_nowait()
        self._wanted.set()
        try:
            return self._awaited_chunk(seconds)
        finally:
            self._wanted.clear()

    def _awaited_chunk(self, seconds: float) -> list[bytes] | None:
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            with suppress(queue.Empty):
                return self._chunks.get(timeout=max(0.0, min(POLL_SECONDS, left)))
            if self._process.poll() is not None:  # the pipes are held open by a child of the worker
                with suppress(queue.Empty):
                    return self._chunks.get(timeout=POLL_SECONDS)
                return None
            if left <= POLL_SECONDS:
                raise queue.Empty

    def wait_for_stderr(self, marks: int) -> None:
        """Wait until all is in `stderr` that was said before the worker's `marks`-th mark there."""
        if self.stderr.marks >= marks:  # true for all but a few results
            return
        self._marks_wanted.set()
        with self._heard:
            there = self._heard.wait_for(
                lambda: self._ended or self.stderr.marks >= marks, timeout=STOP_SECONDS
            )
            self._ended = self._ended or not there
        self._marks_wanted.clear()

    def stop(self) -> None:
        """Read what is left of a worker that has ended, with all that it started."""
        self._stopped = True
        self._wanted.set()
        self._marks_wanted.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _read(
        self, pipe: IO[bytes], take: Callable[[bytes], None], wanted: threading.Event, pause: float
    ) -> None:
        """Read `pipe` to its end, and close it: where somebody holds it for longer, nobody waits.

        A rest ends as soon as what it says is `wanted`; there is a `pause` also then.
        """
        with pipe:
            while chunk := pipe.read(CHUNK):
                take(chunk)
                if self._stopped:
                    continue
                if len(chunk) >= FULL:
                    time.sleep(GATHER_SECONDS)
                elif wanted.wait(REST_SECONDS):
                    time.sleep(pause)
        take(b"")

    def _listen(self, chunk: bytes) -> None:
        *whole, self._half = (self._half + chunk).split(b"\n")
        if len(self._half) > MESSAGE:
            whole, self._half = [*whole, self._half], b""
        if whole:
            self._chunks.put(whole)
        if not chunk:
            self._chunks.put(None)

    def _hear(self, chunk: bytes) -> None:
        with self._heard:
            if chunk:
                self.stderr.feed(chunk)
            else:
                self.stderr.end()
                self._ended = True
            self._heard.notify_all()
