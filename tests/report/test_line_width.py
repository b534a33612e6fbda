"""Lines fitted to a terminal's width."""

import pytest

from pytest_ncnn_parity.report.text.line_width import PASTED, fitted


@pytest.mark.parametrize("width", [40, 80])
def test_lines_are_fitted(width: int) -> None:
    line = "    worst: " + "a" * 30 + " " + "b" * 30 + " " + "c" * 100
    lines = list(fitted(line, width))
    assert max(map(len, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(line.split()), "nothing is lost"
    assert all(row.startswith(" " * 6) for row in lines[1:])
    assert list(fitted(PASTED + "x" * 200, width)) == [PASTED + "x" * 200]
