"""Limits that a worker sets itself when it starts: how much memory it may hold, and no core dumps."""

from __future__ import annotations

import ctypes
import resource
import signal
from contextlib import suppress
from pathlib import Path

from pytest_ncnn_parity.base import memory

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
NO_BLOB = -100  # a Mat that is empty (src/net.cpp)


def take(wanted: int | None) -> None:
    """End with the parent, leave no core file, hold no more than `wanted` bytes."""
    with suppress(AttributeError):  # no Linux
        # a hung native step reads no end of stdin: the system ends it with the thread that began it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if wanted is not None:
        # not RLIMIT_AS: drivers reserve address space by the terabyte and touch next to none of it
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    with suppress(OSError):  # where memory ends all the same, this goes first, not pytest
        Path("/proc/self/oom_score_adj").write_text("1000")


def held() -> int:
    """The most bytes this process has held at a time."""
    peak = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "VmData"):
            peak = max(peak, int(value.split()[0]) * 1024)
    return peak


def most() -> int | None:
    """How many bytes this process may hold; None if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft


def refused(what: str, code: int) -> tuple[str, str]:
    """The kind and the detail of a death by ncnn's `code` for `what`.

    -100 is what it gives for a blob that has no memory, but also for one that has no elements.
    """
    limit, peak = most(), held()
    if code != NO_BLOB or limit is None:
        return "refused", f"{what}: {code}"
    if 2 * peak > limit:
        share = f"it has held {memory.shown(peak)} of {memory.shown(limit)} (--ncnn-parity-memory)"
        return "memory", f"{what}: {code}, given no more memory; {share}"
    room = f"{memory.shown(limit - peak)} (--ncnn-parity-memory)"
    return "refused", f"{what}: {code}: it is empty, or larger than {room}"
