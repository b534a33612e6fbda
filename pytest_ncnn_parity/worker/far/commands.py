"""How a worker's Python is started: the command for each way to reach it, and what kept it from it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pytest_ncnn_parity.engine.workers import Worker

# reads a program whose length is in the first line of stdin, and leaves the rest of stdin to it
_START = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
_SSH = (
    *("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
)
# Idle threads that spin take the cores away from working ones. Filled fresh memory shows which kernels
# read it before it was written.
_ENVIRONMENT = ("OMP_WAIT_POLICY=passive", "MALLOC_PERTURB_=170")
NOT_FOUND = 127  # a shell's exit status if there is no such program
NOT_EXECUTABLE = 126

SSH_FAILED = 255  # ssh's own exit status; any other is that of the program it ran

# what ssh and adb write to stderr themselves, and what it means
_SIGNS = {
    "ssh": (
        ("Could not resolve hostname", "its host is not known"),
        ("Host key verification failed", "its host key is not known here: connect to it once by hand"),
        ("Connection refused", "nothing listens there: is sshd running, and on that port?"),
        ("Permission denied", "it refuses the login: give it a key of yours (ssh-copy-id)"),
        ("Too many authentication failures", "it refuses the login: name its key in ~/.ssh/config"),
        ("Connection timed out", "it does not answer"),
        ("No route to host", "there is no way to it"),
    ),
    "adb": (
        ("no devices/emulators found", "no device is connected"),
        ("adb: device '", "no such device is connected: see adb devices"),
        ("device unauthorized", "the device has not allowed this computer: look at its screen"),
        ("device offline", "the device is offline"),
    ),
}


def argv(worker: Worker) -> Sequence[str]:
    """The command whose Python, here or there, runs the program that it is sent."""
    program = [*worker.command, "-u", "-c", _START]
    if worker.kind == "ssh":
        return [*_SSH, "--", worker.target, _there(program)]
    if worker.kind == "adb":
        return ["adb", "-s", worker.target, "shell", "-T", _there(program)]
    return program


def _there(program: Sequence[str]) -> str:
    """For a shell over there, without which neither ssh nor adb starts anything."""
    return f"exec env {' '.join(_ENVIRONMENT)} {shlex.join(program)}"


def why_not(worker: Worker, status: int | None, said: str) -> str:
    """Why no server greeted: from the exit status of the command, and what it wrote to stderr."""
    reached = worker.kind == "ssh" and status != SSH_FAILED
    for sign, meaning in () if reached else _SIGNS.get(worker.kind, ()):
        if sign in said:
            return f"{meaning} ({_last(said)})"
    python = worker.command[0]
    if status == NOT_FOUND or f"{python}: not found" in said or f"{python}: No such file" in said:
        return f"there is no {python} there: {_last(said) or f'exit status {status}'}"
    if status == NOT_EXECUTABLE:
        return f"{python} cannot be run there: {_last(said)}"
    if status is None:
        return f"it did not greet: {_last(said) or 'it wrote nothing'}"
    return f"it ended with exit status {status}: {_last(said, 2) or 'it wrote nothing'}"


def _last(said: str, count: int = 1) -> str:
    """The last line that says anything, or the last `count` of them."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join(lines[-count:])
