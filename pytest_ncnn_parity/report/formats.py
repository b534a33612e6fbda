"""The table of report formats. A new format is a module with a `render`, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from pytest_ncnn_parity.base.frozen import Frozen

if TYPE_CHECKING:  # options must be known before anything heavy may be imported
    from pytest_ncnn_parity.report.document import Report


class Format(Frozen):
    """A kind of report file, asked for with `--ncnn-parity-NAME=FILE`.

    `module`, below this folder, has the function `render`, which returns the file's text for a document.
    It may import the packages in `needs`, which the extra of the same name installs.
    """

    name: str
    help: str
    module: str
    needs: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return f"--ncnn-parity-{self.name}"

    @property
    def render(self) -> Callable[[Report], str]:
        """Import the module, and return its function from a document to the text of the file."""
        render: Callable[[Report], str] = import_module(f"{__package__}.{self.module}").render
        return render


FORMATS = {
    one.name: one
    for one in (
        Format("json", "write the results to FILE as JSON", "document"),
        Format(
            "html",
            "write the results to FILE as one HTML page that opens offline",
            "html",
            needs=("bokeh", "jinja2"),
        ),
    )
}
