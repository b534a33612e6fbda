"""Lines fitted to a terminal's width.

A module of its own, though a small one: pytest's nodes fit a case's failure with it and the terminal
report its summary, and neither may import the other.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

PASTED = " " * 6  # a line that begins so is meant to be copied, and stays whole


def fitted(line: str, width: int, pasted: bool = True) -> Iterator[str]:
    """`line` in lines of at most `width`, the later ones indented deeper.

    What is meant to be pasted stays whole, where anything is: `pasted`.
    """
    if len(line) <= width or (pasted and line.startswith(PASTED)):
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())] + "  "
    yield from textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
