"""Rules for cases whose native step gave no result: it crashed, hung, was refused or was never run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytest_ncnn_parity.compare.comparisons import CPU_FP32, Comparison, Setup
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure
from pytest_ncnn_parity.engine.steps import Death
from pytest_ncnn_parity.network.integers import AS_FLOATS, BEYOND_TABLE
from pytest_ncnn_parity.network.masks import NO_VULKAN
from pytest_ncnn_parity.network.shapes.rules import hints
from pytest_ncnn_parity.network.shapes.rules import table as shape_rules

# a line about a device, which ncnn prints when Vulkan starts (src/gpu.cpp)
_OF_DEVICE = re.compile(r"\[\d+ .+\]  \S+=")
INT8_REMEDY = (
    "quantize the network again, or write no int8 here: 8=1 or 8=2 in place of 8=101 or 8=102 on the "
    "line of the layer that makes it, and no Quantize"
)
WORDS_REMEDY = (
    "feed integers, as an array of int32 or int64 or by random: integers; words that the network makes "
    "must be integers as well: convert it again so that between them and this layer others only copy or "
    "limit them"
)
BEYOND_REMEDY = (
    "feed only words that the table has; if the .bin or the network makes others, the vocabulary is not "
    "that of this table: convert the network again with both"
)
AS_FLOATS_REMEDY = (
    "ncnn converts no words to floats: convert the network again so that this layer has an input of its "
    "own, and feed that with floats"
)
# the layer whose line ncnn refuses, counted from 0 (src/net.cpp: load_param)
_REFUSED_LAYER = re.compile(
    r"^(?:(?:ParamDict|layer) load_param (?P<layer>\d+) .*failed"
    r"|invalid (?:bottom_count or top_count for one_blob_only|shape hints at|feature mask at) layer"
    r" (?P<invalid>\d+))$",
    re.MULTILINE,
)
STDERR_LINES = 4  # the last lines of what native code wrote


def files_at_fault(failure: Failure) -> Explanation | None:
    """The spec's files, its setup function or an option do not yield a network."""
    death = failure.death
    if death is None or not death.key or not death.in_loading:
        return None
    said = _said(death) if death.kind == "files" else ()
    return Explanation(death.detail, (*death.lines, *said))


def of_other_files(death: Death | None, comparison: Comparison) -> bool:
    """Whether what did not load are the files that the candidate of `comparison` names."""
    files, step = comparison.other_files, None if death is None else death.step
    if files is None or step is None:
        return False
    if not step.of_files:
        return step.label == str(comparison.candidate)
    return step.label.startswith(files.param) and step.label.endswith(f"with {Path(files.bin).name}")


def setup_of(death: Death | None, comparison: Comparison) -> Setup:
    """The side of `comparison` whose network did not load."""
    label = "" if death is None or death.step is None else death.step.label
    if comparison.candidate is None or label == str(comparison.reference):
        return comparison.reference
    return comparison.candidate


def refused_layer(death: Death | None) -> int | None:
    """The number of the layer for whose line ncnn refused the .param file; None if of none.

    Older ncnn may die of it, as it destroys layers that it has not created.
    """
    if death is None or not death.in_loading or death.kind not in ("files", "crash"):
        return None
    found = _REFUSED_LAYER.search(death.stderr)
    return None if found is None else int(found["layer"] or found["invalid"])


def died_of_what_it_refuses(failure: Failure) -> Explanation | None:
    death = failure.death
    if death is None or death.kind != "crash" or refused_layer(death) is None:
        return None
    return Explanation(f"ncnn refuses it, and is {death.detail}", _said(death))


def project_code_raised(failure: Failure) -> Explanation | None:
    """A custom layer raised an exception or returned an error while the network ran."""
    death = failure.death
    if death is None or not death.key:
        return None
    return Explanation(f"{death.detail}, in {death.step}", death.lines)


def worker_failed(failure: Failure) -> Explanation | None:
    return _of_kind(failure, "worker", lambda death: death.detail)


def out_of_time(failure: Failure) -> Explanation | None:
    explanation = _of_kind(failure, "timeout", lambda death: f"{death.detail} on {failure.side(death)}")
    if explanation is None:
        return None
    more = "if the step is only slow here, --ncnn-parity-timeout=SECONDS gives it more time"
    return replace(explanation, evidence=(*explanation.evidence, more))


def out_of_memory(failure: Failure) -> Explanation | None:
    return _of_kind(
        failure, "memory", lambda death: f"out of memory on {failure.side(death)}: {death.detail}"
    )


def not_run_for_its_mask(failure: Failure) -> Explanation | None:
    death = failure.death
    if death is None or death.kind != "misread":
        return None
    return Explanation(f"{death.step}: {death.detail}", ("not run: its input is not fp32",))


def another_shape(failure: Failure) -> Explanation | None:
    return _of_kind(failure, "shape", lambda death: f"{death.detail}, on {failure.where}")


def inputs_do_not_fit(failure: Failure) -> Explanation | None:
    death = failure.death
    return _of_shapes(failure, "misfit", "" if death is None else shape_rules.remedy(death.detail))


def hint_at_odds(failure: Failure) -> Explanation | None:
    return _of_shapes(failure, "hint", hints.REMEDY)


def int8_does_not_fit(failure: Failure) -> Explanation | None:
    return _of_shapes(failure, "int8", INT8_REMEDY)


def words_do_not_fit(failure: Failure) -> Explanation | None:
    said = "" if failure.death is None else failure.death.detail
    remedy = BEYOND_REMEDY if BEYOND_TABLE in said else WORDS_REMEDY
    return _of_shapes(failure, "words", AS_FLOATS_REMEDY if AS_FLOATS in said else remedy)


def _of_shapes(failure: Failure, kind: str, remedy: str) -> Explanation | None:
    """For an output, and for a layer further on, the layer that was not run is named."""
    death, layer = failure.death, failure.case.layer
    if death is None or death.kind != kind or death.step is None:
        return None
    itself = layer is not None and layer.number == death.step.layer
    what = death.detail if itself else f"{death.step.name} upstream: {death.detail}"
    return Explanation(what, (f"not run: {death.step}", f"what to do: {remedy}"))


def died_of_its_mask(failure: Failure) -> Explanation | None:
    death = failure.death
    if death is None or failure.unsafe_mask is None:
        return None
    mend = f"write 31={failure.evidence.mask | NO_VULKAN}, which moves the layer to the CPU"
    return Explanation(f"{failure.seen}; {failure.unsafe_mask}", (*_shown(death), mend))


def died_of_a_shader(failure: Failure) -> Explanation | None:
    death, shader = failure.death, failure.evidence.shader
    if death is None or shader is None:
        return None
    what = f"{failure.seen}; a shader did not compile"
    return Explanation(what, (*_shown(death), f"stderr: {shader}"))


def refused_to_load(failure: Failure) -> Explanation | None:
    return refused(failure) if failure.death is not None and failure.death.in_loading else None


def refused(failure: Failure) -> Explanation | None:
    return _of_kind(failure, "refused", _could_not)


def refused_by_the_reference(failure: Failure) -> Explanation | None:
    """The CPU in fp32 refuses the layer's inputs, although no rule of shapes finds them wrong."""
    death = failure.death
    if death is None or death.step is None or death.step.label != str(CPU_FP32):
        return None
    explanation = refused(failure)
    if explanation is None:
        return None
    return Explanation(explanation.what, (*explanation.evidence, f"what to do: {shape_rules.REMEDY}"))


def refused_by_the_device(failure: Failure) -> Explanation | None:
    """The device refuses what the CPU in fp32 has run; the CPU always runs first."""
    explanation = refused(failure)
    if explanation is None:
        return None
    advice = "the CPU runs it in fp32: a kernel there does not take this shape or type"
    return Explanation(explanation.what, (*explanation.evidence, f"{advice}; {_kept_off(failure)}"))


def died_of_a_cast(failure: Failure) -> Explanation | None:
    """A Cast between types for which there is no shader (src/layer/vulkan/cast_vulkan.cpp)."""
    death, layer = failure.death, failure.case.layer
    if death is None or death.kind != "crash" or layer is None or layer.type != "Cast":
        return None
    if death.step is None or not death.step.label.startswith("vulkan"):
        return None
    return Explanation(
        f"{failure.seen}; ncnn's Cast on Vulkan has no kernel for these types",
        (
            *_shown(death),
            "that kernel knows fp32 (1) and fp16 (2) only, and does not check for other types; "
            "ncnn converts values by itself: remove the Cast, or keep it on the CPU with 31=16",
        ),
    )


def _kept_off(failure: Failure) -> str:
    layer = "the layer" if failure.case.layer is None else failure.case.layer.name
    return f"31=16 keeps {layer} on the CPU, and the fault is one to report to ncnn"


def refused_when_packed(failure: Failure) -> Explanation | None:
    """The reference itself fails where ncnn packs its values; without packing it runs."""
    if failure.death is None or not failure.evidence.right("plain_cpu"):
        return None
    explanation = refused(failure)
    if explanation is None:
        return None
    advice = (
        "without packing, winograd and sgemm it runs: a kernel takes packed values for plain ones. A "
        "blob of another number of dimensions than the layer was made for is packed along another axis",
        "feed the number of dimensions that the network was made for",
    )
    return Explanation(explanation.what, (*explanation.evidence, *advice))


def _could_not(death: Death) -> str:
    step = "do it" if death.step is None else death.step.in_words
    return f"ncnn could not {step}: {death.detail}"


def died(failure: Failure) -> Explanation | None:
    death = failure.death
    if death is None:
        return None
    what = "the network cannot be loaded: " if death.in_loading else ""
    distrust = failure.evidence.distrust
    besides = "" if distrust is None else f"the CPU's kernel of {distrust.layer} is not right either"
    return Explanation(
        f"{what}{death.detail} on {failure.side(death)}", (*_shown(death), *filter(None, [besides]))
    )


def _of_kind(failure: Failure, kind: str, what: Callable[[Death], str]) -> Explanation | None:
    death = failure.death
    if death is None or death.kind != kind:
        return None
    return Explanation(what(death), _shown(death))


def _shown(death: Death) -> tuple[str, ...]:
    return (f"in: {death.step}", *_said(death))


def _said(death: Death) -> tuple[str, ...]:
    """The last lines that native code printed before the death, but not what ncnn prints of devices."""
    lines = [line for line in death.stderr.splitlines() if line.strip() and not _OF_DEVICE.match(line)]
    return tuple(f"stderr: {line}" for line in lines[-STDERR_LINES:])
