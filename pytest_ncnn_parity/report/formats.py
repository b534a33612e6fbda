"""The table of report formats. A new format is a module with a `render`, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # options must be known before anything heavy may be imported
    from pytest_ncnn_parity.report.document import Report


@dataclass(frozen=True)
class Format:
    """A kind of report file, asked for with `--ncnn-parity-NAME=FILE`.

    `module`, below this folder, has the `render` that makes the file's text of a document. It may import
    the packages of `needs`, which the extra of the same name installs.
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
        """Document -> text. What it needs is imported now."""
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
