"""Limits that a worker sets for itself when it starts: a limit on its memory, and no core dumps.

Where the operating system has no means for a limit, the parent process enforces it instead.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from pytest_ncnn_parity.base.memory import most_addresses
from pytest_ncnn_parity.base.printable import bytes_shown
from pytest_ncnn_parity.engine.steps import DeathKind

resource: ModuleType | None
try:
    import resource
except ImportError:  # on Windows
    resource = None

_PR_SET_PDEATHSIG = 1  # from sys/prctl.h
_NO_ERROR_BOXES = 0x8007  # for SetErrorMode: a crash must not wait until somebody closes a dialog
NO_BLOB = -100  # an empty Mat (src/net.cpp)


def take(wanted: int | None) -> dict[str, bool]:
    """Set the limits: end with the parent, write no core file, hold at most `wanted` bytes (None: any).

    Returns what the system could not do: `unguarded` if the process does not end with its parent,
    `unlimited` if its memory is not limited.
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
    """Have Linux kill this process once the thread that started it ends; return whether it will.

    A hung native step would not notice that stdin was closed.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError, TypeError):
        return False
    return bool(prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def _limit(wanted: int) -> bool:
    """Limit the memory of this process to `wanted` bytes; return whether the system can.

    Only on Linux does the limit cover memory that was not allocated by sbrk.
    """
    if resource is None or sys.platform != "linux":
        return False
    # not RLIMIT_AS, because drivers reserve terabytes of address space and use hardly any of it
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return True


def trim() -> None:
    """Give freed memory back to the system, where the C library keeps it and can be asked to (glibc)."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def peak() -> int:
    """Return the most memory that this process is known to have held, in bytes; 0 but on Linux.

    Of resident memory the peak is known; of what the limit counts (RLIMIT_DATA), the present size.
    """
    return _largest("VmHWM", "VmData")


def _largest(*names: str) -> int:
    """Return the largest of these sizes of this process, in bytes, by Linux' names; 0 but on Linux."""
    largest = 0
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name in names:
                largest = max(largest, int(value.split()[0]) * 1024)
    return largest


def most() -> int | None:
    """Return how many bytes the system lets this process hold, or None if there is no limit."""
    if resource is None or sys.platform != "linux":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else int(soft)


def has_held_less_than_half() -> bool:
    """Return whether the peak memory of this process is below half of its limit, or it has no limit."""
    limit = most()
    return limit is None or 2 * peak() < limit


def at_most_a_quarter(size: int) -> int:
    """Return `size` (bytes), but at most a quarter of this process's memory limit."""
    limit = most()
    return size if limit is None else min(size, limit // 4)


def refused(what: str, code: int) -> tuple[DeathKind, str]:
    """Return the kind and the detail of the death of a step in which ncnn gave `code` for `what`.

    ncnn gives -100 for a blob without memory, but also for one without elements. Which of them it was
    is judged by how much memory this process has held.
    """
    limit = most()
    if code != NO_BLOB or limit is None:
        return "refused", f"{what}: {code or 'it is empty'}"
    allowed, addresses = most_addresses(), _largest("VmPeak")
    if allowed is not None and 2 * addresses > allowed:
        share = (
            f"it has used {bytes_shown(addresses)} of {bytes_shown(allowed)} of addresses (ulimit -v)"
        )
        return "memory", f"{what}: {code}, given no more memory; {share}"
    held = peak()
    if 2 * held > limit:
        share = f"it has held {bytes_shown(held)} of {bytes_shown(limit)} (--ncnn-parity-memory)"
        return "memory", f"{what}: {code}, given no more memory; {share}"
    room = f"{bytes_shown(limit - held)} (--ncnn-parity-memory)"
    return "refused", f"{what}: {code}: nothing was made, unless it would be larger than {room}"
