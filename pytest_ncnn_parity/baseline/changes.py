"""A saved report and this run's report -> what became worse. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import field
from typing import get_args

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.baseline.case_changes import CaseChange, case_changes
from pytest_ncnn_parity.baseline.context import context
from pytest_ncnn_parity.baseline.pairing import CasePair, Counterpart, ModelPair, model_pairs
from pytest_ncnn_parity.baseline.reported import CaseKey, ReportedModel, Target
from pytest_ncnn_parity.network.versions.match import NAME
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.regression import (
    AddedLayer,
    Kind,
    RegressionRecord,
    RenamedLayer,
)

KINDS: tuple[Kind, ...] = get_args(Kind)  # in order of severity, the worst first


class Changes(Frozen):
    """`regressions`, the worst kinds first; `context`: what else differs, a text for each.

    `added` and `renamed`: layers, for information alone. `unknown`: specs that the saved report lacks.
    """

    regressions: list[RegressionRecord] = field(default_factory=list)
    context: list[str] = field(default_factory=list)
    added: list[AddedLayer] = field(default_factory=list)
    renamed: list[RenamedLayer] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def compared(old: Report, new: Report, factor: float, gone: Collection[str] = ()) -> Changes:
    """What is worse in `new` than in `old`, both reports as `--ncnn-parity-json` writes them.

    An error or a largest value counts from `factor` times on. `gone`: specs that `old` has and the
    project no longer has. What was not selected in this run, or not reached, is not compared.
    """
    pairs, lost = model_pairs(old["models"], new["models"], gone)
    worse = [regression for pair in pairs for regression in _regressions(pair, factor)]
    worse += [_vanished(model.spec, model.spec, "the spec is gone") for model in lost]
    worse.sort(key=lambda regression: KINDS.index(regression["kind"]))
    return Changes(
        worse,
        context(old, new, [(pair.old.record, pair.new.record) for pair in pairs]),
        [{"spec": pair.new.spec, "name": name} for pair in pairs for name in pair.added()],
        [
            {"spec": pair.new.spec, "name": c.name, "was": c.was, "matched_by": c.matched_by}
            for pair in pairs
            for c in pair.renamed()
            if c.matched_by != NAME
        ],
        sorted({model["spec"] for model in new["models"]} - {pair.new.spec for pair in pairs}),
    )


def _regressions(pair: ModelPair, factor: float) -> Iterator[RegressionRecord]:
    half = {c["name"]: c["half"] for c in pair.new.record.get("comparisons", ())}
    reported: set[tuple[Kind, str, Target]] = set()
    for case in pair.cases():
        in_fp16 = half.get(case.key.comparison) == "fp16"
        for change in case_changes(case.before, case.after, factor, in_fp16):
            once = _once(change.kind, case)
            if once not in reported:
                reported.add(once)
                yield _regression(pair.new, case, change)
    yield from _missing(pair)


def _once(kind: Kind, case: CasePair) -> tuple[Kind, str, Target]:
    """Drop repetitions: a move is reported once for all samples, a range for all comparisons."""
    sample, comparison, target = case.key
    within = {"moved": comparison, "headroom": sample}.get(kind, f"{sample}::{comparison}")
    return kind, within, target


def _missing(pair: ModelPair) -> Iterator[RegressionRecord]:
    """What the saved report judged and this run no longer has."""
    old, new, spec = pair.old.record, pair.new.record, pair.new.spec
    comparisons = [comparison["name"] for comparison in new.get("comparisons", ())]
    for kind, names, judged in (
        ("sample", new.get("samples", ()), [case["sample"] for case in old["cases"]]),
        ("comparison", comparisons, [case["comparison"] for case in old["cases"]]),
    ):
        for name in dict.fromkeys(judged):
            if names and name not in names:  # a run that could not read its network has no names
                yield _vanished(spec, name, f"the spec has no {kind} {name} any more")
    for target in pair.vanished():
        if isinstance(target, int):
            layer = old["layers"][target]
            what = f"{layer['name']} ({layer['type']}): the network has no such layer any more"
            yield _vanished(spec, layer["name"], what)
        else:
            what = f"output {target}: the network has no such output any more"
            if target not in pair.old.network.outputs:
                what = f"blob {target}: the network has no such blob any more"
            yield _vanished(spec, target, what)
    for layer_now in pair.unselected():
        what = f"{_titled(pair.new, layer_now)}: the spec's 'layers' no longer selects it"
        yield _vanished(spec, layer_now.name, what)
    for key, blob_now in pair.not_compared():
        what = f"{_titled(pair.new, blob_now)}: the spec no longer compares it"
        yield _vanished(spec, blob_now.name, what, key)
    for key, layer_now in pair.not_run():
        what = f"{_titled(pair.new, layer_now)}: the spec no longer runs it"
        yield _vanished(spec, layer_now.name, what, key)


def _vanished(spec: str, name: str, message: str, key: CaseKey | None = None) -> RegressionRecord:
    return {
        "kind": "vanished",
        "spec": spec,
        "sample": None if key is None else key.sample,
        "comparison": None if key is None else key.comparison,
        "name": name,
        "was": None,
        "before": None,
        "after": None,
        "message": message,
        "matched_by": None,
    }


def _regression(model: ReportedModel, case: CasePair, change: CaseChange) -> RegressionRecord:
    who = case.counterpart
    return {
        "kind": change.kind,
        "spec": model.spec,
        "sample": None if change.kind == "moved" else case.key.sample,
        "comparison": case.key.comparison,
        "name": who.name,
        "was": None if who.matched_by == NAME else who.was,
        "before": change.before,
        "after": change.after,
        "message": f"{_titled(model, who)}: {change.what}",
        "matched_by": who.matched_by,
    }


def _titled(model: ReportedModel, who: Counterpart) -> str:
    """A layer with its operator, or a blob, with the name it had where that was another."""
    was = "" if who.name == who.was else f" (was {who.was})"
    if isinstance(who.now, int):
        return f"{who.name}{was} ({model.network.layers[who.now]['type']})"
    network = model.network
    prefix = "output " if who.now in network.outputs else "blob " if who.now in network.origins else ""
    return f"{prefix}{who.name}{was}"
