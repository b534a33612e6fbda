"""Fits lines to the width of a terminal, by wrapping or cutting them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

PASTED = " " * 6  # a line with this indentation is meant to be copied, and is not wrapped

_DOTS = "..."
_LEAST = 8  # characters that remain of a text that is cut at its beginning


def fitted(line: str, width: int, pasted: bool = True) -> Iterator[str]:
    """Yield `line` wrapped to `width` columns, the continuation lines indented deeper.

    With `pasted`, a line that is indented by PASTED is meant to be copied and stays whole.
    """
    if len(line) <= width or (pasted and line.startswith(PASTED)):
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())] + "  "
    yield from textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)


def cut(text: str, width: int) -> str:
    """Return `text`, with its end replaced by dots if it is longer than `width` columns."""
    return text if len(text) <= width else text[: max(0, width - len(_DOTS))] + _DOTS


def cut_left(text: str, width: int, least: int = _LEAST) -> str:
    """Return `text`, with its beginning replaced by dots if it is longer than `width` columns.

    The last `least` characters always remain.
    """
    if len(text) <= width:
        return text
    return _DOTS + text[-max(least, width - len(_DOTS)) :]


def cut_middle(text: str, width: int) -> str:
    """Return `text`, with its middle replaced by dots if it is longer than `width` columns."""
    if len(text) <= width:
        return text
    kept = max(2, width - len(_DOTS))
    return text[: kept - kept // 2] + _DOTS + text[-(kept // 2) :]
