"""Declared workers: other places where networks can run, from the command line or the ini."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import ParityErrors, guess, quoted
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import MOST_THREADS, WORKER_NAME

EXAMPLE = "python=/path/to/python"
EMULATED_PATIENCE = 10.0  # how many times longer a step may take under emulation

_KINDS = ("python", "command", "ssh", "adb")
_REMOTE = ("ssh", "adb")  # these name a machine, and may be combined with python=


class Worker(Frozen):
    """A declared worker: `kind` says how it is reached, and `command` starts Python there.

    `target` is the host for `ssh`, or the serial number for `adb`. `emulated`: it is slow, and its
    timings mean nothing. `threads`: how many a network may use there; None means this process's share,
    or the cores of another machine. `timeout` is how long a step may take, in seconds. `memory` is how
    much it may hold: bytes, or a share of the machine's memory; None means no limit.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    target: str = ""
    emulated: bool = False
    threads: int | None = None
    timeout: float = 120.0
    memory: float | None = None

    @property
    def remote(self) -> bool:
        """Whether it runs on another machine."""
        return self.kind in _REMOTE

    def __str__(self) -> str:
        return f"{self.kind} {self.target or shlex.join(self.command)}"


class WorkerErrors(ParityErrors):
    """Wrong declarations of workers, one per line."""


class Lines(Frozen):
    """Lines that declare workers, and the folder to which their relative paths refer."""

    lines: tuple[str, ...]
    folder: Path


def declared(configured: Lines, typed: Lines) -> dict[str, Worker]:
    """Return the workers that the ini has `configured`, and those `typed` on the command line, by name.

    The ini declares each name once. The command line overrides it, and its own former lines, such as
    those of addopts. Raises WorkerErrors, which names every wrong line.
    """
    workers: dict[str, Worker] = {}
    problems = []
    for given in (configured, typed):
        for line in given.lines:
            try:
                worker = _parsed(line, given.folder)
                if given is configured and worker.name in workers:
                    raise ValueError(f"a line above declares {worker.name} as well; rename one of both")
            except ValueError as error:
                problems.append(f"{line.strip()!r}: {error}")
            else:
                workers[worker.name] = worker
    if problems:
        raise WorkerErrors(problems)
    return workers


def _parsed(line: str, folder: Path) -> Worker:
    name, colon, rest = line.partition(":")
    name = name.strip()
    if not colon or not re.fullmatch(WORKER_NAME, name):
        raise ValueError(f"expected NAME: and how it is reached, as in NAME: {EXAMPLE}")
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ValueError(f"{error}: the quotes do not match") from None
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in (*_KINDS, "threads", "emulated"):
            known = ", ".join(f"{kind}=" for kind in (*_KINDS, "threads"))
            guessed = guess(key, (*_KINDS, "threads", "emulated"))
            raise ValueError(f"unknown word {quoted(key)}{guessed}; expected {known} or emulated")
        if (key == "emulated") == bool(equals) or (equals and not value):
            expected = "no value" if key == "emulated" else "a value, as in " + key + "=VALUE"
            raise ValueError(f"{key}: expected {expected}")
        if key in given:
            raise ValueError(f"{key} appears twice")
        given[key] = value
    return _worker(name, given, folder)


def _worker(name: str, given: dict[str, str], folder: Path) -> Worker:
    remote = [kind for kind in _REMOTE if kind in given]
    kinds = remote or [kind for kind in _KINDS if kind in given]
    if len(kinds) != 1 or (remote and "command" in given):
        raise ValueError("expected one of python=, command=, ssh= with python=, adb= with python=")
    kind = kinds[0]
    threads = given.get("threads")
    if threads is not None and not (threads.isdecimal() and 1 <= int(threads) <= MOST_THREADS):
        raise ValueError(f"threads: expected 1 to {MOST_THREADS}, found {quoted(threads)}")
    if remote:
        target = given[kind]
        if target.startswith("-"):
            raise ValueError(f"{kind}: expected the name of a machine, found {quoted(target)}")
        command: tuple[str, ...] = (given.get("python", "python3"),)
    else:
        target = ""
        words = shlex.split(given[kind]) if kind == "command" else [given[kind]]
        if not words:
            raise ValueError(f"{kind}: expected a command")
        command = (_placed(words[0], folder), *words[1:])
    return Worker(
        name,
        kind,
        command,
        target,
        "emulated" in given,
        None if threads is None else int(threads),
    )


def _placed(program: str, folder: Path) -> str:
    """Resolve a path relative to `folder`; a bare name is left to be searched for on PATH."""
    return str(read_files.written(program, folder)) if "/" in program else program
