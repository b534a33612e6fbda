"""The one exception tree, and how its messages quote names and values.

Each message says what was found, where, and what to do.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence, Sized
from itertools import islice

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable

MOST_ERRORS = 20  # how many are reported at once; of more, the first ones
MOST_NAMED = 8  # how many names one message lists
_MOST_GUESSED = 5_000  # how many names are searched for one that is spelled alike

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


class Place(Frozen):
    """A line and a column of a text file, both from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class ParityError(Exception):
    """A mistake of the user's, or a file that cannot be used; its text is the whole message.

    `place`: where in the file it is, or the first of several.
    """

    place: Place | None = None


class ParityErrors(ParityError):
    """Everything that is wrong with one file, a line each; only the first where there are very many."""

    def __init__(self, errors: Iterable[str]) -> None:
        first = list(islice(errors, MOST_ERRORS + 1))
        self.errors = [*first[:MOST_ERRORS], "... and more"] if len(first) > MOST_ERRORS else first
        super().__init__("\n".join(self.errors))


def guess(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'` where one of the `known` names is near `word`, else nothing."""
    if isinstance(known, Sized) and len(known) > _MOST_GUESSED:
        return ""
    names = list(known)
    alike = [name for name in names if name.casefold() == word.casefold()]
    near = alike or difflib.get_close_matches(word[:256], names, 1)
    return f"; did you mean {quoted(near[0])}" if near else ""


def counted(count: int, thing: str) -> str:
    """`1 value`, or `2 values`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def listed(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """`a, b, c`, or `a, b and 5 more`: of many names only the first `most`."""
    more = len(names) - most
    return f"{', '.join(names[:most])} and {more} more" if more > 0 else ", ".join(names)


def quoted(value: object) -> str:
    """`value` as Python writes it, which is printable; a long one loses its middle."""
    return _repr.repr(value)


def in_one_line(error: BaseException) -> str:
    """The kind and the text of an exception from code that is not ours, which may be of any length."""
    try:
        said = str(error)
    except Exception as another:
        said = f"its text cannot be made ({type(another).__name__})"
    text = f"{type(error).__name__}: {said}".rstrip(": ")
    return cut(" ".join(text.split()), 300)


def cut(text: str, most: int = 60) -> str:
    """`text` without quotes, made printable; a long one loses its end."""
    return printable(text if len(text) <= most else text[: most - 3] + "...")
