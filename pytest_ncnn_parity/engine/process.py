"""One worker process: how it is started, addressed, timed and ended."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic_core import from_json

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.base.printable import bytes_shown
from pytest_ncnn_parity.engine import descendants, endings
from pytest_ncnn_parity.engine.guard import EndsWithParent, MemoryWatch
from pytest_ncnn_parity.engine.pipes import Pump
from pytest_ncnn_parity.engine.protocol import OUT_OF_MEMORY, Job
from pytest_ncnn_parity.engine.spawn import Order, Spawned, spawn
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.engine.wire import encode_job

STARTUP_SECONDS = 120.0
WAKE_SECONDS = 20.0  # how long the start may take if Vulkan is started as well
END_SECONDS = 5.0  # how long a process may take to end
LEAVE_SECONDS = 2.0  # how long it may take to close its pipes once it is told to end
MOMENT_SECONDS = 0.005

# Workers that have closed their pipes, after which a process only gives back its memory and the GPU.
# That can take a tenth of a second, for which nobody waits.
_leaving: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """Forget the workers that are still leaving, of which Popen would warn."""
    for process in _leaving:
        if process.poll() is None:
            process.returncode = 0


def parsed(line: bytes) -> dict[str, Any]:
    """Return the message that `line` holds. Raises ValueError.

    pydantic 2.7 makes several characters of one that is escaped as \\uXXXX.
    """
    message: dict[str, Any] = json.loads(line) if b"\\u" in line else from_json(line)
    return message


class EngineError(ParityError):
    """A worker cannot be started or does not follow the protocol, or no worker can run a job.

    `inputs` maps each input at fault, if any, to what is wrong with it.
    """

    def __init__(self, message: str, inputs: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.inputs = inputs


class Died(Exception):
    """A worker ended: it crashed, ran out of memory, or was killed at the time limit."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.detail)
        self.death = death


class WorkerProcess:
    """One worker process, with a temporary folder of its own, started as `order` says.

    `spawned`: one that has been started already. Raises EngineError if none can be started.
    """

    def __init__(self, order: Order, spawned: Spawned | None = None) -> None:
        if spawned is None:
            try:
                spawned = spawn(order)
            except OSError as error:
                raise EngineError(f"cannot start the worker {order.command[0]}: {error}") from None
        self.jobs = 0  # how many jobs it has been sent
        self.wakes_vulkan = spawned.order.wakes_vulkan
        self._most = spawned.order.most
        self._step: Step | None = None
        self._memory: MemoryWatch | None = None
        self._guard: EndsWithParent | None = None
        self._process, self._home = spawned.process, spawned.home
        self._pump = Pump(self._process)
        self.stderr = self._pump.stderr
        self._environment: dict[str, str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What the worker reports about itself when it is ready, which this waits for.

        Raises EngineError if the worker does not start.
        """
        if self._environment is None:
            try:
                self._environment = self._greeting()
            except BaseException:
                self.kill()
                raise
        return self._environment

    def _greeting(self) -> dict[str, str]:
        try:
            greeting = self._next(WAKE_SECONDS if self.wakes_vulkan else STARTUP_SECONDS)
            environment: dict[str, str] = greeting["environment"]
        except Died as died:
            raise EngineError(
                f"the worker did not start ({died.death.detail}); is ncnn installed for "
                f"{sys.executable}?\n{died.death.stderr}"
            ) from None
        if greeting.get("unlimited") and self._most is not None:
            # on Windows a launcher starts the worker as another process
            self._memory = MemoryWatch(greeting.get("pid", self.pid), self._most, self._process.kill)
        if greeting.get("unguarded"):
            self._guard = EndsWithParent(self.pid)
        return environment

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, job: Job, timeout: float) -> None:
        """Send `job`. Raises Died if the worker does not accept it within `timeout` seconds."""
        if not self._pump.write(self._next_job(job), timeout):
            raise self._late(timeout)

    def begin(self, job: Job) -> None:
        """Send `job` without waiting. If the worker does not accept it, `messages` will say so."""
        self._pump.begin_write(self._next_job(job))

    def _next_job(self, job: Job) -> bytes:
        self.jobs += 1
        self._step = None
        return encode_job(job).encode() + b"\n"

    def holds_result(self) -> bool:
        """Return whether `messages` yields a result next or soon, without waiting for the worker."""
        return self._pump.holds_result()

    def holds_end(self) -> bool:
        """Return whether all that `messages` will yield has arrived."""
        return self._pump.holds_end()

    def messages(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield the worker's messages until its job ends, each awaited for `timeout` seconds at most.

        Raises Died, with the native step that was running, and EngineError for anything but a message.
        """
        while True:
            message = self._next(timeout)
            if "at" in message:
                self._step = Step(**message["at"])
                yield {"at": self._step}
            elif "end" in message:
                return
            else:
                if "marks" in message:
                    self._pump.wait_for_stderr(message["marks"])
                yield message

    def _next(self, timeout: float) -> dict[str, Any]:
        try:
            line = self._pump.line(timeout)
        except queue.Empty:
            raise self._late(timeout) from None
        if line is None:
            # it is ending, so its exit code will follow
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            code = self._process.poll()
            self.kill()
            raise Died(self._death(code))
        try:
            message = parsed(line)
        except ValueError:
            self.kill()
            shown = line[:200].decode("utf-8", "backslashreplace")
            raise EngineError(f"the worker wrote something other than a message: {shown!r}") from None
        return message

    def _late(self, timeout: float) -> Died:
        self.kill()
        detail = f"no answer for {timeout:g} s, so it was killed"
        return Died(Death("timeout", detail, self._step, self.stderr.text()))

    def _death(self, code: int | None) -> Death:
        said = self.stderr.text()
        limit = "" if self._most is None else f"{bytes_shown(self._most)} (--ncnn-parity-memory)"
        if self._memory is not None and self._memory.held is not None:
            detail = f"killed when it held {bytes_shown(self._memory.held)}; it may hold {limit}"
            return Death("memory", detail, self._step, said)
        refused = self.stderr.no_memory and not endings.was_killed(code)
        if code == OUT_OF_MEMORY or code in endings.NO_MEMORY or refused:
            allowed = f"; it may hold {limit}" if limit else ""
            detail = f"{endings.shown(code)}, given no more memory{allowed}"
            return Death("memory", detail, self._step, said)
        outside = endings.was_killed(code)
        return Death("crash", endings.shown(code), self._step, said, from_outside=outside)

    def kill(self) -> None:
        """Kill the process and everything it started, at once."""
        if self._process.poll() is None:
            if sys.platform != "win32":
                with contextlib.suppress(OSError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        self._clean()

    def leave(self) -> None:
        """Tell the process, which must not be running a job, to end by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def finish(self) -> None:
        """Let the process end by itself, and kill it if it does not."""
        self.leave()
        end = time.monotonic() + LEAVE_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            if self._pump.has_ended(MOMENT_SECONDS) and sys.platform != "win32":
                _leaving[:] = [one for one in (*_leaving, self._process) if one.poll() is None]
                break
        else:
            if self._process.poll() is None:
                self.kill()
                return
        self._clean()

    def _clean(self) -> None:
        descendants.end(Path(self._home.name))
        if self._process not in _leaving:
            # the kernel may take time to release the process
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        self._pump.stop()
        for watch in (self._memory, self._guard):
            if watch is not None:
                watch.stop()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # data that is still unwritten is no longer needed
            self._process.stdin.close()
        self._home.cleanup()
