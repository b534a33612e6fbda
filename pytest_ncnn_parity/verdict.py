"""Turns a case's result into its verdict: diagnosis, fix, files that reproduce it, and record.

It does not depend on pytest: the case's item reports to pytest what this module returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.diagnose import deaths, upstream, wording
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.protocol import Outcome, Result
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan import other_models
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair import existing_masks
from pytest_ncnn_parity.repair.fix import Fix
from pytest_ncnn_parity.report import case_records, input_doubt, network_records
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.fix_records import fix_record, mask_notice
from pytest_ncnn_parity.report.text import case_text
from pytest_ncnn_parity.session import Session


class Subject(Frozen):
    """A case to be judged, and how reports name it.

    `param` is the path of the .param relative to the rootdir; `line` is the line of the sample in the
    spec, counted from 1.
    """

    nodeid: str
    plan: Plan
    sample: str
    case: Case
    param: str
    line: int

    @property
    def spec(self) -> str:
        """The spec's path relative to the rootdir, as it begins node ids."""
        return self.nodeid.partition("::")[0]

    @property
    def expected_to_fail(self) -> bool:
        return self.plan.known(self.sample, self.case) is not None


class Verdict(Frozen):
    """How a case ended, and the text for the user: why it failed or was skipped.

    `carried` is for the process that writes reports. `setup_denied`: the case failed because no device
    or declared worker runs what was requested, which no spec can know beforehand.
    """

    outcome: Outcome
    text: str
    carried: case_records.Carried
    properties: Sequence[tuple[str, str | float]]
    setup_denied: bool = False


class _Account(Frozen):
    """The text on a result; for a failure also its diagnosis, fix and files that reproduce it."""

    message: case_text.Message
    diagnosis: Diagnosis | None = None
    fix: FixRecord | None = None
    repro: str | None = None


def fails(result: Result, session: Session) -> bool:
    """Whether `judge` turns `result` into a failure."""
    return result.outcome == "failed" or _denial(result, session) is not None


def judge(subject: Subject, session: Session, again: bool = False) -> Verdict:
    """Return the verdict on a case, which is run unless its result is known; `again`: run it again.

    Raises EngineError if no worker can be started or spoken to.
    """
    run = session.run(subject.plan)
    ask = run.result_of_rerun if again else run.result
    result = ask(subject.sample, subject.case)
    denial = _denial(result, session)
    if denial is not None:
        result = replace(result, outcome="failed")
        account = _Account(case_text.plain(denial))
    else:
        account = _account(subject, session, run, result)
    record = case_records.case_record(
        subject.nodeid,
        subject.sample,
        subject.case,
        result,
        account.diagnosis,
        account.message,
        subject.line,
        account.repro,
    )
    with session.telling():
        carried = _carried(subject, session, run, result, account.fix)
    carried["case"] = record
    if not again:
        session.concluded(subject.plan)
    return Verdict(
        record["outcome"],
        record["message"],
        carried,
        case_records.properties(record),
        denial is not None,
    )


def _denial(result: Result, session: Session) -> str | None:
    """Why the case did not run as requested, if that is a failure in this session; otherwise None."""
    if session.require_workers and result.evidence.no_worker:
        return str(result.reason)
    return device_denial(result) if session.require_vulkan else None


def device_denial(result: Result) -> str | None:
    """Why the device did not run what was requested: there is none, or ncnn dropped options on it."""
    evidence = result.evidence
    if evidence.no_vulkan:
        return str(result.reason)
    if evidence.dropped:
        lacks = f"{evidence.device} does not offer {', '.join(evidence.dropped)}"
        return (
            f"{evidence.setup}: {lacks}; ncnn dropped that and ran something else: compare with a "
            "precision that it has"
        )
    return None


def _account(subject: Subject, session: Session, run: SpecRun, result: Result) -> _Account:
    if result.outcome == "skipped":
        return _Account(case_text.plain(f"{result.reason}"))
    if result.evidence.error is not None:
        return _Account(case_text.of_sample(result.evidence.error, subject.plan.spec.at().file))
    if result.evidence.unreadable is not None:
        return _Account(_unreadable_recording(subject, result.evidence.unreadable))
    if result.outcome == "failed":
        return _failure(subject, session, run, result)
    return _Account(case_text.plain(wording.remark(result)))


def _unreadable_recording(subject: Subject, why: str) -> case_text.Message:
    """What is wrong with an output's recording, at the place in the spec that names it."""
    path = ("inputs", subject.sample, "expect", str(subject.case.output))
    where = replace(subject.plan.spec.at(*path, of_key=True), path=".".join(path))
    return case_text.of_spec(where, why)


def _failure(subject: Subject, session: Session, run: SpecRun, result: Result) -> _Account:
    shown = upstream.shown(subject.plan, subject.sample, subject.case, run)
    red = shown.red if subject.case.golden is None else ()
    diagnosis = diagnose(subject.case, result, red, shown.unjudged, shown.unsafe)
    fix = None
    if diagnosis.cause == "load":
        message = _not_loaded(subject, result, diagnosis)
    elif diagnosis.cause in ("shape", "worker"):  # no mask makes inputs fit or a machine respond
        message = case_text.failure(subject.case, result, diagnosis, None)
    else:
        fix, trouble = _fix(subject, session, run)
        if trouble:
            diagnosis = replace(diagnosis, evidence=(*diagnosis.evidence, trouble))
        doubt = input_doubt.of_case(subject.plan, subject.sample, diagnosis.cause)
        message = case_text.failure(subject.case, result, diagnosis, fix, brief=bool(red), doubt=doubt)
    if session.repro is None or subject.case.layer is None or subject.expected_to_fail:
        return _Account(message, diagnosis, fix)
    from pytest_ncnn_parity.report.repro import make
    from pytest_ncnn_parity.report.repro.script import FailedLayer

    failed = FailedLayer(subject.sample, subject.case, result, diagnosis.cause, message.text)
    repro = make.make(run, failed, session.repro / make.name(subject.spec, subject.case))
    return _Account(message.ending(f"repro: {repro}"), diagnosis, fix, repro.path)


def _not_loaded(subject: Subject, result: Result, diagnosis: Diagnosis) -> case_text.Message:
    """Why the network does not load: a failure of all of it, which only this case reports."""
    death, spec, comparison = result.evidence.death, subject.plan.spec, subject.case.comparison
    refused = deaths.refused_layer(death)
    of_model = ("model", "bin" if refused is None else "param")
    path = death.key if death is not None and death.key else of_model
    other, graph = subject.plan.other(comparison), subject.plan.graph
    if path[0] == "options":
        where = spec.at_setup(deaths.setup_of(death, comparison), *path)
    elif other is not None and deaths.of_other_files(death, comparison):
        where = spec.at_setup(deaths.setup_of(death, comparison), "model", path[-1])
        graph = other.there
    else:
        where = spec.at(*path)
    if refused is not None:
        layer = graph.layers[refused]
        named = "" if graph.file in diagnosis.what else f"{graph.file}: "
        what = f"{named}{diagnosis.what}: {layer.name} ({layer.type}, line {layer.line})"
        diagnosis = replace(diagnosis, what=what)
    return case_text.of_files(diagnosis, where)


def _fix(subject: Subject, session: Session, run: SpecRun) -> tuple[FixRecord | None, str]:
    """Return the fix for the case's comparison, if one is wanted, and what prevented finding it.

    It is computed once, by the first of xdist's processes that needs it.
    """
    from pytest_ncnn_parity.repair.find_fix import find_fix

    comparison = subject.case.comparison
    other = subject.plan.other(comparison)
    if session.fix is None or subject.expected_to_fail:
        return None, ""
    if comparison.masks_can_fix:
        find = find_fix
    elif other is not None and not comparison.of_recordings:
        from pytest_ncnn_parity.repair.find_fix_of_other import find_fix_of_other as find
    else:
        return None, ""
    settings = session.fix

    def work_out() -> Fix | None:
        with run.working_on("what went wrong"):
            return find(run, comparison, settings)

    try:
        fix = run.once("fix", comparison.name, Fix, work_out)
    except (EngineError, OSError) as error:
        return None, f"no fix was worked out: {error}"
    return None if fix is None else fix_record(fix, run.plan.spec.masks), ""


def _carried(
    subject: Subject, session: Session, run: SpecRun, result: Result, fix: FixRecord | None
) -> case_records.Carried:
    """What the report on this case carries besides the case: news about its spec or the run."""
    carried: case_records.Carried = {}
    spec = subject.spec
    if fix is not None and session.news(("fix", spec, fix["comparison"])):
        carried["fixes"] = [fix]
    notes = []
    if session.news(("masks", spec)):
        notices, unsearched = existing_masks.notices(run, with_search=session.fix is not None)
        if notices:
            carried["masks"] = [mask_notice(notice) for notice in notices]
        notes += unsearched
    unread = result.evidence.unread
    if unread and session.news(("unread", spec)):
        notes.append(_unread(subject, unread))
    cache = session.settings.cache
    if cache is not None and cache.problem and session.news("cache"):
        notes.append(cache.problem)
    if session.news(("network", spec)):
        carried["network"], unhashed = network_records.network_record(subject.plan, spec, subject.param)
        notes += unhashed
        notes += [str(one) for one in subject.plan.overruled.values()]
        notes += other_models.notices(subject.plan)
    if notes:
        carried["notes"] = notes
    if session.news(("environment", spec, run.facts.size)):
        carried["environment"] = network_records.worker_environment(run.facts)
    return carried


def _unread(subject: Subject, count: int) -> str:
    model = subject.plan.spec.model
    last = "byte" if count == 1 else f"{count} bytes"
    return f"no layer reads the last {last} of {model.bin}: is it the one of {model.param}?"
