"""Documents of the JSON report, made up: as large, as hostile or as broken off as a test wants them."""

from __future__ import annotations

import math
import random
from typing import Any

COMPARISONS = ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan", "shipped", "fp16-range")
TYPES = ("Convolution", "ReLU", "BinaryOp", "Reduction", "Pooling", "InnerProduct")
ENVIRONMENT = {
    "ncnn": "1.0.20261020",
    "devices": [{"name": "llvmpipe (LLVM 15.0.6, 256 bits)", "fp16": "1/1/1/1", "index": "0"}],
    "python": "3.11.7",
}


def document(*models: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schema": 1, "environment": ENVIRONMENT, "models": list(models), **more}


def model(cases: list[dict[str, Any]], layers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "spec": "net.parity.yaml",
        "param": "net.param",
        "bin": "net.bin",
        "param_sha256": "a" * 64,
        "bin_sha256": "b" * 64,
        "layers": layers,
        "cases": cases,
        "fixes": [],
        "masks": [],
        **more,
    }


def layer(
    name: str, type_: str = "ReLU", inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()
) -> dict[str, Any]:
    told = {"name": name, "type": type_, "line": 3, "mask": 0, "params": "0=0 1=1 2=1.5"}
    return {**told, "inputs": list(inputs), "outputs": list(outputs or (name,))}


def case(name: str, comparison: str = "fp16-vs-fp32-vulkan", **more: Any) -> dict[str, Any]:
    """A layer case that passed; `more` says what is otherwise."""
    return {
        "nodeid": f"net.parity.yaml::noise::{comparison}::{name}",
        "sample": "noise",
        "comparison": comparison,
        "layer": name,
        "output": None,
        "type": "ReLU",
        "outcome": "passed",
        "cause": None,
        "message": "",
        "metrics": metrics(0.0012),
        "tolerance": {"atol": 6e-8, "rtol": 0.0, "scaled": 0.05, "cosine": None, "sqnr_db": None},
        "execution": "vulkan, fp16 storage, fp16 arithmetic",
        "device": "llvmpipe (LLVM 15.0.6, 256 bits)",
        "known": False,
        **more,
    }


def metrics(scaled: float | str, largest: float | str = 3.25, **more: Any) -> dict[str, Any]:
    lost = scaled in ("inf", "nan")
    return {
        "max_abs": scaled,
        "scaled": scaled,
        "cosine": "nan" if lost else 0.999991,
        "sqnr_db": "-inf" if lost else 43.21234,
        "nan": 0,
        "inf": 3 if lost else 0,
        "mismatched": 3 if lost else 0,
        "total": 768,
        "reference_absmax": largest,
        "candidate_absmax": largest,
        "least_scaled": scaled,
        "used": "inf" if lost else float(scaled) / 0.05,
        **more,
    }


def red(name: str, cause: str = "storage-overflow", **more: Any) -> dict[str, Any]:
    """A layer case that failed with inf."""
    who = f"{name} ({more.get('type', 'ReLU')})"
    told = {
        "outcome": "failed",
        "cause": cause,
        "message": f"{who}: inf on vulkan fp16, 3 of 3 elements ({cause})\n"
        f"  compared: vulkan fp32 -> vulkan fp16\n  evidence: {name} reaches 3000468 in fp32",
        "metrics": metrics("inf", 3000468.0),
    }
    return case(name, **{**told, **more})


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
                made = red(name, type=graph[i]["type"])
            else:
                noise = math.exp(rng.gauss(-7, 1)) * (0.01 if comparison == "cpu-vs-vulkan" else 1)
                found = metrics(noise, math.exp(rng.gauss(1, 2)))
                made = case(name, comparison, metrics=found, type=graph[i]["type"])
            drift *= 1.008
            made["accumulated"] = {"scaled": drift, "max_abs": drift}
            cases.append(made)
        output = case("out0", comparison, layer=None, output="out0", type=None)
        cases.append(output)
    return document(model(cases, graph, fixes=[fix(names[min(bad)])] if bad else []))
