"""The one exception tree, and the guess a message may end in.

Each message says what was found, where, and what to do.
"""

from __future__ import annotations

import difflib
from typing import Any


class ParityError(Exception):
    """What a user did or gave that cannot work; its text is the whole message."""


def guess(word: str, known: Any) -> str:
    """`; did you mean 'x'` where something known is near `word`, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}" if near else ""
