"""Jobs and results as the lines of JSON that cross a worker's pipes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.inputs import Recording, decoded
from pytest_ncnn_parity.engine.protocol import (
    JOBS,
    CaseSpec,
    Isolate,
    Job,
    Judge,
    Model,
    NetSpec,
    Result,
)
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.engine.workers import Worker


def encode_job(job: Job) -> str:
    """Return `job` as one line of JSON, without a newline.

    Thousands of cases share a few tolerances, so each of those is written once and has a number.
    """
    numbers: dict[Tolerance, int] = {}

    def parts(value: Any) -> Any:
        if isinstance(value, Tolerance):
            return numbers.setdefault(value, len(numbers))
        return vars(value)

    text = json.dumps({"kind": job.kind, **vars(job)}, default=parts)
    tolerances = json.dumps([vars(one) for one in numbers])
    return f'{{"job": {text}, "tolerances": {tolerances}}}'


def decode_job(line: str) -> Job:
    """Return the job that `line`, written by `encode_job`, holds."""
    whole = json.loads(line)
    raw, tolerances = whole["job"], [Tolerance(**one) for one in whole["tolerances"]]
    kind = {job.kind: job for job in JOBS}[raw.pop("kind")]
    raw["models"] = tuple(Model(**{**m, "folders": tuple(m["folders"])}) for m in raw["models"])
    raw["nets"] = tuple(NetSpec(**net) for net in raw["nets"])
    raw["inputs"] = {blob: decoded(one) for blob, one in raw["inputs"].items()}
    raw["dead"] = tuple(_death(death) for death in raw["dead"])
    raw["outputs"] = tuple(raw["outputs"])
    raw["workers"] = tuple(Worker(**{**one, "command": tuple(one["command"])}) for one in raw["workers"])
    if kind is Judge:
        raw["cases"] = tuple(_case(case, tolerances) for case in raw["cases"])
        raw["defaults"] = {name: tolerances[number] for name, number in raw["defaults"].items()}
        raw["layer_tolerances"] = {
            name: {int(layer): tolerances[number] for layer, number in by_layer.items()}
            for name, by_layer in raw["layer_tolerances"].items()
        }
        raw["done"], raw["red"] = tuple(raw["done"]), tuple(raw["red"])
        raw["told"] = tuple(Step(**step) for step in raw["told"])
        raw["masks"] = None if raw["masks"] is None else tuple(raw["masks"])
    elif kind is Isolate:
        raw["case"] = _case(raw["case"], tolerances)
    job: Job = kind(**raw)
    return job


def _case(raw: Mapping[str, Any], tolerances: Sequence[Tolerance]) -> CaseSpec:
    golden = None if raw["golden"] is None else Recording(**raw["golden"])
    return CaseSpec(**{**raw, "tolerance": tolerances[raw["tolerance"]], "golden": golden})


def _death(raw: Mapping[str, Any]) -> Death:
    lists = {name: tuple(raw[name]) for name in ("key", "lines")}
    return Death(**{**raw, **lists, "step": None if raw["step"] is None else Step(**raw["step"])})


def encode_result(result: Result) -> dict[str, Any]:
    """Return `result` as a message holds it, without what has its default value."""
    parts = ((name, getattr(result, name)) for name in ("evidence", "metrics", "accumulated"))
    texts = ((name, getattr(result, name)) for name in ("id", "outcome", "reason", "cached"))
    given = {name: strict_json.given(part) for name, part in parts if part is not None}
    return {**given, **{name: text for name, text in texts if text is not None}}
