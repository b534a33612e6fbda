"""SHA-256 digests of files and texts. A file is read again only if its size or its time has changed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

BLOCK = 1 << 20

_known: dict[tuple[str, int, int, int], str] = {}  # the key is path, inode, size and time of change


def of_file(path: Path) -> str:
    """The hexadecimal digest of the file at `path`. Raises OSError, also if it is no regular file."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end
        raise OSError(errno.EINVAL, "is not a file", str(path))
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in _known:
            digest = sha256()
            while block := file.read(BLOCK):
                digest.update(block)
            _known[key] = digest.hexdigest()
    return _known[key]


def of_texts(texts: Iterable[str]) -> str:
    """The hexadecimal digest of a list of texts; their order and the cuts between them count."""
    digest = sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()
