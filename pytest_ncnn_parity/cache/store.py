"""Stores texts under keys, each in a file of one folder. A damaged or foreign file counts as missing.

A key is a mapping of parts. Files are written whole, so several processes may share the folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pytest_ncnn_parity.base import digests, strict_json, write_files
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.cache import code_files
from pytest_ncnn_parity.cache.code_files import CodeFile

SUFFIX = ".verdicts.json"
MOST_SECONDS = 30 * 86400  # an entry is dropped when it has not been used for so long
MOST_BYTES = 256 << 20  # of all entries together


class _Entry(Frozen):
    parts: Mapping[str, str]
    code: tuple[CodeFile, ...]
    text: str


@cache
def _adapter() -> TypeAdapter[_Entry]:
    return TypeAdapter(_Entry)


class Store:
    """The folder's entries. Those unused for a month are removed, and the oldest beyond 256 MiB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pruned = False

    def read(self, parts: Mapping[str, str]) -> str | None:
        """The text kept under `parts`; None if there is none, or if its code has changed since."""
        path = self._path(parts)
        if not path.is_file():  # opening a pipe would wait for its other end
            return None
        try:
            checksum, _, body = path.read_text("utf-8").partition("\n")
            if checksum != digests.of_texts([body]):
                return None
            entry = _adapter().validate_json(body)
        except (OSError, ValueError, ValidationError):
            return None
        if entry.parts != parts or not code_files.unchanged(entry.code):
            return None
        with suppress(OSError):  # the file may belong to another user, or the disk may be read-only
            os.utime(path)
        return entry.text

    def write(self, parts: Mapping[str, str], text: str, code: Sequence[CodeFile]) -> None:
        """Keep `text` under `parts`. Raises OSError."""
        body = strict_json.line(_Entry(parts, tuple(code), text))
        write_files.write(f"{digests.of_texts([body])}\n{body}", self._path(parts))
        if not self._pruned:
            self._pruned = True
            self._prune()

    def _path(self, parts: Mapping[str, str]) -> Path:
        name = digests.of_texts(text for part in sorted(parts.items()) for text in part)
        return self._folder / f"{name[:40]}{SUFFIX}"

    def _prune(self) -> None:
        used: list[tuple[float, int, Path]] = []
        # files of the second kind are left by a process that was killed
        for pattern in (f"*{SUFFIX}", f".*{SUFFIX}.*.new"):
            for path in self._folder.glob(pattern):
                with suppress(OSError):  # another process has already deleted it
                    status = path.stat()
                    used.append((status.st_mtime, status.st_size, path))
        size, oldest = 0, time.time() - MOST_SECONDS
        for when, own, path in sorted(used, reverse=True):
            size += own
            if size > MOST_BYTES or when < oldest:
                with suppress(OSError):
                    path.unlink()
