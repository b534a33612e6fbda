"""The files whose machine code a worker ran: interpreter, ncnn, numpy, Vulkan's loader, drivers, LLVM.

Only a worker knows which these are. So they are stored with its verdicts, and checked before those are
used: that a driver was replaced is noticed without starting a driver.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from pytest_ncnn_parity.base import digests
from pytest_ncnn_parity.base.frozen import Frozen

_MAPS = "/proc/{}/maps"


class CodeFile(Frozen):
    """A file as it was. `size` in bytes, `changed` in nanoseconds."""

    path: str
    size: int
    changed: int
    sha256: str


def mapped(pid: int) -> list[CodeFile] | None:
    """The files whose code the process `pid` has mapped; None if that cannot be known.

    The list is empty on a system that does not show them at all, such as macOS, whose drivers belong to
    its release. On Windows a driver may change without it, so nothing is kept there.
    """
    if sys.platform == "win32":
        return None
    if not Path(_MAPS.format("self")).exists():
        return []
    try:
        lines = Path(_MAPS.format(pid)).read_text("utf-8", "surrogateescape").splitlines()
        paths = sorted({path for line in lines if (path := executable(line))})
        return [_identified(path) for path in paths]
    except OSError:  # the process has ended, or a file was replaced while it ran
        return None


def executable(line: str) -> str:
    """The file of an executable mapping; "" for memory without a file, devices, and generated code.

    Drivers and libffi keep generated code in files that they delete at once. A deleted library was
    replaced.
    """
    _, permissions, _, _, _, *path = line.split(None, 5)
    if not path or "x" not in permissions or not path[0].startswith("/"):
        return ""
    generated = path[0].endswith(" (deleted)") and ".so" not in path[0]
    return "" if generated or path[0].startswith(("/dev/", "/memfd:", "/SYSV")) else path[0]


def _identified(path: str) -> CodeFile:
    status = Path(path).stat()
    return CodeFile(path, status.st_size, status.st_mtime_ns, digests.of_file(Path(path)))


def unchanged(files: Iterable[CodeFile]) -> bool:
    """Whether no file has changed. A file is read only if its modification time differs."""
    return all(map(_unchanged, files))


def _unchanged(file: CodeFile) -> bool:
    path = Path(file.path)
    try:
        status = path.stat()
        if status.st_size != file.size:
            return False
        return status.st_mtime_ns == file.changed or digests.of_file(path) == file.sha256
    except (OSError, ValueError):
        return False
