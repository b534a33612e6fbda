"""Rules about a candidate that runs other files than the spec's own."""

from __future__ import annotations

from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure, with_trials


def gives_another_shape(failure: Failure) -> Explanation | None:
    death = failure.death
    if death is None or death.kind != "shape" or not _runs_other_files(failure):
        return None
    return Explanation(f"{death.detail}, on {failure.where}", failure.compared_with)


def computes_something_else(failure: Failure) -> Explanation | None:
    """The other files are wrong in fp32 on the CPU as well, so no device is at fault."""
    if not _runs_other_files(failure) or failure.result.metrics is None:
        return None
    candidate = failure.case.comparison.candidate
    assert candidate is not None
    as_reference = candidate.device == "cpu" and candidate.precision == "fp32" and not candidate.worker
    if not as_reference and not failure.evidence.wrong("other_files"):
        return None
    how, evidence = "the files differ", failure.compared_with
    if failure.evidence.only_rounded:
        how = "weights are rounded to fp16 otherwise"
        evidence = (
            "nothing else differs: each weight is at most one step of fp16 off; the error is what this "
            "does to the network, and says nothing against the conversion",
        )
    return with_trials(failure, f"{failure.seen}; {how}", *evidence)


def _runs_other_files(failure: Failure) -> bool:
    candidate = failure.case.comparison.candidate
    return candidate is not None and candidate.model is not None
