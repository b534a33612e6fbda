"""The one exception tree, and how messages quote what was found.

Each message says what was found, where, and what to do.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sized
from itertools import islice
from typing import Any

from pytest_ncnn_parity.base.printable import printable

MOST = 20  # errors told at once: past that, mending begins with those
_MOST_GUESSED = 5_000  # names that are searched for one near a word

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


class ParityError(Exception):
    """What a user did or gave that cannot work; its text is the whole message."""


class ParityErrors(ParityError):
    """Everything that is wrong with one file, a line each; of very many the first."""

    def __init__(self, errors: Iterable[str]) -> None:
        found = list(islice(errors, MOST + 1))
        self.errors = [*found[:MOST], "... and more"] if len(found) > MOST else found
        super().__init__("\n".join(self.errors))


def guess(word: str, known: Any) -> str:
    """`; did you mean 'x'` where something known is near `word`, else nothing."""
    if isinstance(known, Sized) and len(known) > _MOST_GUESSED:
        return ""
    near = difflib.get_close_matches(word[:256], list(known), 1)
    return f"; did you mean {quoted(near[0])}" if near else ""


def quoted(value: object) -> str:
    """`value` as Python writes it, which is printable; long ones without their middle."""
    return _repr.repr(value)


def cut(text: str, most: int = 60) -> str:
    """`text` without quotes: printable, its end left out where it is long."""
    return printable(text if len(text) <= most else text[: most - 3] + "...")
