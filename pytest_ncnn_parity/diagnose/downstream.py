"""Which red layer upstream explains that an output is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.diagnose.cause_names import CauseName
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis, Failure

# of a layer, where the reference itself may be nan or inf because of it
OF_THE_REFERENCE = frozenset({"reference", "nan", "inf", "conversion"})


class Red(Frozen):
    """A failed layer of the same sample, as an output's case sees it.

    `compared`: its own values were wrong. Otherwise its case ended without values, of which the output,
    from another run, need not have anything.
    """

    name: str
    type: str
    cause: CauseName
    compared: bool = True


def blamed(failure: Failure, upstream: Sequence[Red]) -> Diagnosis | None:
    """What `upstream`, the red layers in front of the failed output, says of it; None: nothing.

    An output that agrees fails for nan or inf of the reference, which a layer that is only wrong in the
    candidate does not explain.
    """
    if not upstream or (_agrees(failure) and OF_THE_REFERENCE.isdisjoint(red.cause for red in upstream)):
        return None
    died = failure.death is not None
    upstream = sorted(upstream, key=lambda red: not (red.compared or died))
    # a layer of which the reference is wrong explains an output only if it is wrong there for that
    others = [red for red in upstream if red.cause != "reference"]
    first = others[0] if others and failure.evidence.distrust is None else upstream[0]
    more = f" and {len(upstream) - 1} more" if len(upstream) > 1 else ""
    return Diagnosis(
        first.cause,
        f"{failure.seen}; {first.name} ({first.type}){more} upstream {'are' if more else 'is'} red",
        tuple(f"red layer: {red.name} ({red.type}): {red.cause}" for red in upstream[:10]),
    )


def _agrees(failure: Failure) -> bool:
    """Whether both sides agree, so that the reference's own nan or inf is what is wrong."""
    metrics, evidence = failure.result.metrics, failure.evidence
    not_finite = evidence.reference_nan or evidence.reference_inf is not None
    return bool(not_finite and metrics is not None and metrics.agrees)
