"""A saved report x this run's -> what became worse. Pure: two documents in, plain records out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from pytest_ncnn_parity.baseline.context import context
from pytest_ncnn_parity.baseline.match import NAME
from pytest_ncnn_parity.baseline.pairing import Counterpart, Key, Model, Pair, Record, pairs
from pytest_ncnn_parity.compare.fp16 import FP16_MAX
from pytest_ncnn_parity.report.document.regression import (
    AddedLayer,
    Kind,
    RegressionRecord,
    RenamedLayer,
)

# An error that doubles is news only where it takes a share of its budget: far below, it is the order of
# a sum that changed. And a largest value that doubles is news only where fp16's end comes into sight.
NOISE = 0.1
NEAR = 16.0

KINDS = ("red", "error", "headroom", "moved", "skipped", "vanished")


@dataclass(frozen=True)
class Changes:
    """`regressions`, the worst kinds first; `context`: what else is not as it was, a text each.

    `added` and `renamed`: layers, for information alone.
    """

    regressions: list[RegressionRecord] = field(default_factory=list)
    context: list[str] = field(default_factory=list)
    added: list[AddedLayer] = field(default_factory=list)
    renamed: list[RenamedLayer] = field(default_factory=list)


def compared(old: Record, new: Record, factor: float, gone: Collection[str] = ()) -> Changes:
    """What `new` has worse than `old`, both reports as `--ncnn-parity-json` writes them.

    An error or a largest value counts from `factor` times on. `gone`: specs that `old` has and the
    project has no more. What was not selected in this run, or not reached, is not compared.
    """
    found, lost = pairs(old["models"], new["models"], gone)
    worse = [regression for pair in found for regression in _of(pair, factor)]
    worse += [_vanished(model.spec, model.spec, "the spec is gone") for model in lost]
    worse.sort(key=lambda regression: KINDS.index(regression["kind"]))
    return Changes(
        worse,
        context(old, new, [(pair.old.record, pair.new.record) for pair in found]),
        [{"spec": pair.new.spec, "name": name} for pair in found for name in pair.added()],
        [
            {"spec": pair.new.spec, "name": c.name, "was": c.was, "matched_by": c.matched_by}
            for pair in found
            for c in pair.renamed()
            if c.matched_by != NAME
        ],
    )


def _of(pair: Pair, factor: float) -> Iterator[RegressionRecord]:
    half = {c["name"]: c["half"] for c in pair.new.record.get("comparisons", ())}
    told: set[tuple[str, str, int | str]] = set()
    for key, before, after, who in pair.cases():
        for change in _of_case(before, after, factor, half.get(key[1]) == "fp16"):
            once = _once(change.kind, key)
            if once not in told:
                told.add(once)
                yield _regression(pair.new, key, who, change)
    yield from _missing(pair)


def _once(kind: str, key: Key) -> tuple[str, str, int | str]:
    """What is told once: a move for all samples, a value's range for all comparisons."""
    sample, comparison, place = key
    return kind, {"moved": comparison, "headroom": sample}.get(kind, f"{sample}::{comparison}"), place


@dataclass(frozen=True)
class _Change:
    kind: Kind
    before: Any
    after: Any
    told: str


def _of_case(before: Record | None, after: Record, factor: float, half: bool) -> Iterator[_Change]:
    was = None if before is None else before["outcome"]
    if after["outcome"] == "failed" and was != "failed":
        first = after["message"].partition("\n")[0]
        then = "not in the baseline" if was is None else f"{was} in the baseline"
        yield _Change("red", was, "failed", f"red, {then}: {first}")
        return
    if before is None:
        return
    moved = _left_gpu(before, after)
    if moved:
        told = f"left the GPU: {before['execution']} -> {after['execution']}"
        yield _Change("moved", before["execution"], after["execution"], told)
    elif was != "skipped" and after["outcome"] == "skipped" and not after["known"]:
        yield _Change("skipped", was, "skipped", f"compared no more: {after['message']}")
    if before["metrics"] is None or after["metrics"] is None:
        return
    yield from _error(before, after, factor)
    if half and after["layer"] is not None and after["outcome"] == "passed":
        yield from _headroom(before["metrics"], after["metrics"], factor)


def _left_gpu(before: Record, after: Record) -> bool:
    then, now = (str(case["execution"] or "") for case in (before, after))
    return after["layer"] is not None and then.startswith("vulkan") and now.startswith("cpu")


def _error(before: Record, after: Record, factor: float) -> Iterator[_Change]:
    was, now = (_number(case["metrics"]["scaled"]) for case in (before, after))
    share = max(_share(after["metrics"], case["tolerance"]) for case in (before, after))
    if now > factor * was and share >= NOISE:
        used = f"{share:.0%} of what is allowed" if math.isfinite(share) else "which nothing allows"
        told = f"error {was:.3g} -> {now:.3g} of the largest value, {used}"
        yield _Change("error", before["metrics"]["scaled"], after["metrics"]["scaled"], told)


def _share(metrics: Record, tolerance: Record | None) -> float:
    """The largest error as a share of the budget that the largest value has."""
    error, absmax = _number(metrics["max_abs"]), _number(metrics["reference_absmax"])
    if tolerance is None:
        return 0.0
    budget: float = tolerance["atol"] + (tolerance["rtol"] + tolerance["scaled"]) * absmax
    if budget > 0.0:
        return error / budget
    return math.inf if error > 0.0 else 0.0


def _headroom(before: Record, after: Record, factor: float) -> Iterator[_Change]:
    was, now = (_number(metrics["reference_absmax"]) for metrics in (before, after))
    if now > factor * was and FP16_MAX / NEAR <= now <= FP16_MAX:
        told = (
            f"largest value {was:.4g} -> {now:.4g}: fp16 ends at {FP16_MAX:.0f}, "
            f"{FP16_MAX / now:.2g} times as large"
        )
        yield _Change("headroom", before["reference_absmax"], after["reference_absmax"], told)


def _number(value: Any) -> float:
    """A report's number; nan, which nothing exceeds, counts as inf."""
    number = float(value)
    return math.inf if math.isnan(number) else number


def _missing(pair: Pair) -> Iterator[RegressionRecord]:
    old, new = pair.old.record, pair.new.record
    for kind in ("sample", "comparison"):
        there = {one if kind == "sample" else one["name"] for one in new.get(f"{kind}s", ())}
        for name in dict.fromkeys(case[kind] for case in old["cases"]):
            if there and name not in there:  # a run that does not know its network knows none
                yield _vanished(pair.new.spec, name, f"the spec has no {kind} {name} any more")
    for place in pair.vanished():
        if isinstance(place, int):
            layer = old["layers"][place]
            told = f"{layer['name']} ({layer['type']}): the network has no such layer any more"
            yield _vanished(pair.new.spec, layer["name"], told)
        else:
            told = f"output {place}: the network has no such output any more"
            yield _vanished(pair.new.spec, place, told)
    for found in pair.unselected():
        told = f"{_titled(pair.new, found)}: the spec's 'layers' selects it no more"
        yield _vanished(pair.new.spec, found.name, told)


def _vanished(spec: str, name: str, message: str) -> RegressionRecord:
    return {
        "kind": "vanished",
        "spec": spec,
        "sample": None,
        "comparison": None,
        "name": name,
        "was": None,
        "before": None,
        "after": None,
        "message": message,
        "matched_by": None,
    }


def _regression(model: Model, key: Key, who: Counterpart, change: _Change) -> RegressionRecord:
    return {
        "kind": change.kind,
        "spec": model.spec,
        "sample": None if change.kind == "moved" else key[0],
        "comparison": key[1],
        "name": who.name,
        "was": None if who.matched_by == NAME else who.was,
        "before": change.before,
        "after": change.after,
        "message": f"{_titled(model, who)}: {change.told}",
        "matched_by": who.matched_by,
    }


def _titled(model: Model, who: Counterpart) -> str:
    was = "" if who.name == who.was else f" (was {who.was})"
    if isinstance(who.now, int):
        return f"{who.name}{was} ({model.record['layers'][who.now]['type']})"
    return f"output {who.name}{was}" if who.now in model.outputs else f"{who.name}{was}"
