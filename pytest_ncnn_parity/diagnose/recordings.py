"""Rules for outputs that are compared with recordings of the model from elsewhere."""

from __future__ import annotations

from pytest_ncnn_parity.diagnose import wording
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure

CONVERSION = (
    "the conversion, the input or its preprocessing differs from what was recorded; no mask can fix it"
)
PREPROCESSING = (
    "the preprocessing of the picture differs from what was recorded: its size or how it is resized, "
    "the order of its colours, mean or norm; no mask can fix it"
)
RECORD_MORE = (
    "nothing before it was recorded: with blobs on the way to it under `expect` as well, the first that "
    "differs is named"
)


def recorded_in_another_shape(failure: Failure) -> Explanation | None:
    recorded, shape = failure.evidence.recorded_shape, failure.evidence.shape
    if recorded is None:
        return None
    batch = recorded == (1, *shape)
    hint = f"ncnn has no batch dimension: save the array's [0], {shape}" if batch else _differs(failure)
    return Explanation(failure.seen, (*_before(failure), hint))


def plain_cpu_gives_the_recording(failure: Failure) -> Explanation | None:
    if failure.case.golden is None or not failure.evidence.right("plain_cpu"):
        return None
    right = "without packing, winograd and sgemm the CPU gives what was recorded"
    why = f"{right}: a CPU kernel is wrong, or terms cancel"
    return Explanation(_unlike_golden(failure), (*_before(failure), why))


def recorded_nan(failure: Failure) -> Explanation | None:
    return _not_finite(failure, failure.evidence.reference_nan, "nan")


def recorded_inf(failure: Failure) -> Explanation | None:
    inf = failure.evidence.reference_inf
    return _not_finite(failure, 0 if inf is None else inf.count, "inf")


def _not_finite(failure: Failure, count: int, kind: str) -> Explanation | None:
    if failure.case.golden is None or not count or not failure.metrics.agrees:
        return None
    return Explanation(
        f"{failure.case.golden} itself holds {count} {kind}, where the network gives {kind} as well",
        (
            "such a comparison tests nothing: the model that was recorded, or its input, is at fault, "
            f"not the conversion; if {kind} is intended, list the output under known",
        ),
    )


def not_what_was_recorded(failure: Failure) -> Explanation | None:
    if failure.case.golden is None:
        return None
    nan = failure.evidence.reference_nan
    if nan:
        remedy = "the recorded model or its input is at fault: record it again"
        what = f"{failure.case.golden} itself holds {nan} nan where the network has none"
        return Explanation(what, (*_before(failure), remedy))
    if failure.case.comparison.other_files is not None:
        if failure.evidence.own_as_recorded is not False:
            return None  # `other_model` explains comparisons with other files
        trials = wording.trials(failure.evidence)
        what = f"{_unlike_golden(failure)}, and neither is what the spec's own model gives"
        return Explanation(what, (_differs(failure), *trials))
    before = () if failure.case.golden.fed else _before(failure) or (RECORD_MORE,)
    trials = wording.trials(failure.evidence)
    return Explanation(_unlike_golden(failure), (*before, _differs(failure), *trials))


def _differs(failure: Failure) -> str:
    """What is not as it was recorded, as far as the other recordings show it."""
    if failure.case.golden is not None and failure.case.golden.fed:
        return PREPROCESSING
    if failure.evidence.unlike_before is None and failure.evidence.alike_before is not None:
        return "the conversion differs from what was recorded; no mask can fix it"
    return CONVERSION


def _before(failure: Failure) -> tuple[str, ...]:
    """Where the recordings of earlier blobs begin to differ, if there are any."""
    unlike, alike = failure.evidence.unlike_before, failure.evidence.alike_before
    if unlike is not None:
        return (f"{unlike} is the first that differs from its recording: look there",)
    if alike is not None:
        return (f"the first that differs: {alike} before it is as recorded, so look between them",)
    return ()


def _unlike_golden(failure: Failure) -> str:
    return f"{failure.seen}; not what {failure.case.golden} holds"
