"""Model files that change while they are tested: a verdict would compare two models with each other."""

from __future__ import annotations

from pathlib import Path

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.engine.protocol import Model

State = tuple[int, int] | None  # when a file was written, in ns, and its bytes; None of one that is gone


class Unchanged:
    """Knows the state in which each file was first seen."""

    def __init__(self) -> None:
        self._first: dict[str, State] = {}

    def check(self, model: Model) -> None:
        """Raise ParityError if a file that ncnn reads for `model` is not as at the first check."""
        files = (model.bin,) if model.text is not None else (model.param, model.bin)
        for file in files:
            state = _state(file)
            if self._first.setdefault(file, state) != state:
                what = "has changed" if state else "was removed"
                raise ParityError(f"{file} {what} while it was tested: run the gate again")


def _state(file: str) -> State:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
