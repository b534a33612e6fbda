"""Evidence -> cause: why a case failed, in words. Pure; runs nothing and knows no ncnn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_ncnn_parity.compare.fp16 import FP16_MAX
from pytest_ncnn_parity.diagnose import error_growth, wording
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.network.masks import NO_VULKAN, unsafe_on_vulkan
from pytest_ncnn_parity.plan.cases import Case, Golden

_CONVERSION = (
    "the conversion, the input or its preprocessing differs from what was recorded; no mask can mend it"
)
COLLAPSED = 0.5  # an error of half the largest value: an accumulator gave up, rounding does not do that


@dataclass(frozen=True)
class Diagnosis:
    """`cause` is one of the documented names; `what` says it in a line; `evidence` shows it."""

    cause: str
    what: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Red:
    """A failed layer of the same sample and comparison, as an output's case sees it."""

    name: str
    type: str
    cause: str


def diagnose(case: Case, result: Result, upstream: Sequence[Red] = ()) -> Diagnosis:
    """Why the failed `result` of `case` failed. `upstream`: red layers that may explain an output."""
    evidence = result.evidence
    where = str(case.comparison.candidate or "fp16")
    if case.output is not None and upstream:
        return _downstream(result, upstream, where)
    found = _alone(case, result, where)
    if case.output is None or case.golden is not None or result.metrics is None:
        return found
    grown = error_growth.lines(evidence.get("growth"), float(result.metrics["scaled"]))
    return replace(found, evidence=(*found.evidence, *grown))


def _alone(case: Case, result: Result, where: str) -> Diagnosis:
    """Why it failed, from what was seen of itself."""
    evidence = result.evidence
    if "death" in evidence:
        return _death(evidence, where)
    if case.golden is not None:
        return _golden(case.golden, result, where)
    assert result.metrics is not None
    metrics = result.metrics
    seen = wording.seen(metrics, where)
    if "misread" in evidence:
        blob, mask = evidence["misread"], evidence["mask"]
        return Diagnosis(
            "unsafe-mask",
            f"31={mask} makes it take the 16-bit values of {blob} for fp32 on {where}",
            ("on a CPU with 16-bit storage a masked region must be entered by fp32 blobs",),
        )
    if _unsafe(evidence) and case.comparison.half == "fp16":
        mask = evidence["mask"]
        return Diagnosis(
            "unsafe-mask",
            f"{seen}; 31={mask} takes fp16 storage from a layer that stays on Vulkan",
            (f"31={mask} without 16: the shader reads fp16 bytes as fp32. Write {mask | NO_VULKAN}",),
        )
    if "reference_nan" in evidence:
        return Diagnosis(
            "nan",
            f"the fp32 reference itself makes {evidence['reference_nan']} nan",
            ("none of its inputs holds nan: the model or its input is at fault, not the device",),
        )
    if "unrepresentable" in evidence:
        return _storage_overflow(metrics, evidence, where)
    if "underflow" in evidence:
        return _underflow(evidence["underflow"])
    if evidence.get("repeated", {}).get("agrees") is False:
        return Diagnosis(
            "nondeterministic",
            f"{seen}; run again on the same inputs it gives something else",
            (f"two runs differ by scaled {float(evidence['repeated']['scaled']):.3g}",),
        )
    if "plain_cpu" in evidence:
        return Diagnosis(
            "reference",
            f"{seen}; the CPU in fp32 does not agree with itself here",
            (
                "without packing, winograd and sgemm it is off by scaled "
                f"{float(evidence['plain_cpu']['scaled']):.3g}: terms cancel, or a CPU kernel is wrong",
            ),
        )
    if "shader" in evidence and not evidence.get("without_arithmetic", {}).get("agrees"):
        return Diagnosis(
            "shader", f"{seen}; a shader did not compile", (f"stderr: {evidence['shader']}",)
        )
    if case.comparison.half is None:
        return Diagnosis(
            "device",
            f"{seen}, in fp32",
            ("no 16-bit format is involved: a kernel or the driver computes something else",),
        )
    return _half(metrics, evidence, seen)


def _golden(golden: Golden, result: Result, where: str) -> Diagnosis:
    """The network in fp32 on the CPU against what was recorded of the original framework."""
    evidence = result.evidence
    if result.metrics is None:
        made, recorded = (tuple(evidence[key]) for key in ("shape", "recorded_shape"))
        batch = recorded == (1, *made)
        hint = f"ncnn has no batch dimension: save the array's [0], {made}" if batch else _CONVERSION
        what = f"{golden} holds {recorded}, the network gives {made}"
        return Diagnosis("conversion", what, (hint,))
    seen = f"{wording.seen(result.metrics, where)}; not what {golden} holds"
    plain = evidence.get("plain_cpu", {})
    if plain.get("agrees"):
        right = "without packing, winograd and sgemm the CPU gives what was recorded"
        return Diagnosis("reference", seen, (f"{right}: a CPU kernel is wrong, or terms cancel",))
    return Diagnosis("conversion", seen, (_CONVERSION, *wording.tried(evidence)))


def _half(metrics: Mapping[str, Any], evidence: Mapping[str, Any], seen: str) -> Diagnosis:
    """A 16-bit candidate whose reference values fit the format."""
    plain = evidence.get("without_arithmetic", {})
    fp32 = evidence.get("fp32_on_device", {})
    tried = tuple(wording.tried(evidence))
    if fp32.get("agrees") is False:
        return Diagnosis("device", f"{seen}; fp32 on the same device is wrong as well", tried)
    if evidence.get("without_packing", {}).get("agrees"):
        what = f"{seen}; right without packing, so a packed kernel is wrong"
        return Diagnosis("device", what, tried)
    if evidence.get("without_winograd", {}).get("agrees"):
        cure = "31=64 on this layer takes winograd away and cures it"
        return Diagnosis("precision", f"{seen}; winograd in fp16 explains it", (cure, *tried))
    nonfinite = metrics["nan"] + metrics["inf"]
    if plain.get("agrees"):
        if nonfinite or float(metrics["scaled"]) >= COLLAPSED:
            fits = f"the true values end at {wording.number(metrics['reference_absmax'])} and fit"
            return Diagnosis(
                "accumulator-overflow", f"{seen}; right without fp16 arithmetic", (fits, *tried)
            )
        return Diagnosis(
            "precision",
            f"{seen}; fp16 arithmetic explains it: right without",
            (*_of_output(evidence), *tried),
        )
    if metrics["nan"]:
        return Diagnosis("nan", seen, tried)
    if metrics["inf"]:
        inside = "its inputs and true outputs fit fp16; a value inside the layer does not"
        return Diagnosis("storage-overflow", seen, (inside, *tried))
    rounding = float(evidence.get("rounding", 0.0))
    explained = rounding >= float(metrics["scaled"]) / 2
    verdict = "explains" if explained else "alone does not explain"
    line = f"rounding the true output to 16 bits gives scaled {rounding:.3g}: that {verdict} the error"
    return Diagnosis("precision", seen, (line, *_of_output(evidence), *tried))


def _of_output(evidence: Mapping[str, Any]) -> tuple[str, ...]:
    if not evidence.get("whole"):
        return ()
    return ("no layer judged here is wrong by itself: what 16 bits lose between layers adds up",)


def _death(evidence: Mapping[str, Any], where: str) -> Diagnosis:
    death = evidence["death"]
    kind, detail, step = death["kind"], death["detail"], death["step"]
    told = [line for line in str(death.get("stderr", "")).splitlines() if line.strip()][-4:]
    shown = (f"in: {step}", *(f"stderr: {line}" for line in told))
    if kind in ("files", "raised") and "key" in death:
        lines = tuple(death.get("lines", ()))
        cause = "load" if step.startswith("load") else "crash"
        return Diagnosis(cause, detail if cause == "load" else f"{detail}, in {step}", lines)
    if kind == "timeout":
        return Diagnosis("timeout", f"{detail} on {where}", shown)
    if kind == "memory":
        return Diagnosis("memory", f"out of memory on {where}: {detail}", shown)
    if kind == "misread":
        return Diagnosis("unsafe-mask", f"{step}: {detail}", ("not run: what it reads is no fp32",))
    if kind == "shape":
        return Diagnosis("device", f"{detail}, on {where}", shown)
    if _unsafe(evidence):
        mask = evidence["mask"]
        return Diagnosis(
            "unsafe-mask",
            f"{detail} on {where}; 31={mask} takes fp16 storage from a layer that stays on Vulkan",
            (*shown, f"write 31={mask | NO_VULKAN}, which moves the layer to the CPU"),
        )
    if "shader" in evidence:
        return Diagnosis(
            "shader",
            f"{detail} on {where}; a shader did not compile",
            (*shown, f"stderr: {evidence['shader']}"),
        )
    if kind == "refused":
        cause = "load" if step.startswith("load") else "crash"
        return Diagnosis(cause, f"ncnn could not {step}: {detail}", shown)
    return Diagnosis("crash", f"{detail} on {where}", shown)


def _downstream(result: Result, upstream: Sequence[Red], where: str) -> Diagnosis:
    first = upstream[0]
    more = f" and {len(upstream) - 1} more" if len(upstream) > 1 else ""
    if result.metrics is not None:
        seen = wording.seen(result.metrics, where)
    else:
        seen = f"{result.evidence['death']['detail']} on {where}"
    return Diagnosis(
        first.cause,
        f"{seen}; {first.name} ({first.type}){more} upstream is red",
        tuple(f"red layer: {red.name} ({red.type}): {red.cause}" for red in upstream[:10]),
    )


def _storage_overflow(metrics: Mapping[str, Any], evidence: Mapping[str, Any], where: str) -> Diagnosis:
    unheld = evidence["unrepresentable"]
    limit = f"> {FP16_MAX:.0f}"
    readers = ", ".join(unheld["readers"]) or "nothing"
    lines = [f"{unheld['blob']} reaches {wording.number(unheld['absmax'])} in fp32; fp16 ends at 65504"]
    if unheld["readers"]:
        lines.append(f"read in fp16 by: {readers}")
    if evidence.get("predicted"):
        what = f"fp32 reference {wording.number(unheld['absmax'])} {limit}: inf in fp16, predicted"
    elif metrics["inf"] + metrics["nan"]:
        reference = abs(float(metrics["reference"]))
        value = reference if reference > FP16_MAX else unheld["absmax"]
        what = f"{wording.seen(metrics, where)}; fp32 reference {wording.number(value)} {limit}"
    else:
        value = wording.number(unheld["absmax"])
        what = f"{value} {limit} is finite here ({evidence['execution']}) and inf to its readers"
    return Diagnosis("storage-overflow", what, tuple(lines))


def _underflow(found: Mapping[str, Any]) -> Diagnosis:
    effect = (
        f"{found['nonfinite']} inf or nan"
        if found["nonfinite"]
        else f"an error of scaled {float(found['scaled']):.3g}"
    )
    reader = f"{found['reader']} ({found['reader_type']})"
    return Diagnosis(
        "underflow",
        f"{found['count']} values become 0 in fp16, and {reader} makes {effect} of that",
        (f"run in fp32 on inputs rounded to fp16, {reader} is wrong already",),
    )


def _unsafe(evidence: Mapping[str, Any]) -> bool:
    on_vulkan = str(evidence.get("execution", "")).startswith("vulkan")
    return on_vulkan and unsafe_on_vulkan(int(evidence.get("mask", 0)))
