"""Reads a recorded array's dtype from its header: collecting a spec does not import numpy."""

from __future__ import annotations

import ast
import zipfile
import zlib
from pathlib import Path
from typing import IO

_MAGIC = b"\x93NUMPY"
_LONGEST = 10_000  # bytes of a header; numpy has the same limit


def holds_integers(path: Path, key: str | None) -> bool | None:
    """Whether the array in a .npy, or that of `key` in an .npz, holds integers.

    None if that is not known; the worker, which reads the whole file, then says why. The format:
    numpy/lib/format.py.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                return _of_header(file)
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                name = names[0] if key is None and len(names) == 1 else f"{key}.npy"
                with archive.open(name) as member:
                    return _of_header(member)
    except (OSError, ValueError, SyntaxError, KeyError, RuntimeError, EOFError, TypeError):
        return None
    except (zipfile.BadZipFile, zlib.error, MemoryError):
        return None


def _of_header(file: IO[bytes]) -> bool | None:
    start = file.read(8)
    if start[:6] != _MAGIC:
        return None
    size = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
    header = ast.literal_eval(file.read(min(size, _LONGEST)).decode("utf-8"))
    kind = header["descr"]
    if not isinstance(kind, str):  # a record of several fields, which is refused when it is loaded
        return None
    return kind.lstrip("<>|=").startswith(("i", "u"))
