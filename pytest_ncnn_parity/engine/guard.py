"""Guards a worker where the system does not: limits its memory, and ends it when pytest ends.

Linux does both itself. On other systems a thread watches the worker's memory, and a tiny process waits
for the end of pytest.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from pytest_ncnn_parity.base.system import psutil

LOOK_SECONDS = 0.1

# the pipe closes when the process at its other end ends, in whatever way that happens
_END_WITH_PARENT = """
import os, signal, sys
sys.stdin.buffer.read()
pid = int(sys.argv[1])
try:
    os.killpg(pid, signal.SIGKILL)
except AttributeError:
    os.kill(pid, signal.SIGTERM)
"""


class MemoryWatch:
    """Calls `kill` once process `pid` holds more than `most` bytes; `held` is then how many it held."""

    def __init__(self, pid: int, most: int, kill: Callable[[], None]) -> None:
        self.held: int | None = None
        self._most = most
        self._kill = kill
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(pid,), daemon=True)
        self._thread.start()

    def _look(self, pid: int) -> None:
        with suppress(psutil.Error, OSError):  # the process has ended
            process = psutil.Process(pid)
            while not self._stopped.wait(LOOK_SECONDS):
                info = process.memory_info()
                # on Windows, `private` is the memory that no other process shares
                held = getattr(info, "private", info.rss)
                if held > self._most:
                    self.held = held
                    self._kill()
                    return

    def stop(self) -> None:
        """Stop watching and wait for the thread to end."""
        self._stopped.set()
        self._thread.join()


class EndsWithParent:
    """A process that kills `pid` and its group if this process ends before `stop` is called."""

    def __init__(self, pid: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _END_WITH_PARENT, str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def stop(self) -> None:
        """End the process without killing `pid`."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
