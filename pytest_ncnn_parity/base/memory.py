"""How much memory a worker may hold: read from an option, and how much this machine has."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path

_UNITS = {"": 20, "k": 10, "m": 20, "g": 30, "t": 40}  # a number without a unit is in MiB
_MOST = 1 << 60  # more than any machine has, and not too much for a system to take as a limit
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])?(?:i?b)?|(%))", re.IGNORECASE)
_CGROUPS = Path("/sys/fs/cgroup")


def parse(text: str) -> int | None:
    """The bytes of `8GiB`, `512` (MiB) or `75%` (of this machine's memory); None for other text."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit, percent = match.groups()
    size = float(number)
    if percent:
        return int(size / 100 * machine()) if 0 < size <= 100 else None
    size *= 1 << _UNITS[(unit or "").lower()]
    return int(min(size, _MOST)) or None if math.isfinite(size) else None


def machine() -> int:
    """Bytes this process may use: the machine's memory, or less where it is limited to less."""
    from pytest_ncnn_parity.base import system  # noqa: PLC0415 - psutil, which workers do not need

    addresses = most_addresses()
    limits = _of_groups() if addresses is None else [*_of_groups(), addresses]
    return min([system.memory_bytes(), *limits])


def most_addresses() -> int | None:
    """The bytes of addresses that `ulimit -v` allows this process; None if there is no limit.

    To run out of them ends a worker as a lack of memory does.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else int(limit)


def _of_groups() -> list[int]:
    """The limits of the control groups (v1 and v2) this process is in."""
    limits = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                limits += _upwards(_CGROUPS, path, "memory.max")
            elif "memory" in controllers.split(","):
                limits += _upwards(_CGROUPS / "memory", path, "memory.limit_in_bytes")
    return limits


def _upwards(root: Path, path: str, name: str) -> list[int]:
    """The limits in the files called `name` of a control group and of all groups above it.

    In a container the group may not exist below `root`, which is then the container's own group.
    """
    group = root / path.lstrip("/")
    limits = []
    for folder in (group, *group.parents):
        if folder.is_relative_to(root):
            with suppress(OSError, ValueError):  # the file does not exist, or contains `max`
                limits.append(int((folder / name).read_text("utf-8")))
    return limits
