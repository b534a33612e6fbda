"""The command that starts a declared worker's Python, and why it failed if it did."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pytest_ncnn_parity.engine.workers import Worker

# runs the program that follows on stdin, with its length in the first line, and leaves it the rest
_START = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
_SSH = (
    *("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
)
# Idle threads that spin take cores from those that work. Fresh memory is filled, which reveals kernels
# that read it before it was written.
_ENVIRONMENT = ("OMP_WAIT_POLICY=passive", "MALLOC_PERTURB_=170")
NOT_FOUND = 127  # a shell's exit status if there is no such program
NOT_EXECUTABLE = 126
NOTHING_CAME = "base 10: b''"  # what Python says if the first line of stdin is empty

SSH_FAILED = 255  # ssh's own exit status; any other is that of the program it ran

# messages that ssh and adb themselves write to stderr, and what they mean
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
    """Return the command that starts the worker's Python, here or there, to run what it is sent."""
    program = [*worker.command, "-u", "-c", _START]
    if worker.kind == "ssh":
        return [*_SSH, "--", worker.target, _there(program)]
    if worker.kind == "adb":
        return ["adb", "-s", worker.target, "shell", "-T", _there(program)]
    return program


def _there(program: Sequence[str]) -> str:
    """Return `program` as a command for the remote shell, through which ssh and adb start everything."""
    return f"exec env {' '.join(_ENVIRONMENT)} {shlex.join(program)}"


def why_not(worker: Worker, status: int | None, said: str) -> str:
    """Return why the server sent no greeting.

    `status`: the exit status of the command, None if it still runs. `said`: what it wrote to stderr.
    """
    reached = worker.kind == "ssh" and status != SSH_FAILED
    for sign, meaning in () if reached else _SIGNS.get(worker.kind, ()):
        if sign in said:
            return f"{meaning} ({_last(said)})"
    python = worker.command[0]
    if status == NOT_FOUND or f"{python}: not found" in said or f"{python}: No such file" in said:
        return f"there is no {python} there: {_last(said) or f'exit status {status}'}"
    if status == NOT_EXECUTABLE:
        return f"{python} cannot be run there: {_last(said)}"
    if NOTHING_CAME in said:
        return "its command passes no stdin on: docker run needs -i, and ssh must not have -n"
    if status is None:
        return f"it did not greet: {_last(said) or 'it wrote nothing'}"
    return f"it ended with exit status {status}: {_last(said, 2) or 'it wrote nothing'}"


def _last(said: str, count: int = 1) -> str:
    """Return the last `count` lines that are not blank."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join(lines[-count:])
