"""Files written whole or not at all, whoever writes the same one beside us."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write(text: str, path: Path, errors: str = "strict") -> None:
    """Write `text` to `path` as UTF-8, its folder made. Raises OSError when that cannot be.

    A link is followed; what is there and no regular file (a folder, a device) is refused. `errors` is
    for what is no UTF-8, a lone surrogate: `backslashreplace` makes it `\\udcff`, in a JSON string its
    escape, and elsewhere to be read.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError("it is there, and no regular file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors=errors, newline="") as file:
            file.write(text)
        Path(fresh).chmod(0o666 & ~_umask())
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
