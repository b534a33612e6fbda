"""Reads files from untrusted sources: where they may lie, and how much of them is read."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from pytest_ncnn_parity.base.errors import ParityError, Place, cut, guess

OUTSIDE = (
    "{lies} outside of the rootdir {root}, so it is not read; "
    "--ncnn-parity-allow-outside (ini: ncnn_parity_allow_outside) allows it"
)

_POINTER = b"version https://git-lfs.github.com/spec/"  # its specification, docs/spec.md in git-lfs
_MOST_OF_POINTER = 1024  # bytes

MOST_SHOWN = 300  # characters of a path in a message


class Unreadable(ParityError):
    """A file that does not hold the text it should: `what` is wrong with it, and where, if anywhere."""

    def __init__(self, path: str, what: str, place: Place | None = None) -> None:
        super().__init__(f"{path}:{place}: {what}" if place else f"{path}: {what}")
        self.what = what
        self.place = place


def written(text: str, folder: Path) -> Path:
    """The path that somebody wrote as `text` in `folder`; `~` and `~user` are homes, as in a shell."""
    path = Path(text)
    with suppress(RuntimeError):  # there is no such user, and then a shell leaves it as it is
        path = path.expanduser()
    return folder / path


def shown(path: Path) -> str:
    """`path` for a message."""
    return cut(str(path), MOST_SHOWN)


def problem(path: Path, root: Path | None) -> str:
    """Why the file at `path` cannot or must not be read; "" where it can be.

    Where there is a `root`, the file must lie below it once all links are followed. Only a regular file
    is opened: opening a pipe would wait for its other end.
    """
    try:
        if root is not None and not _inside(path, root):
            named = Path(os.path.normpath(path.absolute()))
            link = f"is a link to {shown(Path(os.path.realpath(path)))},"
            return OUTSIDE.format(root=root, lies=link if named.is_relative_to(root) else "lies")
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            return f"is a link to {shown(path.readlink())}, which does not exist"
        return f"does not exist{_beside(path)}"
    except (OSError, ValueError) as error:  # the name is too long, is a loop of links, or contains a NUL
        return f"cannot be read: {_reason(error)}"
    if not stat.S_ISREG(status.st_mode):
        return f"is not a file{' but a folder' if stat.S_ISDIR(status.st_mode) else ''}"
    if not os.access(path, os.R_OK):
        return "cannot be read: permission denied"
    if status.st_size <= _MOST_OF_POINTER and _starts(path, _POINTER):
        return "is only a pointer of Git LFS: 'git lfs pull' fetches the file itself"
    return ""


def text(path: Path, root: Path | None, most: int, expected: str) -> str:
    """The UTF-8 text of the file at `path`. Raises Unreadable, also where it has more than `most` bytes.

    `expected` completes the message for a file of another kind: "expected a spec in YAML".
    """
    name = shown(path)
    why_not = problem(path, root)
    if why_not:
        raise Unreadable(name, why_not)
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise Unreadable(name, f"cannot be read: {_reason(error)}") from None
    if len(raw) > most:
        raise Unreadable(name, f"larger than {most >> 20} MiB; {expected}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        advice = "it looks like UTF-16: save it as UTF-8" if wide else expected
        what = f"not UTF-8 text (byte {raw[error.start]:#04x}); {advice}"
        raise Unreadable(name, what, Place(line, column)) from None


def _starts(path: Path, with_: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(with_)) == with_
    except OSError:
        return False  # whoever reads the file will say why


def _inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _beside(path: Path) -> str:
    """A guess at the file that was meant: one beside it with a similar name, and a similar suffix."""
    try:
        others = list(path.parent.iterdir())
    except OSError:  # there is no such folder, or we may not list it
        return ""
    suffixes = {one.suffix for one in others}
    alike = {suffix for suffix in suffixes if not path.suffix or guess(path.suffix, [suffix])}
    return guess(path.name, [one.name for one in others if one.suffix in alike])


def _reason(error: Exception) -> str:
    """What the system says, without the path, which the message has already."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
