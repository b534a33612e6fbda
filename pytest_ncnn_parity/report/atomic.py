"""A report's text, on disk whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write(text: str, path: Path) -> None:
    """Write `text` to `path` as UTF-8. Raises OSError when the place cannot be written.

    A lone surrogate, as a file name that is not UTF-8 has, is written as `\\udcff`: in a JSON string
    that is its escape, and elsewhere it can be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        Path(fresh).chmod(0o666 & ~_umask())
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink()
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
