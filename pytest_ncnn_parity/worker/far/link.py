"""The pipes to the server of a declared worker: one request at a time, each with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pytest_ncnn_parity.engine.workers import Worker
from pytest_ncnn_parity.worker.far.commands import argv

MAGIC = "ncnn-parity-worker"  # the server's greeting and its last message begin with this
STARTUP_SECONDS = 60.0
END_SECONDS = 5.0  # how long a process may take to end
HANG_UP_SECONDS = 1.0  # how long a process may take to end after its pipes were closed
SENT = ("store", "server")  # the modules that are sent, in the order in which they are imported
LONGEST_LINE = 32 << 20  # the most bytes in the first line of a message
NOISE = 1 << 16  # the most bytes that a login script may print before the server's greeting
KEPT = 4000  # how many of the last bytes of stderr are kept
CHUNK = 1 << 16
GLANCE = 1.0  # seconds between two signs of life to the process that waits for this one


class Ended(Exception):
    """Raised if the server, or the command that reaches it, has ended.

    `code`: the return code of the server's process, as in `subprocess`; None if it was not reported,
    because the link was cut. `said`: what was printed there, and by the command that reaches it.
    """

    def __init__(self, code: int | None, said: str, status: int | None = None) -> None:
        super().__init__(said)
        self.code = code
        self.said = said
        self.status = status  # the exit status of the command that reaches the worker


class Late(Exception):
    """Raised if no answer came within the time limit."""


class Garbled(Exception):
    """Raised if what came is not an answer to the request; the message says why."""


class Link:
    """One server, from its start to its end.

    `glance` is called about every GLANCE seconds, even while data flows, as over a slow link.
    """

    def __init__(self, worker: Worker, glance: Callable[[], None]) -> None:
        self._glance = glance
        self._glanced = time.monotonic()
        self._read = bytearray()
        self._stderr = b""
        self._end: Ended | None = None
        self._nonce = secrets.token_hex(8)
        self._left = self._looked = 0.0
        self._process = subprocess.Popen(
            argv(worker),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (pipe.fileno() for pipe in pipes if pipe is not None)
        for pipe in (self._in, self._out, self._err):
            os.set_blocking(pipe, False)

    def greet(self, memory: float | None, seconds: float) -> dict[str, Any]:
        """Send the server's program, and return its greeting. Raises Late, Ended or Garbled."""
        self._left, self._looked = seconds, time.monotonic()
        source = _source()
        first = json.dumps({"nonce": self._nonce, "memory": memory}).encode() + b"\n"
        self._write([b"%d\n" % len(source), source, first])
        sign = f"\n{MAGIC} {self._nonce}\n".encode()
        while sign not in self._read:
            if len(self._read) > NOISE:
                raise Garbled(f"it wrote {_shown(self._read)} in place of a greeting")
            self._more()
        del self._read[: self._read.index(sign) + len(sign)]
        message, _ = self._message(lambda _: 0)
        return message

    def ask(
        self,
        request: Mapping[str, Any],
        parts: Sequence[memoryview],
        seconds: float,
        size: Callable[[dict[str, Any]], int] = lambda _: 0,
    ) -> tuple[dict[str, Any], bytearray]:
        """Send `request` with the data `parts`; return the answer and the data that came with it.

        `size` returns how many bytes of data must come with an answer, or raises ValueError, which
        becomes Garbled. Raises Late, Ended or Garbled.
        """
        self._left, self._looked = seconds, time.monotonic()
        whole = {**request, "bytes": sum(part.nbytes for part in parts)}
        self._write([json.dumps(whole).encode() + b"\n", *parts])
        return self._message(size)

    def has_ended(self) -> bool:
        """Return whether the server has ended since the last request."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        # no request is pending, so any event means that the server has ended
        return bool(self._read or poll.poll(0))

    def kill(self) -> None:
        """Hang up, so that the watching process ends the server; kill the command if it does not end."""
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        for pipe in pipes:  # so that a write in progress fails at once
            if pipe is not None:
                pipe.close()
        for ending in (None, self._process.kill):
            if ending is not None:
                ending()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(HANG_UP_SECONDS)

    # -- bytes -----------------------------------------------------------------------------------

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        for part in parts:
            left = memoryview(part)
            while left.nbytes:
                try:
                    left = left[os.write(self._in, left) :]
                except BlockingIOError:
                    self._wait(self._in, select.POLLOUT)
                except BrokenPipeError:
                    self._ended()

    def _message(self, size: Callable[[dict[str, Any]], int]) -> tuple[dict[str, Any], bytearray]:
        line = self._line()
        while not line:  # an empty line precedes the notice that the server has ended
            line = self._line()
        if line.startswith(MAGIC.encode()):
            self._ended(line)
        message = _parsed(line)
        try:
            expected = size(message)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise Garbled(f"its answer is of another form: {error}") from None
        if message.get("bytes") != expected:
            raise Garbled(f"its answer comes with {message.get('bytes')!r} bytes, not {expected}")
        data = self._bytes(expected)
        end = self._line()
        if end != self._nonce.encode():
            if MAGIC.encode() in data[-CHUNK:] + end:  # the server died while it wrote the answer
                self._ended(bytes(data[-CHUNK:]) + end)
            raise Garbled(f"its answer ends with {_shown(end)}")
        return message, data

    def _line(self) -> bytes:
        searched = 0
        while (at := self._read.find(b"\n", searched)) < 0:
            searched = len(self._read)
            if searched > LONGEST_LINE:
                raise Garbled(f"a line of its answer has no end: {_shown(self._read)}")
            self._more()
        line = bytes(self._read[:at])
        del self._read[: at + 1]
        return line

    def _bytes(self, count: int) -> bytearray:
        """Return the next `count` bytes."""
        data = bytearray(count)
        have = min(count, len(self._read))
        data[:have] = self._read[:have]
        del self._read[:have]
        view = memoryview(data)
        while have < count:
            try:
                got = os.readv(self._out, [view[have:]])
            except BlockingIOError:
                self._wait(self._out, select.POLLIN)
                continue
            if not got:
                self._ended(bytes(data[max(0, have - CHUNK) : have]))
            have += got
        return data

    def _more(self) -> None:
        """Read at least one more byte, waiting for it if necessary."""
        chunk = self._chunk()
        if not chunk:
            self._ended(bytes(self._read))
        self._read += chunk
        self._refuse_late()

    def _chunk(self) -> bytes:
        """Return the next bytes, or none if the other end is closed."""
        while True:
            try:
                return os.read(self._out, CHUNK)
            except BlockingIOError:
                self._wait(self._out, select.POLLIN)

    def _wait(self, file: int, event: int) -> None:
        """Wait until `file` is ready for `event`. Raises Late at the time limit."""
        poll = select.poll()
        poll.register(file, event)
        if not self._listen():
            poll.register(self._err, select.POLLIN)
        while True:
            left = self._refuse_late()
            ready = poll.poll(1000 * min(left, GLANCE))
            if any(one == self._err for one, _ in ready) and self._listen():
                poll.unregister(self._err)
            if any(one == file for one, _ in ready):
                return

    def _refuse_late(self) -> float:
        """Give a sign of life if one is due, and return the seconds left. Raises Late if none are."""
        now = time.monotonic()
        # it looks more often, unless this process was stopped, or the machine paused
        self._left -= min(now - self._looked, 2 * GLANCE)
        self._looked = now
        if now - self._glanced >= GLANCE:
            self._glanced = now
            self._glance()
        if self._left <= 0:
            raise Late
        return self._left

    def _listen(self) -> bool:
        """Take what was written to stderr, and return whether it was closed."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._err, CHUNK):
                self._stderr = (self._stderr + chunk)[-KEPT:]
            return True
        return False

    def _ended(self, last: bytes = b"") -> NoReturn:
        """Raise Ended with the watching process's notice, if it is in `last` or in what still comes."""
        with contextlib.suppress(OSError, Late):
            end = time.monotonic() + END_SECONDS
            while time.monotonic() < end:
                chunk = self._chunk()
                if not chunk:
                    break
                last = (last + chunk)[-2 * CHUNK :]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        with contextlib.suppress(OSError):
            self._listen()
        said = self._stderr.decode("utf-8", "replace").strip()
        sign = f"{MAGIC} {self._nonce} ".encode()
        _, separator, notice = last.rpartition(sign)
        if separator:
            with contextlib.suppress(Garbled):
                message = _parsed(notice.partition(b"\n")[0])
                code, printed = message.get("died"), message.get("said")
                if isinstance(code, int) and isinstance(printed, str):
                    raise Ended(code, f"{printed}\n{said}".strip())
        raise Ended(None, said, self._process.poll())


def _parsed(line: bytes) -> dict[str, Any]:
    """Return the message in `line`. Raises Garbled."""
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise Garbled(f"it wrote {_shown(line)}, which is not an answer")
    return message


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _shown(text: bytes | bytearray) -> str:
    return repr(bytes(text[:100]).decode("utf-8", "backslashreplace"))


def _source() -> bytes:
    """Return the server's program: its two modules, and the call of its `main`."""
    room = Path(__file__).parent
    modules = {f"{__package__}.{one}": (room / f"{one}.py").read_text("utf-8") for one in SENT}
    return (
        "import sys, types\n"
        f"for name, text in {modules!r}.items():\n"
        "    module = sys.modules[name] = types.ModuleType(name)\n"
        "    exec(compile(text, name, 'exec'), module.__dict__)\n"
        "module.main()\n"
    ).encode()
