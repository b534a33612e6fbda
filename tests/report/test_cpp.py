"""The C++ twin of a repro: what its text takes from names and comments that are not plain."""

from __future__ import annotations

import pytest
import tree_sitter
import tree_sitter_cpp

from pytest_ncnn_parity.report.repro import cpp

HOSTILE = ['a"b', "a\\", "a\nb", "é/ü", "??/", "\udcff", "9\x019", "*/", "{$name}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_one_literal_of_its_bytes(name: str) -> None:
    text = cpp.quoted(name)
    assert text.isascii()
    assert "\n" not in text
    language = tree_sitter.Language(tree_sitter_cpp.language())
    root = tree_sitter.Parser(language).parse(f"const char* x = {text};".encode()).root_node
    assert not root.has_error
    escapes = text[1:-1].encode("ascii").decode("unicode_escape").encode("latin-1")
    assert escapes == name.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("line", ["ends in \\", "a\rb", "a\u2028b", ""])
def test_a_comment_is_one_line(line: str) -> None:
    comment = cpp.commented(line)
    assert comment.startswith("//")
    assert not comment.endswith("\\"), "which would go on in the next line"
    assert len(comment.splitlines()) == 1
