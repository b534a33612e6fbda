"""Threads that read a worker's pipes, so that the worker never waits for the parent.

There is one thread per pipe, because only POSIX systems can wait for several pipes at once.
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
RESULT, END = b'{"case":', b'{"end":'  # how the message with a result and the one after the last begin
POLL_SECONDS = 0.2
MOST_OF_A_POLL = 2.0  # how many times longer one may take, on a busy machine
# Waking up for each of ten thousand messages would cost more than the messages themselves, and would
# take the interpreter's lock from a busy parent. A Linux pipe's 64 KiB take longer than this to fill.
GATHER_SECONDS = 0.002
REST_SECONDS = 0.02 if sys.platform == "linux" else 0.0
# While few bytes arrive at a time, whoever waits for a result is given more of them at once, up to those
# of a rest: one that was not waited for takes pytest a tenth of the time.
GROWTH = 1.2
FEW = CHUNK // 8
MOST_SECONDS = max(GATHER_SECONDS, REST_SECONDS)
FULL = CHUNK // 2  # after reading this many bytes at once, a pipe is read again without a rest
STOP_SECONDS = 5.0  # how long a pipe may stay open after its worker has ended


class Pump:
    """Reads a worker's stdout by `line`, collects its `stderr`, and writes to its stdin by `write`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stderr = Stderr()
        self._process = process
        self._in: IO[bytes] = process.stdin
        self._chunks: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        # lines of the last chunk; waiting for each line would cost more
        self._lines: deque[bytes] = deque()
        self._results = 0  # how many of them are results
        self._half = b""
        self._wanted = threading.Event()  # whether somebody is waiting for lines
        self._heard = threading.Condition()
        self._marks_wanted = threading.Event()
        self._pause = GATHER_SECONDS  # before the next read of stdout, if somebody waits for it
        self._ended = False  # stderr has ended, or a mark did not come: no further one is waited for
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._read, args=reading, daemon=True)
            for reading in (
                (process.stdout, self._listen, self._wanted, lambda: self._pause),
                (process.stderr, self._hear, self._marks_wanted, lambda: 0.0),
            )
        ]
        for thread in self._threads:
            thread.start()

    def write(self, data: bytes, seconds: float) -> bool:
        """Write `data` to stdin; return False if the worker does not read all of it within `seconds`."""
        writing = self.begin_write(data)
        writing.join(seconds)
        return not writing.is_alive()

    def begin_write(self, data: bytes) -> threading.Thread:
        """Write `data` to stdin in the thread that is returned, without waiting for the worker."""
        writing = threading.Thread(target=self._write, args=(data,), daemon=True)
        writing.start()
        return writing

    def _write(self, data: bytes) -> None:
        # if the worker died between two jobs, the next read reports why
        with suppress(OSError, ValueError):
            while data:
                data = data[self._in.write(data) :]

    def line(self, seconds: float) -> bytes | None:
        """Return the next line of stdout, or None after the last.

        Raises queue.Empty after `seconds`.
        """
        while not self._lines:
            chunk = self._chunk(seconds)
            if chunk is None:
                return None
            self._keep(chunk)
        line = self._lines.popleft()
        self._results -= line.startswith(RESULT)
        return line

    def _keep(self, chunk: list[bytes]) -> None:
        self._lines.extend(chunk)
        self._results += sum(line.startswith(RESULT) for line in chunk)

    def holds_result(self) -> bool:
        """Return whether a result is among the lines that were read and not yet taken."""
        if not self._results:
            self._keep_read()
        return self._results > 0

    def holds_end(self) -> bool:
        """Return whether the lines that were read and not yet taken end with the end of a job."""
        self._keep_read()
        return bool(self._lines) and self._lines[-1].startswith(END)

    def _keep_read(self) -> None:
        """Keep the next lines if any have been read."""
        if self._chunks.empty():
            return
        chunk = self._chunks.get()
        if chunk is None:
            self._chunks.put(None)
        else:
            self._keep(chunk)

    def _chunk(self, seconds: float) -> list[bytes] | None:
        """Return the next lines of stdout, or None after the last.

        Raises queue.Empty after `seconds`.
        """
        with suppress(queue.Empty):
            return self._chunks.get_nowait()
        self._wanted.set()
        try:
            return self._awaited_chunk(seconds)
        finally:
            self._wanted.clear()

    def _awaited_chunk(self, seconds: float) -> list[bytes] | None:
        left = seconds
        while True:
            begin = time.monotonic()
            with suppress(queue.Empty):
                return self._chunks.get(timeout=max(0.0, min(POLL_SECONDS, left)))
            if self._process.poll() is not None:  # a child of the worker holds the pipes open
                with suppress(queue.Empty):
                    return self._chunks.get(timeout=POLL_SECONDS)
                return None
            if left <= POLL_SECONDS:
                raise queue.Empty
            # a wait that took longer was no wait: this process was stopped, or the machine paused
            left -= min(time.monotonic() - begin, MOST_OF_A_POLL * POLL_SECONDS)

    def wait_for_stderr(self, marks: int) -> None:
        """Wait until `stderr` holds everything written before the worker's mark number `marks`."""
        if self.stderr.marks >= marks:  # true for all but a few results
            return
        self._marks_wanted.set()
        with self._heard:
            there = self._heard.wait_for(
                lambda: self._ended or self.stderr.marks >= marks, timeout=STOP_SECONDS
            )
            self._ended = self._ended or not there
        self._marks_wanted.clear()

    def has_ended(self, seconds: float) -> bool:
        """Return whether the worker closes both pipes within `seconds`. They are read without rest."""
        self._stopped = True
        self._wanted.set()
        self._marks_wanted.set()
        self._threads[0].join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Read what is left of a worker that has ended together with everything it started."""
        self._stopped = True
        self._wanted.set()
        self._marks_wanted.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _read(
        self,
        pipe: IO[bytes],
        take: Callable[[bytes], None],
        wanted: threading.Event,
        pause: Callable[[], float],
    ) -> None:
        """Read `pipe` to its end and close it; nobody waits for a process that holds it open longer.

        The thread rests between reads. A rest ends as soon as output is `wanted`; even then it waits for
        the seconds that `pause` gives.
        """
        with pipe:
            while chunk := pipe.read(CHUNK):
                take(chunk)
                if self._stopped:
                    continue
                if len(chunk) >= FULL:
                    time.sleep(GATHER_SECONDS)
                elif wanted.wait(REST_SECONDS):
                    time.sleep(pause())
        take(b"")

    def _listen(self, chunk: bytes) -> None:
        *whole, self._half = (self._half + chunk).split(b"\n")
        if len(self._half) > MESSAGE:
            whole, self._half = [*whole, self._half], b""
        if whole:
            self._chunks.put(whole)
            is_slow = len(chunk) < FEW and not whole[-1].startswith(END)
            self._pause = min(self._pause * GROWTH, MOST_SECONDS) if is_slow else GATHER_SECONDS
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
