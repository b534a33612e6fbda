"""Files are written whole or not at all, even where several processes write the same one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write(text: str, path: Path, errors: str = "strict") -> None:
    """Write `text` to `path` as UTF-8, creating its folder. Raises OSError where that fails.

    A link is followed; anything but a regular file (a folder, a device) is refused. `errors` says how
    to write a lone surrogate, which UTF-8 cannot hold: `backslashreplace` writes it as `\\udcff`,
    which in a JSON string is its escape and elsewhere can be read.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError("it exists and is not a regular file")
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
