"""The reporting process's work: it collects verdicts, writes the reports, and sums up.

It does not depend on pytest: from pytest's reports it reads only what `PhaseReport` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.engine.protocol import Outcome
from pytest_ncnn_parity.option_values import OptionsError
from pytest_ncnn_parity.options import Options
from pytest_ncnn_parity.report import case_records, counts, origin, run_report, run_state, writer
from pytest_ncnn_parity.report.case_records import Carried
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.case import PlaceRecord
from pytest_ncnn_parity.report.text import github, red_models, terminal
from pytest_ncnn_parity.report.text.terminal import Line
from pytest_ncnn_parity.spec import MISNAMED, SUFFIX

if TYPE_CHECKING:
    from pytest_ncnn_parity.baseline import Baseline

OUTCOMES: Mapping[str, Outcome] = {word: word for word in get_args(Outcome)}  # by pytest's word


class PhaseReport(Protocol):
    """What is read from pytest's report on the setup, the call or the teardown of an item."""

    @property
    def nodeid(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def longrepr(self) -> object: ...


class End(Frozen):
    """What is wrong with a run that pytest itself would pass.

    `worse`: something is worse than in the baseline, and that is to fail the run. `nothing`: a message
    that nothing was compared; `empty`: this fails the run. `left_out`: cases were selected and did not
    run, and nothing stopped the run. `unwritten`: why reports could not be written.
    """

    worse: bool = False
    left_out: bool = False
    nothing: str = ""
    empty: bool = False
    unwritten: Sequence[str] = ()


class Controller:
    """The reports of a run, from its start to its end.

    Raises OptionsError if the baseline cannot be read. A run that is neither started nor ended writes
    and prints nothing.
    """

    def __init__(self, options: Options, rootdir: Path, pytest_version: str) -> None:
        self._options = options
        self._rootdir = rootdir
        self._baseline = _baseline(options)
        versions = {"plugin": _own_version(), "pytest": pytest_version}
        shown = options.shown(rootdir)
        # git is asked only if the commit will be reported
        commit = origin.commit(rootdir) if options.reports else None
        environment = run_report.environment(versions, shown, origin.host(), commit)
        self._report = run_report.RunReport(environment)
        self._files = writer.ReportFiles(writer.targets(options.reports))
        self._started = False
        self._end: End | None = None

    def start(self) -> list[str]:
        """Write the first, empty reports unless that was done; return why any could not be written.

        After that no earlier run's reports are left, and the paths are known to be writable.
        """
        if self._started:
            return []
        self._started = True
        return self._files.write(self._report.document)

    @property
    def concerned(self) -> bool:
        """Whether the run involves specs: cases to run, or errors in specs."""
        return bool(self._report.state.selected or self._report.errors)

    @property
    def stopped(self) -> bool:
        """Whether the run was cut short."""
        return self._report.state.stopped is not None

    def not_collected(self, nodeid: str, message: str, place: PlaceRecord | None) -> None:
        """Record a part of a spec that could not be collected; `place` is that of its first error."""
        whole = nodeid.endswith((SUFFIX, MISNAMED))  # also one that has colons in its path
        spec = nodeid if whole else nodeid.partition("::")[0]
        if spec.endswith((SUFFIX, MISNAMED)):
            self._report.error(spec, message, place)

    def select(self, nodeids: Iterable[str]) -> None:
        """Record the items that are going to run."""
        self._report.state.select(nodeids)

    def take(self, report: PhaseReport) -> None:
        """Record the verdict that `report` has or carries, if it is on one of our cases."""
        # removed, because pytest keeps reports until the end of the run
        carried: Carried = vars(report).pop("ncnn_parity", {})
        if not carried and (report.outcome == "passed" or run_state.spec_of(report.nodeid) is None):
            return  # this is a setup or a teardown, or not a case of ours
        if report.outcome not in OUTCOMES:
            # an outcome of another plugin, such as "rerun": the verdict will follow
            if carried:
                self._report.learn(report.nodeid, carried)
            return
        outcome = OUTCOMES[report.outcome]
        case = carried.get("case")
        if case is None:
            if outcome == "passed":
                return  # this is a setup or a teardown
            case = case_records.lost(report.nodeid, _reason(report))
        elif outcome == "failed" and case["outcome"] == "passed":  # a strict known failure that passes
            text = str(report.longrepr)
            headline, *notes = text.split("\n")
            case = {**case, "message": text, "headline": headline, "notes": notes}
        known = hasattr(report, "wasxfail") and outcome != "passed"  # a mark of the project's may pass
        case = {**case, "outcome": outcome, "known": known}
        if self._report.take({**carried, "case": case}):
            self._files.checkpoint(self._report.document)

    def stop(self, why: str) -> None:
        """Record that the run is cut short, and `why`."""
        self._report.state.stop(why)

    def end(self, typed: bool, places: Sequence[str], narrowed: bool = False) -> End:
        """Conclude the run: compare it with the baseline, then write the reports.

        `typed`: the gate was requested on this command line, not by an ini that applies to every run.
        `places`: where specs were searched for. `narrowed`: tests were chosen one by one, so that a run
        without cases may be meant for other tests.
        """
        self._report.state.end()
        nothing = counts.nothing_compared(self._report.document(), typed or not narrowed, places)
        if not typed and not self.concerned:
            self._end = End(nothing=nothing, empty=bool(nothing) and self._options.require_vulkan)
            return self._end
        worse = self._compare()
        unwritten = self._files.write(self._report.document)
        worse = worse and self._options.baseline_fail
        left_out = self._report.state.left_out
        self._end = End(worse, left_out, nothing, empty=bool(nothing), unwritten=unwritten)
        return self._end

    def _compare(self) -> bool:
        """Compare the run with its baseline; return whether anything is worse."""
        if self._baseline is not None:
            self._report.since = self._baseline.against(self._report.document(), self._rootdir)
        return bool(self._report.since["regressions"])

    def sections(
        self, verbosity: int, width: int, errors_above: bool = True
    ) -> Iterator[tuple[str, list[Line]]]:
        """Yield the summary for the terminal: titles, each with its lines.

        `errors_above`: pytest has already printed what is wrong with specs that were not collected.
        """
        if self._end is None:
            return
        document = self._report.document()
        summary = terminal.summary(document, verbosity, width, errors_above, self._rootdir)
        yield "ncnn parity", list(summary)
        yield "ncnn parity baseline", list(terminal.since_baseline(document, verbosity, width))

    def document(self) -> Report:
        """Return the report as far as the run has come."""
        return self._report.document()

    def red_models(self, width: int) -> Iterator[str]:
        """Yield the last lines of a run: one for each red model."""
        if self._end is not None:
            yield from map(printable, red_models.lines(self.document(), width))

    def remarks(self, environ: Mapping[str, str], annotated: bool = False) -> Iterator[Line]:
        """Yield the lines after the summary: what failed the run, and annotations for GitHub's log.

        Also writes the step summary to the file that `environ` names. `annotated`: another plugin
        annotates red cases already.
        """
        if self._end is None:
            return
        document = self._report.document()
        if self._end.nothing:
            yield f"WARNING: {self._end.nothing}", "yellow"
        for problem in self._end.unwritten:
            yield f"ERROR: {problem}", "red"
        if not self._started and not self.concerned:
            return
        problem = github.write_summary(document, environ, self._rootdir)
        if problem:
            yield f"WARNING: {problem}", "yellow"
        for line in github.annotated(document, environ, self._rootdir, annotated):
            yield line, ""


def _baseline(options: Options) -> Baseline | None:
    """Read the baseline before anything runs, because a run may write its own report over it."""
    if options.baseline is None:
        return None
    from pytest_ncnn_parity.baseline import Baseline, BaselineError  # noqa: PLC0415 - most runs have none

    try:
        return Baseline(options.baseline, options.baseline_factor)
    except BaselineError as error:
        raise OptionsError([f"--ncnn-parity-baseline={options.baseline}: {error}"]) from None


def _own_version() -> str:
    try:
        return metadata.version("pytest-ncnn-parity")
    except metadata.PackageNotFoundError:  # the plugin was loaded from a source tree with -p
        return "not installed"


def _reason(report: PhaseReport) -> str:
    """Why an item failed or was skipped: the last part of a skip's tuple, or the whole text."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longrepr)  # without the first line that the text has on an xdist worker
