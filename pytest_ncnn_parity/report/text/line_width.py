"""Lines fitted to a terminal's width: wrapped, or cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

PASTED = " " * 6  # a line with this indentation is to be copied, and is never wrapped

_DOTS = "..."
_LEAST = 8  # characters kept at the beginning of a text that is cut


def fitted(line: str, width: int, pasted: bool = True) -> Iterator[str]:
    """`line` in lines of at most `width`, the later ones indented deeper.

    What is meant to be pasted stays whole, where anything is: `pasted`.
    """
    if len(line) <= width or (pasted and line.startswith(PASTED)):
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())] + "  "
    yield from textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)


def cut(text: str, width: int) -> str:
    """`text` on one line of at most `width`, its end left out."""
    return text if len(text) <= width else text[: max(0, width - len(_DOTS))] + _DOTS


def cut_left(text: str, width: int, least: int = _LEAST) -> str:
    """`text` on one line of at most `width`, its beginning left out but never its last `least`."""
    if len(text) <= width:
        return text
    return _DOTS + text[-max(least, width - len(_DOTS)) :]


def cut_middle(text: str, width: int) -> str:
    """`text` on one line of at most `width`, its middle left out."""
    if len(text) <= width:
        return text
    kept = max(2, width - len(_DOTS))
    return text[: kept - kept // 2] + _DOTS + text[-(kept // 2) :]
