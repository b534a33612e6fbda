"""Cases that failed, made by hand, and what is said of them."""

from dataclasses import replace
from typing import Any

import numpy as np

from pytest_ncnn_parity.compare.comparisons import BUILT_IN, Comparison, Pair, Setup
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.diagnose.downstream import Red
from pytest_ncnn_parity.engine.evidence import Evidence, Trial
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.report.text import case_text

SHIPPED = BUILT_IN["shipped"][0]
RANGE = BUILT_IN["fp16-range"][0]
FP32 = BUILT_IN["cpu-vs-vulkan"][0]
BF16 = Pair("bf16", Setup(), Setup("vulkan", "bf16"))

HOW = {
    "repeated": "the same once more",
    "without_arithmetic": "without fp16 arithmetic",
    "without_packing": "without packing",
    "without_winograd": "without winograd",
    "fp32_on_device": "in fp32 on the same device",
    "other_files": "the other model in fp32 on the CPU",
}
RIGHT = Trial("", True, 1e-4)
WRONG = Trial("", False, 0.25)
UNTRIED = Trial("", None, problem="no such option")
ON_VULKAN = {"execution": "vulkan fp16"}


def case(name: str, kind: str, comparison: Comparison = SHIPPED) -> Case:
    layer = Layer(7, 9, kind, name, ("x",), ("y",), {}, 0)
    return Case(name, comparison, Tolerance(scaled=0.04), layer)


RUN = Step("layer", "vulkan fp16", 7, "conv_1")
CONV = case("conv_1", "Convolution")
OUTPUT = Case("output:out0", SHIPPED, Tolerance(scaled=0.04), output="out0")


def failed(
    candidate: list[float], reference: list[float], allowed: float = 0.04, **evidence: Any
) -> Result:
    """The result of a case whose candidate and reference made these values."""
    metrics = compare(np.array(candidate), np.array(reference), Tolerance(scaled=allowed))
    trials = {
        name: replace(evidence.pop(name), how=how) for name, how in HOW.items() if name in evidence
    }
    return Result("any", "failed", metrics, evidence=Evidence(trials=trials, **evidence))


def died(kind: str, detail: str, step: Step = RUN, **evidence: Any) -> Result:
    banner = "[0 llvmpipe (LLVM 15.0.6, 256 bits)]  queueC=0[1]  queueT=0[1]"  # of Vulkan's start
    death = Death(kind, detail, step, f"one\n\n{banner}\ntwo\n")
    return Result("any", "failed", evidence=Evidence(death=death, **evidence))


def headline(of: Case, result: Result, *upstream: Red) -> str:
    """The first line of the failure."""
    return case_text.summary(of, diagnose(of, result, upstream))


def evidence(of: Case, result: Result, *upstream: Red) -> str:
    return "\n".join(diagnose(of, result, upstream).evidence)
