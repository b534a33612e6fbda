"""One worker process: its pipes, its stderr, its time limit and its end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.errors import ParityError

# idle threads that spin take the cores from those that compute; numpy's products here are short
_QUIET_THREADS = {
    "OMP_WAIT_POLICY": "passive",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}

STARTUP_SECONDS = 120.0
STDERR_KEPT = 4000  # characters quoted from a dead worker's stderr

_DEVICE = re.compile(r"^\[(\d+) (.+?)\]\s+fp16-p[a-z/]*=([\d/]+)", re.MULTILINE)
_SHADER = re.compile(r"^.*(?:compile.?spir.?v.?module|create_shader_module) failed.*$", re.MULTILINE)


class EngineError(ParityError):
    """A worker that cannot be started or spoken to, or a job no worker can run.

    `blob` names the input that is at fault, where one is.
    """

    def __init__(self, message: str, blob: str | None = None) -> None:
        super().__init__(message)
        self.blob = blob


@dataclasses.dataclass(frozen=True)
class Death:
    """How a worker ended: `kind` is crash or timeout."""

    kind: str
    detail: str
    stderr: str


class Died(Exception):
    def __init__(self, step: str | None, death: Death) -> None:
        super().__init__(step)
        self.step = step
        self.death = death


class Worker:
    """One process, its pipes, and a thread that turns its lines into a queue one can wait on."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="ncnn-parity-")
        self._stderr: IO[bytes] = (Path(self._home.name) / "stderr").open("w+b", buffering=0)
        self.jobs = 0  # it was given
        self._read = 0
        self._text = ""
        self._told = 0
        self._step: str | None = None
        self.shader_failures: dict[str, str] = {}  # native step -> what stderr said in it
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                cwd=self._home.name,
                env={**os.environ, **_QUIET_THREADS},
                start_new_session=True,  # Ctrl-C is for pytest, which then ends this process
                encoding="utf-8",
            )
        except OSError as error:
            self._stderr.close()
            self._home.cleanup()
            raise EngineError(f"cannot start the worker {command[0]}: {error}") from None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._pumping = threading.Thread(target=self._pump, daemon=True)
        self._pumping.start()
        self.environment: dict[str, Any] = self._greeting()

    def _pump(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _greeting(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=STARTUP_SECONDS)
        except queue.Empty:
            line = None
        if line is None:
            self.kill()
            raise EngineError(
                f"the worker did not start ({self._how_it_ended()}); is ncnn installed for "
                f"{sys.executable}?\n{self.stderr()[-STDERR_KEPT:]}"
            )
        environment: dict[str, Any] = json.loads(line)["environment"]
        return environment

    def send(self, job: Job) -> None:
        assert self._process.stdin is not None
        self.jobs += 1
        # a worker that died between two jobs is told of by the next message read
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(job.encode() + "\n")
            self._process.stdin.flush()

    def messages(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Messages until the job's end; raises Died with the native step in flight."""
        self._step = None
        while True:
            try:
                line = self._lines.get(timeout=timeout)
            except queue.Empty:
                self.kill()
                detail = f"no answer for {timeout:g} s, so it was killed"
                raise Died(self._step, Death("timeout", detail, self.tail())) from None
            if line is None:
                self.kill()
                raise Died(self._step, Death("crash", self._how_it_ended(), self.tail()))
            message: dict[str, Any] = json.loads(line)
            self._look_for_shaders()
            if "at" in message:
                self._step = message["at"]
            elif "end" in message:
                return
            else:
                yield message

    def _look_for_shaders(self) -> None:
        """Note a failed compile on stderr with the step it happened in."""
        before = len(self._text)
        if len(self.stderr()) > before and self._step is not None:
            found = _SHADER.search(self._text, before)
            if found is not None:
                self.shader_failures[self._step] = found.group().strip()

    def _how_it_ended(self) -> str:
        code = self._process.poll()
        if code is None:
            return "it hung"
        if code < 0:
            try:
                return f"killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"killed by signal {-code}"
        return f"exit status {code}"

    def stderr(self) -> str:
        """What it wrote to stderr so far, at file-descriptor level."""
        if not self._stderr.closed:
            fresh = os.pread(self._stderr.fileno(), 1 << 24, self._read)
            self._read += len(fresh)
            self._text += fresh.decode("utf-8", "replace")
        return self._text

    def news(self) -> list[tuple[str, str, str]]:
        """The devices told of on stderr since the last call."""
        before, self._told = self._told, len(self.stderr())
        return _DEVICE.findall(self._text[before:])

    def tail(self) -> str:
        """The end of its stderr."""
        return self.stderr()[-STDERR_KEPT:].strip()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.stderr()
        self._clean()

    def finish(self) -> None:
        """Let it end by itself; kill it if it does not."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.kill()
        self._clean()

    def _clean(self) -> None:
        self._pumping.join(timeout=5.0)  # the pipe has ended with the process
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._home.cleanup()
