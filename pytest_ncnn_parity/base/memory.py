"""Sizes of memory: as users write them, as messages show them, and how much this machine has. Pure."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_UNITS = {"": 20, "k": 10, "m": 20, "g": 30, "t": 40}  # MiB where no unit is given
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])?(?:i?b)?|(%))", re.IGNORECASE)
_CGROUPS = Path("/sys/fs/cgroup")


def parse(text: str) -> int | None:
    """Bytes of `8GiB`, `512` (MiB) or `75%` (of this machine's memory); None of anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit, percent = match.groups()
    if percent:
        return int(float(number) / 100 * machine()) if 0 < float(number) <= 100 else None
    return int(float(number) * (1 << _UNITS[(unit or "").lower()])) or None


def shown(size: int) -> str:
    """`size` bytes to read: 312 MiB, 7.5 GiB."""
    if size < 1 << 30:
        return f"{size / (1 << 20):.3g} MiB" if size < 999 << 20 else f"{size >> 20} MiB"
    return f"{size / (1 << 30):.3g} GiB"


def machine() -> int:
    """Bytes this process may count on: the machine's, or less where its control group says so."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])


def _limits() -> list[int]:
    """The limits of the control groups (v1 and v2) this process is in."""
    found = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                found += _up(_CGROUPS, path, "memory.max")
            elif "memory" in controllers.split(","):
                found += _up(_CGROUPS / "memory", path, "memory.limit_in_bytes")
    return found


def _up(root: Path, path: str, name: str) -> list[int]:
    """What the files `name` of a group and of those above say. In a container the root is its own."""
    group = root / path.lstrip("/")
    found = []
    for folder in (group, *group.parents):
        if folder.is_relative_to(root):
            with suppress(OSError, ValueError):  # not there, or `max`
                found.append(int((folder / name).read_text()))
    return found
