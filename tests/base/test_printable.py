"""Text that is printed moves no cursor and commands no runner."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ncnn_parity.base.printable import printable


@given(st.text(), st.booleans())
def test_nothing_that_moves_a_cursor_or_commands_a_runner_is_left(text: str, lines: bool) -> None:
    shown = printable(text, lines=lines)
    for char in shown:
        kept = unicodedata.category(char) == "Zs" or (lines and char == "\n")
        assert char.isprintable() or kept
    assert not re.search(r"(?m)^\s*::|##\[", shown)
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv_1 (Convolution)", "conv_1 (Convolution)"),
        ("größe 大きさ", "größe 大きさ"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\r\nb\tc\x7f\x85", r"a\r\nb\tc\x7f\x85"),
        ("a\u2028b\u202ec\u2066\ufeff", r"a\u2028b\u202ec\u2066\ufeff"),
        ("a\udc80", r"a\udc80"),
        ("::error::x", r"\x3a:error::x"),
        ("x ::stop-commands::y", r"x \x3a:stop-commands::y"),
        ("net.parity.yaml::s::c::l", "net.parity.yaml::s::c::l"),
        ("##[error]x", r"\x23#[error]x"),
    ],
)
def test_escapes_are_visible(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_where_text_has_lines() -> None:
    assert printable("a\nb\r\n::c", lines=True) == "a\nb\\r\n\\x3a:c"
