"""Documents of the JSON report, made up: as large, as hostile or as broken off as a test wants them."""

from __future__ import annotations

import math
import random
from typing import Any

from pytest_ncnn_parity.report import document as report_document

COMPARISONS = ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan", "shipped", "fp16-range")
TYPES = ("Convolution", "ReLU", "BinaryOp", "Reduction", "Pooling", "InnerProduct")
ENVIRONMENT = {
    "ncnn": "1.0.20261020",
    "numpy": "2.0.0",
    "python": "3.11.7",
    "machine": "x86_64",
    "system": "Linux",
    "plugin": "0.1.0",
    "pytest": "9.0.0",
    "host": "runner-7",
    "commit": "0123456789abcdef+",
    "options": {"fix": "suggest"},
    "devices": [{"name": "llvmpipe (LLVM 15.0.6, 256 bits)", "fp16": "1/1/1/1", "index": "0"}],
}
# what a name in a model may do to a page that believes it
HOSTILE = (
    "</script><script>alert(1)</script>\"'<img src=x onerror=alert(1)>\n\x1b[31m\u202eevil\u2028&amp;"
)


def document(*models: dict[str, Any], **more: Any) -> Any:
    """The report of a run that reached its end; `more` says what is otherwise."""
    count = sum(len(model["cases"]) for model in models)
    whole = {
        "schema": 1,
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 12.3,
        "complete": True,
        "stopped": None,
        "selected": count,
        "judged": count,
        "not_reached": [],
        "errors": [],
        "environment": ENVIRONMENT,
        "models": list(models),
        "regressions": [],
        "baseline": None,
        **more,
    }
    assert report_document.problem(whole) is None
    return whole


def model(cases: list[dict[str, Any]], layers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A model's part; cases that name one of `layers` and have no number get that of the layer."""
    numbers = {layer["name"]: number for number, layer in enumerate(layers)}
    cases = [
        {**one, "number": numbers.get(one["layer"])} if one["number"] is None else one for one in cases
    ]
    return {
        "spec": "net.parity.yaml",
        "param": "net.param",
        "bin": "net.bin",
        "param_sha256": "a" * 64,
        "bin_sha256": "b" * 64,
        "spec_sha256": "c" * 64,
        "setup": None,
        "samples": list(dict.fromkeys(case["sample"] for case in cases)),
        "comparisons": [],
        "layers": layers,
        "cases": cases,
        "fixes": [],
        "masks": [],
        "notes": [],
        "input_doubt": [],
        **more,
    }


def layer(
    name: str, type_: str = "ReLU", inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_,
        "line": 3,
        "mask": 0,
        "params": "0=0 1=1 2=1.5",
        "inputs": list(inputs),
        "outputs": list(outputs or (name,)),
        "selected": True,
    }


def case(name: str, comparison: str = "fp16-vs-fp32-vulkan", **more: Any) -> dict[str, Any]:
    """A layer case that passed; `more` says what is otherwise."""
    return {
        "nodeid": f"net.parity.yaml::noise::{comparison}::{name}",
        "line": 1,
        "sample": "noise",
        "comparison": comparison,
        "layer": name,
        "number": None,
        "output": None,
        "type": "ReLU",
        "outcome": "passed",
        "known": False,
        "cause": None,
        **message(""),
        "metrics": metrics(0.0012),
        "accumulated": None,
        "accumulated_ended": None,
        "tolerance": {"atol": 6e-8, "rtol": 0.0, "scaled": 0.05, "cosine": None, "sqnr_db": None},
        "execution": "vulkan, fp16 storage, fp16 arithmetic",
        "golden": None,
        "device": "llvmpipe (LLVM 15.0.6, 256 bits)",
        "dropped": [],
        "repro": None,
        **more,
    }


def message(text: str) -> dict[str, Any]:
    """A message without parts."""
    headline, *notes = text.split("\n")
    parts = {"details": [], "evidence": [], "fix": None, "place": None}
    return {"message": text, "headline": headline, "notes": notes, **parts}


def measured(scaled: float | str, largest: float | str = 3.25) -> dict[str, Any]:
    lost = scaled in ("inf", "nan")
    return {
        "max_abs": scaled,
        "scaled": scaled,
        "cosine": "nan" if lost else 0.999991,
        "sqnr_db": "-inf" if lost else 43.21234,
        "nan": 0,
        "inf": 3 if lost else 0,
        "reference_absmax": largest,
        "candidate_absmax": largest,
    }


def metrics(scaled: float | str, largest: float | str = 3.25, **more: Any) -> dict[str, Any]:
    """Held against a tolerance of 0.05."""
    lost = scaled in ("inf", "nan")
    return {
        **measured(scaled, largest),
        "mismatched": 3 if lost else 0,
        "total": 768,
        "least_scaled": scaled,
        "used": "inf" if lost else float(scaled) / 0.05,
        **more,
    }


def red(name: str, cause: str = "storage-overflow", **more: Any) -> dict[str, Any]:
    """A layer case that failed with inf."""
    headline, details = "inf on vulkan fp16, 3 of 3 elements", "compared: vulkan fp32 -> vulkan fp16"
    evidence = f"{name} reaches 3000468 in fp32"
    summary = f"{name} ({more.get('type', 'ReLU')}): {headline} ({cause})"
    failed = {
        "outcome": "failed",
        "cause": cause,
        "message": f"{summary}\n  {details}\n  evidence: {evidence}\n  fix (verified): {name} 31=18",
        "headline": headline,
        "details": [details],
        "evidence": [evidence],
        "notes": [],
        "fix": "fp16-vs-fp32-vulkan",
        "metrics": metrics("inf", 3000468.0),
    }
    return case(name, **{**failed, **more})


def fix(name: str, comparison: str = "fp16-vs-fp32-vulkan", **more: Any) -> dict[str, Any]:
    line = f"ReLU             {name:<16} 1 1 before {name}"
    patch = f"--- a/net.param\n+++ b/net.param\n@@ -4,1 +4,1 @@\n-{line}\n+{line} 31=18\n"
    return {
        "comparison": comparison,
        "masks": {name: 18},
        "verified": True,
        "minimal": True,
        "lines": [f"{line} 31=18"],
        "before": [line],
        "how": "the patched network ran 1 sample 3 times on vulkan fp16: outputs within 0.0052",
        "errors": [1.0, 0.0052],
        "notes": [],
        "runs": 3,
        "seconds": 1.5,
        "start": "the region the causes point at",
        "cost": {
            "before_ms": 25.6,
            "after_ms": 26.1,
            "rounds": 9,
            "moved": 1,
            "left": 3,
            "uploads": [1, 2],
            "downloads": [1, 2],
        },
        "alternatives": [],
        "patch": patch,
        "written": [],
        **more,
    }


def large(layers: int = 1000, failing: int = 12) -> dict[str, Any]:
    """`layers` x 4 comparisons, with names as exporters make them; `failing` are red in one."""
    rng = random.Random(0)
    names = [f"/model.{i // 40}/cv{i % 40}/conv/Op_{i}" for i in range(layers)]
    graph = [
        layer(name, TYPES[i % len(TYPES)], (names[i - 1],) if i else (), (name,))
        for i, name in enumerate(names)
    ]
    bad = set(rng.sample(range(layers), failing))
    cases = []
    for comparison in COMPARISONS:
        drift = 1e-6
        for i, name in enumerate(names):
            if i in bad and comparison == "fp16-vs-fp32-vulkan":
                one = red(name, type=graph[i]["type"])
            else:
                noise = math.exp(rng.gauss(-7, 1)) * (0.01 if comparison == "cpu-vs-vulkan" else 1)
                values = metrics(noise, math.exp(rng.gauss(1, 2)))
                one = case(name, comparison, metrics=values, type=graph[i]["type"])
            drift *= 1.008
            one["accumulated"] = measured(drift)
            cases.append(one)
        output = case("out0", comparison, layer=None, output="out0", type=None)
        cases.append(output)
    return document(model(cases, graph, fixes=[fix(names[min(bad)])] if bad else []))


def regression(name: str, message: str, **more: Any) -> dict[str, Any]:
    """A layer that left the GPU since the baseline."""
    return {
        "kind": "moved",
        "spec": "net.parity.yaml",
        "sample": None,
        "comparison": None,
        "name": name,
        "was": None,
        "before": "vulkan fp32",
        "after": "cpu fp32",
        "message": message,
        "matched_by": "name",
        **more,
    }


def hostile() -> Any:
    """Every text of the document is an attack."""
    names = [HOSTILE, HOSTILE + "2"]
    parts = {"headline": HOSTILE, "details": [HOSTILE], "evidence": [HOSTILE], "notes": [HOSTILE]}
    everywhere = {"type": HOSTILE, "sample": HOSTILE, "execution": HOSTILE, "repro": HOSTILE}
    skip = {"layer": None, "output": HOSTILE, "outcome": "skipped", "metrics": None}
    cases = [
        red(names[0], HOSTILE, message=HOSTILE, **parts, **everywhere),
        case(names[1], comparison=HOSTILE, device=HOSTILE),
        case("x", **message(HOSTILE), **skip),
    ]
    graph = [
        layer(names[0], HOSTILE, (), (HOSTILE,)),
        layer(names[1], HOSTILE, (HOSTILE,), (HOSTILE + "3",)),
    ]
    masked = fix(HOSTILE, notes=[HOSTILE], written=[HOSTILE + ".patch"], how=HOSTILE)
    notice = {"kind": "unsafe", "layer": HOSTILE, "mask": 2, "what": HOSTILE}
    files = {"spec": HOSTILE, "param": HOSTILE, "bin": HOSTILE}
    attack = model(cases, graph, fixes=[masked], masks=[notice], notes=[HOSTILE], **files)
    return document(
        attack,
        attack,
        environment={**ENVIRONMENT, "ncnn": HOSTILE, "options": {HOSTILE: HOSTILE}, "devices": []},
        complete=False,
        stopped=HOSTILE,
        errors=[{"spec": HOSTILE, "message": HOSTILE}],
        regressions=[regression(HOSTILE, HOSTILE)],
    )
