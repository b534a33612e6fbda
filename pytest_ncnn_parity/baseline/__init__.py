"""Compares a report with a saved one: matches layers and cases, and says what became worse."""

from __future__ import annotations

from pathlib import Path

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.baseline.changes import Changes, compared
from pytest_ncnn_parity.baseline.saved import BaselineError, read
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.regression import SinceBaseline

__all__ = ["Baseline", "BaselineError", "Changes", "compared"]


class Baseline:
    """A saved report that this run is compared with. Raises BaselineError if the file has none."""

    def __init__(self, path: Path, factor: float) -> None:
        self._path = path
        self._factor = factor
        self._saved = read(path)

    def against(self, document: Report, root: Path) -> SinceBaseline:
        """What became worse in this run's `document`. Specs are looked for below `root`."""
        specs = [model["spec"] for model in self._saved["models"]]
        gone = {spec for spec in specs if not (root / spec).exists()}
        changes = compared(self._saved, document, self._factor, gone)
        notes = []
        if self._saved.get("complete") is False:
            notes.append("the baseline's run was cut short: what it did not reach could not be compared")
        if changes.unknown:
            notes.append(f"not in the baseline, so not compared: {listed(changes.unknown)}")
        file = self._path.relative_to(root) if self._path.is_relative_to(root) else self._path
        return {
            "regressions": changes.regressions,
            "baseline": {
                "file": file.as_posix(),
                "factor": self._factor,
                "context": changes.context,
                "notes": notes,
                "added": changes.added,
                "renamed": changes.renamed,
            },
        }
