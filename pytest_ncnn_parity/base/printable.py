r"""Text from models, specs, drivers and stderr, made harmless where people and machines read it.

What could move a cursor, hide or reorder text, tear a line, or be taken for a command by a CI log is
shown as an escape (`\x1b`). Names in the JSON report stay exact; what is printed goes through here.
"""

from __future__ import annotations

import re
import unicodedata

# GitHub's runner takes `::error ...` at the start of a line (blanks before it are skipped) and
# `##[error]` anywhere for a command; wrapping may put any word at the start of a line.
_COMMAND = re.compile(r"(?<!\S)::|##\[")


def printable(text: str, lines: bool = False) -> str:
    """`text` with control, format, bidi and lone surrogate characters escaped.

    `lines`: the text may have several lines, so `\\n` stays.
    """
    if not text.isprintable():
        text = "".join(c if _stays(c, lines) else _escaped(c) for c in text)
    return _COMMAND.sub(_broken, text) if "::" in text or "##[" in text else text


def is_printable(text: str) -> bool:
    """Whether `text` is one line of characters that stay as they are; spaces of any language do."""
    return text.isprintable() or all(_stays(char, lines=False) for char in text)


def _stays(char: str, lines: bool) -> bool:
    return char.isprintable() or (lines and char == "\n") or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _broken(match: re.Match[str]) -> str:
    command = match.group()
    return f"\\x{ord(command[0]):02x}{command[1:]}"


def bytes_shown(size: int) -> str:
    """`size` in bytes as people read it: 312 MiB, 7.5 GiB."""
    if size < 1 << 30:
        return f"{size / (1 << 20):.3g} MiB" if size < 999 << 20 else f"{size >> 20} MiB"
    return f"{size / (1 << 30):.3g} GiB"
