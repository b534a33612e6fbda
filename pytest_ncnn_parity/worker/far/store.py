"""Files and limits on a declared worker. Sent there with `server`, so it needs only Python 3.9."""

from __future__ import annotations

import hashlib
import os
import resource
import tempfile
from contextlib import suppress

CACHE_BYTES = 4 << 30  # of weights that are kept from one run to the next
SAID_BYTES = 1 << 16  # of native code's output that are sent with one answer
BLOCK = 1 << 20


class Refused(Exception):
    """Raised if a request cannot be fulfilled; the message is for the user."""


class Said:
    """Captures what native code prints, in an unnamed file."""

    def __init__(self) -> None:
        try:
            self.file = os.memfd_create("said")
        except (AttributeError, OSError):
            with tempfile.TemporaryFile() as file:
                self.file = os.dup(file.fileno())

    def take(self) -> str:
        """Return the last SAID_BYTES of what was printed since the previous call."""
        size = os.fstat(self.file).st_size
        text = os.pread(self.file, SAID_BYTES, max(0, size - SAID_BYTES))
        os.ftruncate(self.file, 0)
        os.lseek(self.file, 0, os.SEEK_SET)
        return text.decode("utf-8", "replace")


class SentWeights:
    """Weights files, named by their SHA-256 digests, in a folder of limited size (CACHE_BYTES)."""

    def __init__(self) -> None:
        self._folder = ""

    def path(self, sha256: str) -> str:
        return os.path.join(self._folder, sha256)  # noqa: PTH118

    def has(self, sha256: str, size: int) -> bool:
        if not self._folder:
            self._folder = _folder()
        with suppress(OSError):
            if os.stat(self.path(sha256)).st_size == size:  # noqa: PTH116
                os.utime(self.path(sha256))
                return True
        return False

    def add(self, sha256: str, size: int, offset: int, data: memoryview) -> bool:
        """Store the part of the file at `offset`, and return whether the file is complete.

        Raises Refused if it cannot be written or its digest is wrong.
        """
        part = f"{self.path(sha256)}.{os.getpid()}"
        try:
            with open(part, "ab" if offset else "wb") as file:  # noqa: PTH123
                file.write(data)
            if offset + data.nbytes < size:
                return False
            if _digest(part) != sha256:
                _discard(part)
                raise Refused("the weights did not arrive as they were sent")
            os.replace(part, self.path(sha256))  # noqa: PTH105
        except OSError as error:
            _discard(part)
            raise Refused(f"cannot write the weights to {self._folder}: {error.strerror}") from None
        with suppress(OSError):  # another server, which shares the folder, was faster
            self._evict(self.path(sha256))
        return True

    def _evict(self, keep: str) -> None:
        """Remove the least recently used files, but not `keep`, until the rest fits the limit."""
        files = [entry for entry in os.scandir(self._folder) if entry.is_file()]
        total = sum(entry.stat().st_size for entry in files)
        for entry in sorted(files, key=lambda one: one.stat().st_mtime):
            if total <= CACHE_BYTES:
                return
            if entry.path != keep:
                total -= entry.stat().st_size
                os.unlink(entry.path)  # noqa: PTH108


def _folder() -> str:
    """Return a folder for weights: in the user's cache, or a temporary one if that is not writable.

    Raises Refused if there is neither.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = os.path.join(home, "ncnn-parity", "weights")  # noqa: PTH118
    with suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        if os.access(folder, os.W_OK):
            return folder
    try:
        return tempfile.mkdtemp(prefix="ncnn-parity-")
    except OSError as error:
        raise Refused(f"there is no folder to write the weights to: {error}") from None


def _discard(part: str) -> None:
    with suppress(OSError):
        os.unlink(part)  # noqa: PTH108


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def limit_memory(most: float | None) -> None:
    """Have the system write no core file, and limit memory to `most` bytes; None: no limit.

    Up to 1, `most` is a share of the machine's memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if most is None:
        return
    if most <= 1:
        most *= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
