"""The HTML report: one file that opens offline. Needs Bokeh and Jinja2; imported to write one only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_ncnn_parity.base import write_files
from pytest_ncnn_parity.report.html.page import render


def write(document: dict[str, Any], path: Path) -> None:
    """Write the page of `document`, the JSON report's, to `path`. Raises OSError like the JSON's."""
    write_files.write(render(document), path, "backslashreplace")
