"""Reports made of a network's lines, for the tests of what is made of reports."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import jsonschema

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.report import document
from pytest_ncnn_parity.report.network_records import layer_record

ENVIRONMENT = {
    "ncnn": "1.0.20260526",
    "numpy": "2.0.0",
    "python": "3.12.0",
    "machine": "x86_64",
    "system": "Linux",
    "plugin": "0.1.0",
    "pytest": "9.0.0",
    "options": {"timeout": 120.0, "json": "a.json"},
    "devices": [{"index": "0", "name": "llvmpipe", "fp16": "1/1/1/1"}],
}
COMPARISONS = {"cpu-vs-vulkan": None, "fp16-vs-fp32-vulkan": "fp16"}


def layers(graph: Graph) -> list[dict[str, Any]]:
    return [layer_record(layer, True) for layer in graph.layers]


def network(graph: Graph, samples: Iterable[str] = ("noise",), spec: str = "net.parity.yaml") -> Any:
    """What a report holds of `graph` and its files."""
    return {
        "spec": spec,
        "param": "net.param",
        "bin": "net.bin",
        "spec_sha256": "5",
        "param_sha256": "6",
        "bin_sha256": "7",
        "samples": list(samples),
        "comparisons": [
            {"name": name, "reference": "cpu fp32", "candidate": "vulkan fp32", "half": half}
            for name, half in COMPARISONS.items()
        ],
        "layers": layers(graph),
    }


def report(graph: Graph, samples: Iterable[str] = ("noise",), spec: str = "net.parity.yaml") -> Any:
    """A green report of `graph`: errors are 1 % of the largest value, 1.0, and 20 % of the budget."""
    described = network(graph, samples, spec)
    model = {
        **described,
        "cases": [
            _case(sample, comparison, place)
            for sample in samples
            for comparison in COMPARISONS
            for place in [*enumerate(described["layers"]), *graph.outputs]
        ],
        "fixes": [],
        "masks": [],
    }
    whole = {
        "schema": 1,
        "environment": copy.deepcopy(ENVIRONMENT),
        "models": [model],
        "regressions": [],
        "baseline": None,
    }
    assert document.problem(whole) is None
    return whole


def _case(sample: str, comparison: str, place: Any) -> dict[str, Any]:
    number, layer = place if isinstance(place, tuple) else (None, None)
    return {
        "nodeid": f"net.parity.yaml::{sample}::{comparison}::{place}",
        "sample": sample,
        "comparison": comparison,
        "layer": None if layer is None else layer["name"],
        "number": number,
        "output": None if layer is not None else place,
        "type": None if layer is None else layer["type"],
        "outcome": "passed",
        "known": False,
        "cause": None,
        "message": "",
        "metrics": {
            "max_abs": 0.01,
            "scaled": 0.01,
            "cosine": 1.0,
            "sqnr_db": 40.0,
            "nan": 0,
            "inf": 0,
            "mismatched": 0,
            "total": 8,
            "reference_absmax": 1.0,
            "candidate_absmax": 1.0,
            "least_scaled": 0.01,
            "used": 0.2,
        },
        "tolerance": {"atol": 0.0, "rtol": 0.0, "scaled": 0.05, "cosine": None, "sqnr_db": None},
        "execution": "vulkan, fp16 storage, fp16 arithmetic",
        "device": "llvmpipe",
    }


def case(report: Any, name: str, comparison: str = "fp16-vs-fp32-vulkan", sample: str = "noise") -> Any:
    """The one case of a layer or an output, to be changed."""
    (match,) = (
        case
        for model in report["models"]
        for case in model["cases"]
        if name in (case["layer"], case["output"])
        and (case["comparison"], case["sample"]) == (comparison, sample)
    )
    return match


def set_error(case: Any, error: float | str) -> None:
    """Make `error` the largest of a case in which the largest value is 1.0."""
    used = error if isinstance(error, str) else error / case["tolerance"]["scaled"]
    case["metrics"].update(max_abs=error, scaled=error, least_scaled=error, used=used)


def closed(schema: Any) -> Any:
    """`schema` with no room for keys it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: closed(part) for key, part in schema.items()}
    return {**strict, "additionalProperties": False} if "properties" in schema else strict


STRICT = jsonschema.Draft202012Validator(closed(document.schema()))


def assert_valid(report: dict[str, Any]) -> None:
    assert report["models"]
    wrong = next(STRICT.iter_errors(report), None)
    assert wrong is None, f"{list(wrong.absolute_path)}: {wrong.message}"
