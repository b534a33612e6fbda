"""Limits that a worker sets itself when it starts: how much memory it may hold, and no core dumps.

What the system has no means for, the parent does instead.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from pytest_ncnn_parity.base.printable import bytes_shown

resource: ModuleType | None
try:
    import resource
except ImportError:  # on Windows
    resource = None

_PR_SET_PDEATHSIG = 1  # from sys/prctl.h
_NO_ERROR_BOXES = 0x8007  # for SetErrorMode: a crash must not wait until somebody closes a dialog
NO_BLOB = -100  # an empty Mat (src/net.cpp)


def take(wanted: int | None) -> dict[str, bool]:
    """End with the parent, leave no core file, hold no more than `wanted` bytes.

    Says which of these the system did not take: `unguarded`, `unlimited`.
    """
    if sys.platform == "win32":
        ctypes.windll.kernel32.SetErrorMode(_NO_ERROR_BOXES)
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # if memory runs out, the system kills this process first, and not pytest
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")
    limited = wanted is None or _limit(wanted)
    return {"unguarded": not _end_with_parent(), "unlimited": not limited}


def _end_with_parent() -> bool:
    """A hung native step reads no end of stdin: Linux ends it with the thread that began it."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError, TypeError):
        return False
    return bool(prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def _limit(wanted: int) -> bool:
    """Have the system refuse more memory; only Linux counts what was not got by sbrk."""
    if resource is None or sys.platform != "linux":
        return False
    # not RLIMIT_AS, because drivers reserve terabytes of addresses and use hardly any of them
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return True


def held() -> int:
    """The most bytes this process has held at a time. Linux."""
    peak = 0
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name in ("VmHWM", "VmData"):
                peak = max(peak, int(value.split()[0]) * 1024)
    return peak


def most() -> int | None:
    """How many bytes the system lets this process hold; None if it sets no limit."""
    if resource is None or sys.platform != "linux":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else int(soft)


def has_held_less_than_half() -> bool:
    """Whether this process has never held half of what it may."""
    limit = most()
    return limit is None or 2 * held() < limit


def at_most_a_quarter(size: int) -> int:
    """`size` bytes, or a quarter of what this process may hold where that is less."""
    limit = most()
    return size if limit is None else min(size, limit // 4)


def refused(what: str, code: int) -> tuple[str, str]:
    """The kind and the detail of a death by ncnn's `code` for `what`.

    -100 is what it gives for a blob that has no memory, but also for one that has no elements.
    """
    limit = most()
    if code != NO_BLOB or limit is None:
        return "refused", f"{what}: {code}"
    peak = held()
    if 2 * peak > limit:
        share = f"it has held {bytes_shown(peak)} of {bytes_shown(limit)} (--ncnn-parity-memory)"
        return "memory", f"{what}: {code}, given no more memory; {share}"
    room = f"{bytes_shown(limit - peak)} (--ncnn-parity-memory)"
    return "refused", f"{what}: {code}: it is empty, or larger than {room}"
