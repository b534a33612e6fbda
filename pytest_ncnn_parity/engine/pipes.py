"""A thread that reads both of a worker's pipes, so that the worker never waits for the parent."""

from __future__ import annotations

import os
import queue
import selectors
import subprocess
import threading
import time
from typing import IO

from pytest_ncnn_parity.engine.stderr import Stderr

CHUNK = 1 << 16
PIPE = 1 << 20  # bytes: what a pipe holds at most without privileges
MESSAGE = 1 << 26  # no message is as long
POLL_SECONDS = 0.2
GATHER_SECONDS = 0.002  # waking for each of ten thousand messages costs more than the messages do


class Pump:
    """Lines of stdout in a queue, None behind the last; stderr in `stderr`.

    What was written to stderr before a line of stdout is in `stderr` when that line can be had.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.stderr = Stderr()
        self._process = process
        self._out: IO[bytes] = process.stdout
        self._err: IO[bytes] = process.stderr
        self._half = b""
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read what is left of a worker that has ended, and no more."""
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for pipe in (self._out, self._err):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                ready = {key.fileobj for key, _ in selector.select(POLL_SECONDS)}
                if not ready and self._process.poll() is not None:
                    break  # who holds the pipes is a child of it
                if self._out in ready and not self._listen():
                    selector.unregister(self._out)
                if self._err in ready and not self._hear(CHUNK):
                    selector.unregister(self._err)
                if self._stopped:
                    self._listen()
                    break
                time.sleep(GATHER_SECONDS)
        self.stderr.end()
        self.lines.put(None)

    def _listen(self) -> bool:
        """Take what is there of stdout, after all of stderr that came before; False at its end."""
        chunk = _read(self._out, CHUNK)
        self._hear(PIPE)
        *whole, self._half = (self._half + (chunk or b"")).split(b"\n")
        if len(self._half) > MESSAGE:
            whole, self._half = [*whole, self._half], b""
        for line in whole:
            self.lines.put(line)
        if chunk == b"":
            self.lines.put(None)
        return chunk != b""

    def _hear(self, most: int) -> bool:
        """Take up to `most` bytes of what is there of stderr; False at its end."""
        taken = 0
        while taken < most:
            chunk = _read(self._err, CHUNK)
            if not chunk:
                return chunk is None
            self.stderr.feed(chunk)
            taken += len(chunk)
        return True


def _read(pipe: IO[bytes], size: int) -> bytes | None:
    """Read what is there: None if there is nothing yet, empty at the end of the stream."""
    try:
        return os.read(pipe.fileno(), size)
    except BlockingIOError:
        return None
