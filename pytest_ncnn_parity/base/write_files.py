"""Files are written whole or not at all, even where several processes write the same one."""

from __future__ import annotations

import secrets
from pathlib import Path

_MOST_LINKS = 40  # as many as Linux follows


def write(text: str, path: Path, errors: str = "strict") -> None:
    """Write `text` to `path` as UTF-8, creating its folder. Raises OSError where that fails.

    A link is followed; anything but a regular file (a folder, a device) is refused. `errors` says how
    to write a lone surrogate, which UTF-8 cannot hold: `backslashreplace` writes it as `\\udcff`,
    which in a JSON string is its escape and elsewhere can be read.
    """
    if not may_be_written(path):
        raise OSError(f"{path} exists and is not a regular file")
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.new")
    try:
        with fresh.open("x", encoding="utf-8", errors=errors, newline="") as file:
            file.write(text)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def may_be_written(path: Path) -> bool:
    """Whether nothing but a regular file is at `path`, also behind links.

    Links that pass /proc, such as /dev/stdout, lead to what this process has open: that must not be
    replaced.
    """
    if not path.exists():
        return True
    if not path.is_file():
        return False
    for _ in range(_MOST_LINKS):
        path = path.parent.resolve() / path.name
        if path.is_relative_to("/proc"):
            return False
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return True
