"""The table of causes, each with its name, meaning and remedy, and the rules that recognise them.

To add a cause, add its name to `cause_names`, a row to `CAUSES`, and one to `RULES` that reads the
evidence of the worker's probes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.diagnose import (
    constants,
    deaths,
    error_growth,
    headroom,
    integers,
    other_model,
    quantization,
    recordings,
    reference,
    values,
    winograd,
)
from pytest_ncnn_parity.diagnose.cause_names import CauseName
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis, Failure, Rule, when_right, when_wrong
from pytest_ncnn_parity.diagnose.downstream import Red, blamed
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case


class Cause(Frozen):
    """`meaning` and `remedy` are the texts of docs/causes.md."""

    name: CauseName
    meaning: str
    remedy: str


CAUSES = (
    Cause(
        "storage-overflow",
        "a value that fp16 must hold, a weight too, is beyond 65504",
        "mask the region, or scale the weights",
    ),
    Cause(
        "accumulator-overflow",
        "inputs and results fit fp16, but a sum inside or a parameter does not; right without fp16 "
        "arithmetic",
        "`31=1` on that layer",
    ),
    Cause(
        "winograd-overflow",
        "inputs and results fit fp16, but what winograd's transforms make of them does not; right "
        "without winograd",
        "`31=64` on that layer, which stays on the GPU",
    ),
    Cause(
        "headroom",
        "fp16 holds the values, but with less room below 65504 than the spec's `headroom` asks for",
        "mask the region, scale the weights, or ask for less",
    ),
    Cause(
        "underflow",
        "values become 0 in fp16 and break a layer that reads them; or a constant becomes 0; or all "
        "that a layer computes is so small that fp16 has too few digits for it",
        "mask the region, or use a larger epsilon, or larger values",
    ),
    Cause(
        "reference",
        "the CPU in fp32 cannot be trusted: a kernel reads memory that nobody wrote, computes an "
        "element otherwise among others than alone, gives NaN or inf where its function has a value, "
        "or a value where it is NaN or inf, rounds the sums of a norm too often, or gives other results "
        "without packing, winograd and sgemm; or the reference of a comparison of your own is in 16 "
        "bits, and fp32 differs from it",
        "report the kernel upstream, or fix the model; a mask does not help",
    ),
    Cause(
        "nondeterministic",
        "the candidate gives another result when it runs again on the same inputs",
        "report it upstream",
    ),
    Cause(
        "nan",
        "NaN where the reference has none, or NaN that the reference itself produces or a recording has",
        "mask the layer, or fix the model",
    ),
    Cause(
        "inf",
        "an output is inf in the reference itself, or in the recording as well, so nothing is "
        "tested there; -inf, with which masks hide values, passes",
        "fix the model or its input; if inf is intended, list the output under `known`",
    ),
    Cause(
        "precision",
        "finite, out of tolerance; the evidence says whether rounding, fp16 arithmetic or "
        "winograd explains it",
        "mask the layer, or allow the error by a tolerance",
    ),
    Cause(
        "device",
        "fp32 on the device is wrong as well, or a packed kernel is, or a kernel refuses what the "
        "CPU takes, copies other values in 16 bits than in fp32, or reads 16-bit values as fp32 or the "
        "reverse: a fault of kernel or driver",
        "report it upstream",
    ),
    Cause(
        "model",
        "the other model that the candidate runs gives other results, in fp32 on the CPU too",
        "compare what the evidence names: weights and parameters of both layers; convert it again",
    ),
    Cause(
        "quantization",
        "a layer in int8 loses more than rounding may: a scale or its weights are wrong, or no "
        "scale fits all of its values; or it has another activation or parameter than in floats; or the "
        "scale of weights that are all 0 is inf",
        "do what the evidence says; or leave in floats the layers that the fix names",
    ),
    Cause(
        "unsafe-mask",
        "a mask makes the layer read 16-bit values as fp32",
        "add 16 on Vulkan; on an ARM CPU, enter the region in fp32",
    ),
    Cause(
        "crash",
        "the step killed the worker, or a layer of your own raised an exception or returned an error; "
        "everything else was run",
        "report it upstream, or mend your layer; the message has the step, and the signal, the "
        "exception or the error",
    ),
    Cause(
        "timeout",
        "the step exceeded the time limit and was killed; everything else was run",
        "raise `--ncnn-parity-timeout`, or use a smaller input",
    ),
    Cause(
        "worker",
        "a declared worker could not be started or reached, its link was cut, or its answers made "
        "no sense; everything else was run",
        "do what the message says; see that its command runs by hand",
    ),
    Cause(
        "shader",
        "a shader did not compile",
        "update the driver or ncnn",
    ),
    Cause(
        "memory",
        "the step needed more memory than the worker may hold",
        "raise `--ncnn-parity-memory`, or use a smaller input",
    ),
    Cause(
        "load",
        "the network cannot be loaded: the weights are too short, ncnn does not know an operator, "
        "or `setup:` failed; all cases that need them are skipped",
        "fix the files, or register the operator with `setup:`",
    ),
    Cause(
        "shape",
        "an input does not fit a layer, its weights or a shape hint, is int8 where 32 bits are "
        "read, floats where words are, words where floats are, or words that the table of an Embed does "
        "not have; the layer is not run, and what depends on it is skipped",
        "feed the size that the network was made for, or convert the network or its hints again",
    ),
    Cause(
        "conversion",
        "the network in fp32 on the CPU does not give what the original framework recorded, or some "
        "of a layer's weights are inf or nan",
        "fix the export or the preprocessing; a mask does not help",
    ),
)

# Which cause it is: the first rule that applies. What a step died of comes before what its values show,
# and what is the model's or the reference's own comes before what is blamed on a device.
RULES: tuple[tuple[CauseName, Rule], ...] = (
    ("load", deaths.files_at_fault),
    ("crash", deaths.project_code_raised),
    ("worker", deaths.worker_failed),
    ("reference", reference.is_not_believed),
    ("timeout", deaths.out_of_time),
    ("memory", deaths.out_of_memory),
    ("unsafe-mask", deaths.not_run_for_its_mask),
    ("shape", deaths.inputs_do_not_fit),
    ("shape", deaths.hint_at_odds),
    ("shape", deaths.int8_does_not_fit),
    ("shape", deaths.words_do_not_fit),
    ("reference", reference.has_another_shape_when_plain),
    ("model", other_model.gives_another_shape),
    ("device", deaths.another_shape),
    ("unsafe-mask", deaths.died_of_its_mask),
    ("shader", deaths.died_of_a_shader),
    ("load", deaths.refused_to_load),
    ("load", deaths.died_of_what_it_refuses),
    ("reference", deaths.refused_when_packed),
    ("shape", deaths.refused_by_the_reference),
    ("device", deaths.refused_by_the_device),
    ("device", deaths.died_of_a_cast),
    ("crash", deaths.died),
    ("conversion", recordings.recorded_in_another_shape),
    ("nan", recordings.recorded_nan),
    ("inf", recordings.recorded_inf),
    ("reference", recordings.plain_cpu_gives_the_recording),
    ("precision", values.rounded_in_fp32),
    ("reference", reference.has_less_precision),
    ("conversion", recordings.not_what_was_recorded),
    ("unsafe-mask", values.misreads_16_bits),
    ("unsafe-mask", values.wrong_for_its_mask),
    ("quantization", quantization.has_no_scale),
    ("conversion", reference.has_weights_that_are_not_finite),
    ("reference", reference.makes_nan_when_packed),
    ("nan", reference.makes_nan),
    ("inf", reference.gives_out_inf),
    ("storage-overflow", integers.read_in_16_bits),
    ("storage-overflow", values.beyond_fp16),
    ("winograd-overflow", winograd.beyond_fp16),
    ("accumulator-overflow", headroom.sum_beyond_fp16),
    ("headroom", headroom.too_little),
    ("underflow", values.missed_by_a_reader),
    ("precision", values.threshold_decides),
    ("device", values.layers_inside_read_16_bits),
    ("unsafe-mask", values.behind_an_unsafe_mask),
    ("nondeterministic", values.another_result_each_time),
    ("reference", reference.disagrees_with_itself),
    ("device", quantization.right_on_the_cpu),
    ("quantization", quantization.loses_too_much),
    ("model", other_model.computes_something_else),
    ("shader", values.shader_did_not_compile),
    ("device", values.int8_taken_for_something_else),
    ("device", values.cast_takes_fp16_for_fp32),
    ("device", values.takes_16_bits_for_fp32),
    ("device", values.wrong_in_fp32),
    ("reference", reference.is_unlike_fp32),
    ("winograd-overflow", winograd.overflows_in_fp16_alone),
    ("device", when_wrong("fp32_on_device", "fp32 on the same device is wrong as well")),
    ("device", when_right("without_packing", "right without packing, so a packed kernel is wrong")),
    ("precision", integers.handed_on_in_16_bits),
    ("storage-overflow", constants.of_storage_beyond_fp16),
    ("accumulator-overflow", constants.of_arithmetic_beyond_fp16),
    ("underflow", constants.too_small_for_fp16),
    ("precision", constants.too_coarse_in_fp16),
    ("device", values.copies_other_values),
    ("underflow", values.among_the_least_of_fp16),
    ("winograd-overflow", winograd.overflows_inside),
    ("winograd-overflow", winograd.overflows),
    ("precision", winograd.explains_it),
    ("accumulator-overflow", values.sum_inside_overflows),
    ("precision", values.arithmetic_explains_it),
    ("nan", values.makes_nan),
    ("underflow", values.becomes_0_on_the_way),
    ("storage-overflow", values.value_inside_overflows),
    ("precision", values.out_of_tolerance),
)


def diagnose(
    case: Case,
    result: Result,
    upstream: Sequence[Red] = (),
    unjudged: str = "",
    unsafe: Sequence[str] = (),
) -> Diagnosis:
    """Why the failed `result` of `case` failed. `upstream`: red layers that may explain an output.

    `unjudged`: which layers on the way to an output were not judged, in words. `unsafe`: which have an
    unsafe mask, in words, and are right with it.
    """
    failure = Failure(case, result, unjudged, tuple(unsafe))
    culprit = None if case.output is None else blamed(failure, upstream)
    if culprit is not None:
        return culprit
    diagnosis = _alone(failure)
    if case.output is None or case.golden is not None or result.metrics is None:
        return diagnosis
    growth = error_growth.lines(result.evidence.growth, result.metrics.scaled)
    return replace(diagnosis, evidence=(*diagnosis.evidence, *growth))


def _alone(failure: Failure) -> Diagnosis:
    """Why it failed, judged by its own evidence."""
    for cause, rule in RULES:
        explanation = rule(failure)
        if explanation is not None:
            return Diagnosis(cause, explanation.what, explanation.evidence)
    raise AssertionError("the last rule applies to whatever was compared")
