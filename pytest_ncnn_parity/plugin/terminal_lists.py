"""What pytest's terminal lists about our cases: changed copies of reports, swapped in temporarily.

pytest prints a block for each failure and a line for each skip, whatever was printed before. The reports
themselves are not changed, because other plugins read them.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_ncnn_parity.controller import Controller
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.text import failure_list, spec_names
from pytest_ncnn_parity.report.text.line_width import fitted

Reports = list[Any]


class Lists:
    """The lists of failed and skipped tests from which pytest's terminal prints."""

    def __init__(self, terminal: Any, config: pytest.Config, controller: Controller) -> None:
        self._stats: dict[str, Reports] = terminal.stats
        self._whole = {key: self._stats[key] for key in ("failed", "skipped") if key in self._stats}
        self._config = config
        self._width = config.get_terminal_writer().fullwidth
        document = controller.document()
        self._cases = {case["nodeid"]: case for model in document["models"] for case in model["cases"]}
        self._fixes = {model["spec"]: model["fixes"] for model in document["models"]}
        self._levels = spec_names.levels(self._fixes)

    def restore(self) -> None:
        """Put the unchanged reports back."""
        self._stats.update(self._whole)

    def for_failures(self) -> None:
        """Give each failure a heading that names its spec, and shorten repeats to what differs."""
        first: dict[object, CaseRecord] = {}

        def block(report: Any, case: CaseRecord) -> None:
            path, line, _ = report.location
            report.location = (path, line, failure_list.heading(case, self._width, self._levels))
            name = failure_list.name(case)
            if name not in first:
                first[name] = case
                return
            lines = failure_list.again(case, first[name], self._fixes[name[0]])
            entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ())
            if lines is not None and len(entries) == 1:
                report.longrepr = copy.deepcopy(report.longrepr)
                shown = [part for text in lines for part in fitted(text, self._width)]
                report.longrepr.reprtraceback.reprentries[0].lines = shown

        self._replace("failed", block)

    def for_short_summary(self) -> None:
        """Fit failures to lines that pytest would cut, and fold the skips of one reason into one."""
        if _cut_by_pytest(self._config):
            self._fit_failures()
        if getattr(self._config.option, "fold_skipped", True):
            self._fold_skips()

    def _fit_failures(self) -> None:
        root, start = self._config.rootpath, self._config.invocation_params.dir
        try:
            prefix = 0 if root == start else len(os.path.relpath(root, start)) + 1
        except ValueError:  # on Windows, between two drives: pytest then shows ids as they are
            prefix = 0

        failed = [self._cases.get(report.nodeid) for report in self._whole.get("failed", ())]
        ours = [case for case in failed if case is not None]
        shorter = failure_list.in_brief(ours, self._width, self._fixes, prefix) if ours else {}

        def failure(report: Any, case: CaseRecord) -> None:
            brief = shorter.get(case["nodeid"])
            crash = getattr(report.longrepr, "reprcrash", None)
            if brief is not None and crash is not None:
                report.nodeid, message = brief
                report.longrepr = copy.copy(report.longrepr)
                report.longrepr.reprcrash = copy.copy(crash)
                report.longrepr.reprcrash.message = message

        self._replace("failed", failure)

    def _fold_skips(self) -> None:
        mine = (self._cases.get(report.nodeid) for report in self._whole.get("skipped", ()))
        entries = failure_list.folded([case for case in mine if case is not None], self._width)

        def skip(report: Any, case: CaseRecord) -> None:
            place, reason = entries[case["nodeid"]]
            report.longrepr = (place, None, reason)

        self._replace("skipped", skip)

    def _replace(self, key: str, change: Callable[[Any, CaseRecord], None]) -> None:
        if key in self._whole:
            self._stats[key] = [_copied(one, self._cases, change) for one in self._whole[key]]


def _copied(
    report: Any, cases: Mapping[str, CaseRecord], change: Callable[[Any, CaseRecord], None]
) -> Any:
    """Return a changed copy of a report on one of our cases, and any other report itself."""
    case = cases.get(report.nodeid)
    if case is None or report.when != "call":
        return report
    shown = copy.copy(report)
    change(shown, case)
    return shown


def _cut_by_pytest(config: pytest.Config) -> bool:
    """Whether pytest cuts its short summary to the terminal's width: not in CI logs, nor with -vv."""
    in_ci = any(os.environ.get(name) for name in ("CI", "BUILD_NUMBER"))
    return not in_ci and config.option.verbose < 2
